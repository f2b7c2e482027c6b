//! Green threads made, watched, ended: all of a life that is not running or waiting.

use super::fields::{ACCOUNT, Hub, RECYCLE, RESTORE_SIGMASK};
use super::state::TimerAction;
use super::status;
use super::trace_event::Event;
use crate::context::{ActiveContext, Body};
use crate::green::{BodyState, Green, Interrupt, Joiner, Outcome, RareFields, State as GreenState};
use crate::ids::GreenId;
use crate::ids::{Ticket, WakeReason};
use crate::policy::{Attributes, Custom, Policy, ReadyReason};
use crate::stack::StackSize;
use crate::sys::hint::unlikely;
use crate::tls::Tcb;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

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
    /// Replaces the policy. The new one learns of all green threads; those that are ready are handed over in the old
    /// policy's order.
    pub(crate) fn install(&self, policy: Box<dyn Policy>) {
        let mut policy = Custom::new(policy, &self.clock);
        let mut state = self.state.borrow_mut();
        for (_, green) in state.greens.iter().filter(|(_, green)| green.state != GreenState::Finished) {
            let attributes = green.extras.as_ref().and_then(|extras| extras.attributes);
            policy.spawned(green.id, &attributes.unwrap_or_default());
        }
        let old = state.ready.replace(policy);
        state.ready.running(self.current());
        drop(state);
        self.after_switch.set(self.after_switch.get() | ACCOUNT);
        drop(old);
    }

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
        if status::labels_wanted() {
            self.status.set_label(id, spawn.name.as_deref(), spawn.spawned_at);
        }
        let mut green = Green::new(id, self.tcbs.os_thread_tcb(), life, spawn.spawned_at);
        if let Some((context, tcb)) = seat {
            (green.context, green.tcb) = (Some(context), tcb);
        }
        if spawn.delay.is_some() {
            green.state = GreenState::Delayed;
        }
        (green.killed, green.interrupted) = (closing, closing);
        if unlikely(self.after_switch.get() & RESTORE_SIGMASK != 0) {
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
        self.status.set_alive(state.alive);
        drop(state);
        self.emit(Event::Spawn(id));
        id
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
        self.status.set_alive(state.alive);
        let green = state.record_mut(id);
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
            if let Some(ticket) = state.join_all_waiter.take() {
                state.wake(ticket, WakeReason::Notified);
            }
        }
        drop(state);
        self.after_switch.set(self.after_switch.get() | RECYCLE);
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
        let green = state.record_mut(self.current());
        (green.detached, green.extras.is_some())
    }

    /// Takes the outcome of a finished green thread, and its record with it. `None`: not finished.
    #[inline]
    pub(crate) fn take_outcome(&self, id: GreenId) -> Option<Outcome> {
        let mut state = self.state.borrow_mut();
        if state.record_mut(id).state != GreenState::Finished {
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
        let green = state.record_mut(id);
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
        let green = state.record_mut(id);
        green.watcher.set(watcher);
        green.state != GreenState::Finished
    }

    pub(crate) fn is_finished(&self, id: GreenId) -> bool {
        self.state.borrow_mut().record_mut(id).state == GreenState::Finished
    }

    pub(crate) fn is_alive(&self, id: GreenId) -> bool {
        let mut state = self.state.borrow_mut();
        state.green(id).is_some_and(|green| green.state != GreenState::Finished)
    }
}
