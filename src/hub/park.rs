//! Parking, waking and yielding. `park_armed` is the one function by which a green thread blocks.
//!
//! Next: `api/wait.rs`, how programs use it.

use super::fields::Hub;
use super::prefetch::stack_depth;
use super::scheduler::suspend_current;
use super::state::TimerAction;
use super::trace_event::Event;
use crate::green::{Green, GreenState, Interruptible, PanicCount};
use crate::ids::{GreenId, ParkResult, Ticket, WaitReason, WaitResult};
use crate::policy::ReadyReason;
use crate::sys::hint::unlikely;
use crate::time::{NEVER, Time};
use std::panic::Location;

impl Hub {
    /// Returns the running green thread, after checking that it may block.
    #[inline]
    pub(super) fn current_checked(&self) -> GreenId {
        let id = self.current();
        assert!(id != GreenId::HUB, "an observer or a panic hook must not block");
        id
    }

    /// Returns a ticket for the next park of the running green thread.
    #[inline]
    pub(crate) fn ticket(&self) -> Ticket {
        let id = self.current_checked();
        let epoch = self.state.borrow_mut().record_mut(id).epoch;
        Ticket::new(id, epoch)
    }

    /// Makes the green thread of `ticket` ready. Returns `false` if the ticket is stale.
    pub(crate) fn wake(&self, ticket: Ticket) -> bool {
        self.state.borrow_mut().wake(ticket, ParkResult::Notified)
    }

    /// Parks the running green thread until the ticket is used, the deadline passes, or, if the park is `interruptible`, an
    /// interrupt is to be delivered. If the ticket is stale, returns at once.
    #[inline]
    pub(crate) fn park(
        &self,
        ticket: Ticket,
        deadline: Time,
        wait: WaitReason,
        interruptible: Interruptible,
    ) -> ParkResult {
        assert!(self.current() == ticket.id, "a ticket is good only for the green thread that took it");
        if self.state.borrow_mut().record_mut(ticket.id).epoch != ticket.epoch {
            // The ticket is from before the last park: the caller has to check its condition again.
            return ParkResult::Notified;
        }
        self.park_armed(|_| true, deadline, wait, interruptible).1
    }

    /// Parks with a new ticket.
    ///
    /// `arm` gives the ticket to the code that will wake this green thread. It returns `false` if there is nothing to wait
    /// for any more; then `park_armed` returns at once. `arm` is not called if a wake-up or an interrupt is already pending.
    ///
    /// `arm` runs with `state` borrowed, so a signal handler that interrupts it cannot park (`can_block` returns `false`).
    ///
    /// Inlined to keep the stack frame small: the frame must be reloaded into the cache on resume.
    #[inline(always)]
    pub(crate) fn park_armed(
        &self,
        arm: impl FnOnce(Ticket) -> bool,
        deadline: Time,
        wait: WaitReason,
        interruptible: Interruptible,
    ) -> (Ticket, ParkResult) {
        let id = self.current_checked();
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(id);
        debug_assert_eq!(green.state, GreenState::Runnable);
        let ticket = Ticket::new(id, green.epoch);
        if unlikely(green.park_result.is_some()) {
            // The ticket was used before this call.
            return (ticket, green.end_park(ticket));
        }
        let panicking = std::thread::panicking();
        let interruptible = if panicking { Interruptible::No } else { interruptible };
        let must_check_interrupts = interruptible == Interruptible::Yes
            && (green.interrupted | green.has_timeouts | self.closing.get());
        if unlikely(must_check_interrupts) && self.is_to_be_interrupted(green) {
            drop(state);
            return (ticket, self.start_interrupt());
        }
        if unlikely(!arm(ticket)) {
            return (ticket, green.end_park(ticket));
        }
        green.state = GreenState::Parked(interruptible);
        green.wait = wait;
        green.stack_depth = stack_depth(green.context);
        if unlikely(deadline != NEVER) {
            state.timers.set(deadline, TimerAction::Wake(id, ticket.epoch));
        }
        drop(state);
        self.emit(Event::Park(id));
        if !self.switch_out(panicking) {
            return (ticket, self.end_deadlocked(ticket));
        }
        (ticket, self.end_park(ticket, deadline))
    }

    /// Returns whether an interrupt is to be delivered instead of the park. If so, ends the epoch of the park.
    #[cold]
    fn is_to_be_interrupted(&self, green: &mut Green) -> bool {
        if self.closing.get() && green.id != GreenId::ROOT && !green.running_tls_destructors {
            green.killed = true;
        }
        let interrupted = green.refresh_pending_interrupt(|| self.clock.now());
        if interrupted {
            green.epoch = green.epoch.wrapping_add(1);
        }
        interrupted
    }

    #[cold]
    fn start_interrupt(&self) -> ParkResult {
        if self.closing.get() {
            // A green thread that catches the kill and blocks again must not keep the root from running.
            self.yield_now();
        }
        ParkResult::Interrupted
    }

    /// Ends the root's park, which nothing would ever have ended.
    #[cold]
    fn end_deadlocked(&self, ticket: Ticket) -> ParkResult {
        // Deferred lines are not logged now: a logger may wait for a lock that is never unlocked.
        self.state.borrow_mut().record_mut(ticket.id).end_park(ticket);
        ParkResult::Deadlocked
    }

    /// Ends the park of the running green thread, which was resumed. Returns why.
    #[inline(always)]
    fn end_park(&self, ticket: Ticket, deadline: Time) -> ParkResult {
        let mut state = self.state.borrow_mut();
        let result = state.record_mut(ticket.id).end_park(ticket);
        if unlikely(deadline != NEVER) && result != ParkResult::Expired {
            state.forget_timer();
        }
        drop(state);
        if ticket.id == GreenId::ROOT {
            self.flush_deferred_logs();
        }
        result
    }

    /// As [`park`](Self::park). Throws an interrupt, and panics on a deadlock.
    #[track_caller]
    #[inline]
    pub(crate) fn block(&self, ticket: Ticket, deadline: Time, wait: WaitReason) -> WaitResult {
        self.block_at(ticket, deadline, wait, Location::caller())
    }

    /// As [`block`](Self::block), with the location for a report of a deadlock.
    #[inline]
    pub(crate) fn block_at(
        &self,
        ticket: Ticket,
        deadline: Time,
        wait: WaitReason,
        at: &'static Location<'static>,
    ) -> WaitResult {
        match self.park(ticket, deadline, wait, Interruptible::Yes) {
            ParkResult::Notified => WaitResult::Notified,
            ParkResult::Expired => WaitResult::Expired,
            ParkResult::Interrupted => {
                self.throw_pending_interrupt();
                WaitResult::Notified
            }
            ParkResult::Deadlocked => self.panic_deadlocked(wait, at),
        }
    }

    /// Lets the other ready green threads run before the running one goes on.
    ///
    /// Inlined into its callers, down to the switch. The processor predicts returns by a stack of its own, which the calls on
    /// other stacks have overwritten; without returns there is nothing to mispredict.
    #[inline(always)]
    pub(crate) fn yield_now(&self) {
        if self.context.get().is_none() && self.current() == GreenId::HUB {
            // An observer or a panic hook: no green thread runs.
            return;
        }
        self.state.borrow_mut().ready.ready(self.current(), ReadyReason::Yielded);
        self.switch_out(std::thread::panicking());
    }

    /// Leaves the running green thread's stack until the policy picks it again. `panicking`: the green thread unwinds.
    /// Returns `false` for the root if no green thread will ever be ready.
    #[inline(always)]
    fn switch_out(&self, panicking: bool) -> bool {
        if panicking {
            return self.switch_out_unwinding();
        }
        match self.context.get() {
            Some(context) => {
                suspend_current(context);
                true
            }
            None => self.run(),
        }
    }

    #[cold]
    fn switch_out_unwinding(&self) -> bool {
        let unwinding = PanicCount::take();
        let alive = self.switch_out(false);
        unwinding.put_back();
        alive
    }
}

impl Green {
    /// Ends the epoch of `ticket`. Returns why the park ended.
    #[inline]
    fn end_park(&mut self, ticket: Ticket) -> ParkResult {
        debug_assert_eq!(self.epoch, ticket.epoch);
        self.epoch = self.epoch.wrapping_add(1);
        self.park_result.take().unwrap_or(ParkResult::Notified)
    }
}
