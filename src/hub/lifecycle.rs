//! Green threads made, watched, ended: all of a life that is not running or waiting.

use super::{FINISHED, Hub, MASKED, TimerAction};
use crate::context::{ActiveContext, Body};
use crate::green::{BodyState, Green, Interrupt, Joiner, Outcome, RareFields, State as GreenState};
use crate::ids::GreenId;
use crate::ids::{ParkResult, Ticket, WaitReason, WaitResult, WakeReason};
use crate::observe::trace::Event;
use crate::policy::{Attributes, ReadyReason};
use crate::stack::StackSize;
use crate::sys::hint::unlikely;
use crate::time::{NEVER, Time};
use crate::tls::Tcb;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

/// How many times 10 ms an ending hub waits for green threads that keep swallowing kills.
const PATIENCE: u32 = 64;

/// How a green thread is to be made.
pub(crate) struct Spawn {
    pub(crate) name: Option<Rc<str>>,
    pub(crate) stack_size: StackSize,
    pub(crate) delay: Option<Duration>,
    pub(crate) attributes: Option<Attributes>,
    pub(crate) detached: bool,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl Spawn {
    /// A green thread with the default stack and no name, spawned by the caller of the calling function.
    #[track_caller]
    #[inline]
    pub(crate) fn new() -> Spawn {
        Spawn {
            name: None,
            stack_size: StackSize::DEFAULT,
            delay: None,
            attributes: None,
            detached: false,
            spawned_at: Location::caller(),
        }
    }

    /// The same without a handle, for those that the hub spawns itself.
    #[track_caller]
    pub(super) fn internal() -> Spawn {
        Spawn { detached: true, ..Spawn::new() }
    }
}

impl Hub {
    /// Makes a green thread that will run `job`, last in line.
    #[inline]
    pub(crate) fn spawn(&self, spawn: Spawn, job: Body) -> GreenId {
        self.insert(spawn, BodyState::NotStarted(job), None)
    }

    /// Makes its record; with a seat, if it is to have one before its first run.
    #[inline]
    pub(super) fn insert(
        &self,
        spawn: Spawn,
        life: BodyState,
        seat: Option<(ActiveContext, Tcb)>,
    ) -> GreenId {
        let mut state = self.state.borrow_mut();
        let serial = state.next_serial;
        // 4,294,967,294 spawns from now a ticket of the first could be mistaken for another's.
        state.next_serial = if serial >= u32::MAX - 1 { 1 } else { serial + 1 };
        state.alive += 1;
        // Made by the destructors of others, while the hub ends.
        let closing = self.closing.get();
        let entry = state.greens.vacant_entry();
        let id = GreenId::new(serial, entry.key());
        if crate::observe::watchdog::is_on() {
            self.pulse.set_label(id, spawn.name.as_deref(), spawn.spawned_at);
        }
        let mut green = Green::new(id, self.blocks.os_thread_tcb(), life, spawn.spawned_at);
        if let Some((context, tcb)) = seat {
            (green.context, green.tcb) = (Some(context), tcb);
        }
        if spawn.delay.is_some() {
            green.state = GreenState::Delayed;
        }
        (green.killed, green.interrupted) = (closing, closing);
        if unlikely(self.left.get() & MASKED != 0) {
            self.inherit_mask(&mut green);
        }
        green.detached = spawn.detached;
        green.stack_size = spawn.stack_size;
        green.name = spawn.name.map(Box::new);
        if unlikely(spawn.attributes.is_some()) {
            green.extras().attributes = spawn.attributes;
        }
        entry.insert(green);
        state.ready.spawned(id, spawn.attributes.as_ref());
        match spawn.delay {
            None => state.ready.ready(id, ReadyReason::New),
            Some(delay) => state.timers.set(self.clock.after(delay), TimerAction::Start(id)),
        }
        self.pulse.set_alive(state.alive);
        drop(state);
        self.emit(Event::Spawn(id));
        id
    }

    /// Tells the watchdog what all are called that there are.
    pub(crate) fn publish_labels(&self) {
        for (_, green) in &self.state.borrow().greens {
            self.pulse.set_label(green.id, green.name.as_ref().map(|name| &***name), green.spawned_at);
        }
    }

    /// Whether the current green thread was killed before its first run; the kill is thereby delivered.
    #[inline]
    pub(crate) fn killed_at_start(&self) -> bool {
        self.interrupted.get() && self.take_interrupt() == Some(Interrupt::Kill)
    }

    /// Notes what became of the current green thread's body. The last thing that its job does.
    #[inline]
    pub(crate) fn finish(&self, outcome: Outcome) {
        let id = self.current();
        let mut state = self.state.borrow_mut();
        state.alive -= 1;
        self.pulse.set_alive(state.alive);
        let green = state.expect(id);
        green.state = GreenState::Finished;
        green.life.set(BodyState::Finished(outcome));
        let watcher = green.watcher.replace(Joiner::None);
        let extras = green.extras.take();
        match watcher {
            Joiner::None => {}
            Joiner::One(id, epoch) => {
                state.wake(Ticket::new(id, epoch), WakeReason::Notified);
            }
            Joiner::Several(completions, index) => {
                if let Some(ticket) = completions.push(index as usize) {
                    state.wake(ticket, WakeReason::Notified);
                }
            }
        }
        if state.alive == 0 {
            if let Some(ticket) = state.waits_for_all.take() {
                state.wake(ticket, WakeReason::Notified);
            }
        }
        drop(state);
        self.left.set(self.left.get() | FINISHED);
        if let Some(extras) = extras {
            self.release(&extras);
            self.run_links(*extras);
        }
    }

    #[cold]
    fn run_links(&self, extras: RareFields) {
        for job in extras.links {
            self.spawn(Spawn::internal(), job);
        }
        // Those that are made anew whenever they are dropped: nothing of the green thread may run any more.
        std::mem::forget(extras.locals);
    }

    /// Whether nobody will ask for the current green thread's outcome, and whether it may have locals.
    #[inline]
    pub(crate) fn end_requirements(&self) -> (bool, bool) {
        let mut state = self.state.borrow_mut();
        let green = state.expect(self.current());
        (green.detached, green.extras.is_some())
    }

    /// Takes the outcome of a finished green thread, and its record with it. `None`: not finished.
    #[inline]
    pub(crate) fn take_outcome(&self, id: GreenId) -> Option<Outcome> {
        let mut state = self.state.borrow_mut();
        if state.expect(id).state != GreenState::Finished {
            return None;
        }
        match state.greens.remove(id.key()).life.into_inner() {
            BodyState::Finished(outcome) => Some(outcome),
            _ => unreachable!("a finished green thread has an outcome"),
        }
    }

    /// Nobody will ask for the outcome of `id`.
    pub(crate) fn detach(&self, id: GreenId) {
        let mut state = self.state.borrow_mut();
        let gone = match state.green(id) {
            // Its outcome is dropped below, without a borrow: it may be anything.
            Some(green) if green.state == GreenState::Finished => Some(state.greens.remove(id.key())),
            Some(green) => {
                green.detached = true;
                green.watcher.set(Joiner::None);
                None
            }
            None => None,
        };
        drop(state);
        drop(gone);
    }

    /// Calls `job` in a green thread of its own when `id` has finished; at once if it has.
    #[track_caller]
    pub(crate) fn link(&self, id: GreenId, job: Body) {
        let mut state = self.state.borrow_mut();
        let green = state.expect(id);
        if green.state != GreenState::Finished {
            green.extras().links.push(job);
            return;
        }
        drop(state);
        self.spawn(Spawn::internal(), job);
    }

    /// Has `watcher` told when `id` finishes; `false` if it has already.
    pub(crate) fn watch(&self, id: GreenId, watcher: Joiner) -> bool {
        let mut state = self.state.borrow_mut();
        let green = state.expect(id);
        green.watcher.set(watcher);
        green.state != GreenState::Finished
    }

    pub(crate) fn is_finished(&self, id: GreenId) -> bool {
        self.state.borrow_mut().expect(id).state == GreenState::Finished
    }

    pub(crate) fn is_alive(&self, id: GreenId) -> bool {
        let mut state = self.state.borrow_mut();
        state.green(id).is_some_and(|green| green.state != GreenState::Finished)
    }

    /// Blocks the root until no green thread is alive, or the deadline.
    ///
    /// Panics: on a green thread.
    #[track_caller]
    pub(crate) fn join_everything(&self, deadline: Time) -> bool {
        assert!(
            self.current() == GreenId::ROOT,
            "only the root can wait for all green threads: this one would wait for itself"
        );
        loop {
            let ticket = self.ticket();
            {
                let mut state = self.state.borrow_mut();
                if state.alive == 0 {
                    return true;
                }
                state.waits_for_all = Some(ticket);
            }
            if self.block(ticket, deadline, WaitReason::For("all green threads to end"))
                == WaitResult::Expired
            {
                return false;
            }
        }
    }

    /// Blocks the root until no green thread is left that `pthread_create` has made. Does not unwind.
    pub(crate) fn wait_for_pthreads(&self) {
        while self.current() == GreenId::ROOT && self.pthreads.get() > 0 {
            let ticket = self.ticket();
            self.waits_for_pthreads.set(Some(ticket));
            let wait = WaitReason::For("the threads that were made here to end");
            if self.park(ticket, NEVER, wait, true) == ParkResult::Deadlocked {
                log::error!("{}", self.deadlock_report(wait, None));
                return;
            }
        }
    }

    /// Kills all green threads and waits until they have ended: their destructors have run. Those that
    /// swallow every kill are left where they are, and their stacks with them. For the root.
    pub(crate) fn shut_down(&self) {
        let everyone: Vec<GreenId> = {
            let state = self.state.borrow();
            state.greens.iter().map(|(_, green)| green.id).filter(|&id| id != GreenId::ROOT).collect()
        };
        for id in everyone {
            self.kill(id);
        }
        self.closing.set(true);
        let mut waited = 0;
        loop {
            let ticket = self.ticket();
            {
                let mut state = self.state.borrow_mut();
                if state.alive == 0 {
                    break;
                }
                state.waits_for_all = Some(ticket);
            }
            let patience = self.clock.after(Duration::from_millis(10));
            match self.park(ticket, patience, WaitReason::For("all green threads to end"), true) {
                ParkResult::Notified => {}
                ParkResult::Expired if waited < PATIENCE => waited += 1,
                ParkResult::Expired | ParkResult::Interrupted | ParkResult::Deadlocked => {
                    log::error!(
                        "{} green threads do not end when killed; they are abandoned",
                        self.stats().alive
                    );
                    break;
                }
            }
        }
        self.closing.set(false);
    }
}
