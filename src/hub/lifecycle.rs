//! Creating, joining, detaching and finishing green threads.
//!
//! Next: `hub/entry.rs`, the first function on a green thread's stack.

use super::fields::{ACCOUNT, Hub, RECYCLE, RESTORE_SIGMASK};
use super::state::TimerAction;
use super::trace_event::Event;
use super::{prefetch, status};
use crate::context::{ActiveContext, Body};
use crate::green::{BodyState, Green, GreenState, Joiner, Outcome, RareFields};
use crate::ids::{GreenId, ParkResult, Ticket};
use crate::policy::{Attributes, Custom, Policy, ReadyReason};
use crate::stack::StackSize;
use crate::sys::hint::unlikely;
use crate::tls::Tcb;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

/// The properties of a green thread that is to be spawned.
pub(crate) struct Spawn {
    pub(crate) name: Option<Rc<str>>,
    pub(crate) stack_size: StackSize,
    pub(crate) delay: Option<Duration>,
    pub(crate) attributes: Option<Attributes>,
    pub(crate) detached: bool,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl Spawn {
    /// The default stack, no name, spawned by the caller of the calling function.
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

    /// The same, detached: for a green thread that the hub spawns itself.
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
            let attributes = green.rare.as_ref().and_then(|rare| rare.attributes);
            policy.spawned(green.id, &attributes.unwrap_or_default());
        }
        policy.running(self.current());
        let old = state.ready.replace(policy);
        drop(state);
        self.after_switch.set(self.after_switch.get() | ACCOUNT);
        drop(old);
    }

    /// Creates a green thread that runs `body`. It is ready at once, unless `spawn` has a delay.
    #[inline]
    pub(crate) fn spawn(&self, spawn: Spawn, body: Body) -> GreenId {
        self.insert(spawn, BodyState::NotStarted(body), None)
    }

    /// Creates the record of a green thread; with its context and thread control block, if it has them before its first run.
    #[inline]
    pub(super) fn insert(
        &self,
        spawn: Spawn,
        body: BodyState,
        allocated: Option<(ActiveContext, Tcb)>,
    ) -> GreenId {
        let mut state = self.state.borrow_mut();
        let serial = state.next_serial;
        // After 4,294,967,294 more spawns an old ticket could match a new green thread.
        state.next_serial = if serial >= u32::MAX - 1 { 1 } else { serial + 1 };
        // While the hub shuts down, the destructors of killed green threads may spawn others: they are killed, too.
        let closing = self.closing.get();
        let entry = state.greens.vacant_entry();
        let id = GreenId::new(serial, entry.key());
        if status::labels_wanted() {
            self.status.set_label(id, spawn.name.as_deref(), spawn.spawned_at);
        }
        let mut green = Green::new(id, self.tcbs.os_thread_tcb(), body, spawn.spawned_at);
        green.stack_depth = prefetch::INITIAL_DEPTH;
        if let Some((context, tcb)) = allocated {
            (green.context, green.tcb) = (Some(context), tcb);
        }
        if spawn.delay.is_some() {
            green.state = GreenState::Delayed;
        }
        (green.killed, green.interrupted) = (closing, closing);
        if unlikely(self.after_switch.get() & RESTORE_SIGMASK != 0) {
            self.inherit_sigmask(&mut green);
        }
        green.detached = spawn.detached;
        green.stack_size = spawn.stack_size;
        green.name = spawn.name.map(Box::new);
        if unlikely(spawn.attributes.is_some()) {
            green.rare_mut().attributes = spawn.attributes;
        }
        entry.insert(green);
        state.ready.spawned(id, spawn.attributes.as_ref());
        match spawn.delay {
            None => state.ready.ready(id, ReadyReason::New),
            Some(delay) => state.timers.set(self.clock.after(delay), TimerAction::Start(id)),
        }
        self.status.set_alive(self.status.alive() + 1);
        drop(state);
        self.emit(Event::Spawn(id));
        id
    }

    /// Stores the outcome of the running green thread and wakes its joiner. The body returns right after this call.
    #[inline]
    pub(crate) fn finish(&self, outcome: Outcome) {
        let id = self.current();
        let mut state = self.state.borrow_mut();
        let alive = self.status.alive() - 1;
        self.status.set_alive(alive);
        let green = state.record_mut(id);
        green.state = GreenState::Finished;
        green.body.set(BodyState::Finished(outcome));
        let rare = green.rare.take();
        let joiner = match green.joiner.replace(Joiner::None) {
            Joiner::None => None,
            Joiner::One(id, epoch) => Some(Ticket::new(id, epoch)),
            Joiner::Several(completions, index) => completions.push(index as usize),
        };
        let join_all_waiter = if alive == 0 { state.join_all_waiter.take() } else { None };
        for ticket in joiner.into_iter().chain(join_all_waiter) {
            state.wake(ticket, ParkResult::Notified);
        }
        drop(state);
        self.after_switch.set(self.after_switch.get() | RECYCLE);
        if let Some(rare) = rare {
            // Unblocks the signals that the green thread has held: see `green_sigmask.rs`.
            self.sigmask.set(self.sigmask.get().without(rare.held));
            self.run_links(*rare);
        }
    }

    #[cold]
    fn run_links(&self, rare: RareFields) {
        for link in rare.links {
            self.spawn(Spawn::internal(), link);
        }
        // Values that are left are those whose destructors make new ones. No code of the green thread may run any more.
        std::mem::forget(rare.locals);
    }

    /// Returns whether the running green thread is detached, and whether it may have green-thread locals.
    #[inline]
    pub(super) fn is_detached_and_has_locals(&self) -> (bool, bool) {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(self.current());
        (green.detached, green.rare.is_some())
    }

    /// Removes a finished green thread's record and returns its outcome. `None`: it has not finished.
    #[inline]
    pub(crate) fn take_outcome(&self, id: GreenId) -> Option<Outcome> {
        let mut state = self.state.borrow_mut();
        if state.record_mut(id).state != GreenState::Finished {
            return None;
        }
        match state.greens.remove(id.key()).body.into_inner() {
            BodyState::Finished(outcome) => Some(outcome),
            _ => unreachable!("a finished green thread has an outcome"),
        }
    }

    /// Detaches `id`: its outcome is dropped, now or when it finishes.
    pub(crate) fn detach(&self, id: GreenId) {
        let mut state = self.state.borrow_mut();
        let Some(green) = state.green(id) else { return };
        green.detached = true;
        green.joiner.set(Joiner::None);
        // Its outcome is dropped without a borrow, because the destructor is the program's code.
        let gone = (green.state == GreenState::Finished).then(|| state.greens.remove(id.key()));
        drop(state);
        drop(gone);
    }

    /// Runs `body` in a new green thread when `id` has finished; at once if it has.
    #[track_caller]
    pub(crate) fn link(&self, id: GreenId, body: Body) {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(id);
        if green.state != GreenState::Finished {
            green.rare_mut().links.push(body);
            return;
        }
        drop(state);
        self.spawn(Spawn::internal(), body);
    }

    /// Sets what is woken when `id` finishes. Returns `false` if it has finished.
    pub(crate) fn set_joiner(&self, id: GreenId, joiner: Joiner) -> bool {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(id);
        green.joiner.set(joiner);
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
