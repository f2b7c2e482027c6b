//! The one way to block, and its end. See `wait.rs` for how it is used.

use super::fields::Hub;
use super::scheduler::suspend_current;
use super::state::{State, TimerAction};
use super::trace_event::Event;
use crate::green::{Green, PanicCount, StackDepth, State as GreenState};
use crate::ids::{GreenId, ParkResult, Ticket, WaitReason, WaitResult, WakeReason};
use crate::policy::ReadyReason;
use crate::sys::hint::unlikely;
use crate::time::{NEVER, Time};
use std::panic::Location;

impl Hub {
    /// Who runs, and may block.
    #[inline]
    pub(super) fn current_checked(&self) -> GreenId {
        let id = self.current();
        assert!(id != GreenId::HUB, "an observer, or a panic hook, must not block");
        id
    }

    /// A ticket for the next park of who runs.
    #[inline]
    pub(crate) fn ticket(&self) -> Ticket {
        let id = self.current_checked();
        let epoch = self.state.borrow_mut().record_mut(id).epoch;
        Ticket::new(id, epoch)
    }

    pub(crate) fn wake(&self, ticket: Ticket) -> bool {
        self.state.borrow_mut().wake(ticket, WakeReason::Notified)
    }

    /// Blocks who runs until the ticket is used, the deadline passes, or an interrupt is to be delivered;
    /// a `shield`ed park is not ended by an interrupt. This is the one way to block.
    #[inline]
    pub(crate) fn park(&self, ticket: Ticket, deadline: Time, wait: WaitReason, shield: bool) -> ParkResult {
        assert!(self.current() == ticket.id, "a ticket is good only for the green thread that took it");
        if self.state.borrow_mut().record_mut(ticket.id).epoch != ticket.epoch {
            // An older ticket: who waits by it has to look again.
            return ParkResult::Notified;
        }
        self.park_armed(|_| true, deadline, wait, shield).1
    }

    /// The same with a new ticket, which `arm` leaves with whoever is to use it; or it answers that there is no use in
    /// waiting. While it is called no blocking call may be turned into a park, as by the handler of a signal. It is not
    /// called if there is no use in waiting anyhow.
    ///
    /// Inlined, to leave little on the stack that has to come back into the cache.
    #[inline(always)]
    pub(crate) fn park_armed(
        &self,
        arm: impl FnOnce(Ticket) -> bool,
        deadline: Time,
        wait: WaitReason,
        shield: bool,
    ) -> (Ticket, ParkResult) {
        let id = self.current_checked();
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(id);
        debug_assert_eq!(green.state, GreenState::Runnable);
        let ticket = Ticket::new(id, green.epoch);
        if unlikely(green.cause != WakeReason::None) {
            // Woken before we got here.
            return (ticket, green.end_park(ticket));
        }
        let panicking = std::thread::panicking();
        let shield = shield || panicking;
        let must_look = !shield && (green.must_look() | self.closing.get());
        if unlikely(must_look) && self.is_to_be_interrupted(green) {
            drop(state);
            return (ticket, self.begin_interrupt());
        }
        if unlikely(!arm(ticket)) {
            return (ticket, green.end_park(ticket));
        }
        green.state = GreenState::Parked { shielded: shield };
        green.wait = wait;
        green.depth = StackDepth::here(green.context);
        if unlikely(deadline != NEVER) {
            state.timers.set(deadline, TimerAction::Wake(ticket));
        }
        drop(state);
        self.emit(Event::Park(id));
        if !self.switch_out(panicking) {
            return (ticket, self.end_deadlocked(ticket));
        }
        (ticket, self.end_park(ticket, deadline))
    }

    /// Whether an interrupt is to be delivered instead of a park, the epoch of which is over then.
    #[cold]
    fn is_to_be_interrupted(&self, green: &mut Green) -> bool {
        if self.closing.get() && green.id != GreenId::ROOT && !green.ending {
            green.killed = true;
        }
        let interrupted = green.review_interrupts(|| self.clock.now());
        if interrupted {
            green.epoch = green.epoch.wrapping_add(1);
        }
        interrupted
    }

    #[cold]
    fn begin_interrupt(&self) -> ParkResult {
        if self.closing.get() {
            // Who swallows it and comes straight back must not keep the root from running.
            self.yield_now();
        }
        ParkResult::Interrupted
    }

    /// Nobody ever would have woken it.
    #[cold]
    fn end_deadlocked(&self, ticket: Ticket) -> ParkResult {
        // No notes are logged now: what a logger would wait for nobody may ever let go of.
        self.state.borrow_mut().end_wait(ticket);
        ParkResult::Deadlocked
    }

    /// Who waited goes on: how that came.
    #[inline(always)]
    fn end_park(&self, ticket: Ticket, deadline: Time) -> ParkResult {
        let mut state = self.state.borrow_mut();
        let wake = state.end_wait(ticket);
        if unlikely(deadline != NEVER) && wake != ParkResult::Expired {
            state.forget_timer();
        }
        drop(state);
        if ticket.id == GreenId::ROOT {
            self.flush_deferred_logs();
        }
        wake
    }

    /// [`park`](Self::park), with interrupts delivered and a deadlock reported.
    #[track_caller]
    #[inline]
    pub(crate) fn block(&self, ticket: Ticket, deadline: Time, wait: WaitReason) -> WaitResult {
        self.block_at(ticket, deadline, wait, Location::caller())
    }

    /// The same, said to be at `at`.
    #[inline]
    pub(crate) fn block_at(
        &self,
        ticket: Ticket,
        deadline: Time,
        wait: WaitReason,
        at: &'static Location<'static>,
    ) -> WaitResult {
        match self.park(ticket, deadline, wait, false) {
            ParkResult::Notified => WaitResult::Notified,
            ParkResult::Expired => WaitResult::Expired,
            ParkResult::Interrupted => {
                self.throw_pending_interrupt();
                WaitResult::Notified
            }
            ParkResult::Deadlocked => self.panic_deadlocked(wait, at),
        }
    }

    /// Lets the others run that are ready, before who runs goes on. Inlined where it is called, down to the
    /// switch: so that no return has to be predicted that another stack's calls have spoilt.
    #[inline(always)]
    pub(crate) fn yield_now(&self) {
        if self.context.get().is_none() && self.current() == GreenId::HUB {
            // An observer, or a panic hook: nobody is there to give way.
            return;
        }
        self.state.borrow_mut().ready.ready(self.current(), ReadyReason::Yielded);
        self.switch_out(std::thread::panicking());
    }

    /// Leaves the current stack until its green thread is picked again; `panicking`: which unwinds. `false`: it is the
    /// root, and nobody ever will be.
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

impl State {
    /// Who waited goes on.
    #[inline(always)]
    fn end_wait(&mut self, ticket: Ticket) -> ParkResult {
        let green = self.record_mut(ticket.id);
        green.wait = WaitReason::Nothing;
        green.end_park(ticket)
    }
}

impl Green {
    /// Whether a blocking call has to ask for interrupts: one is pending, or a timeout may be due.
    #[inline]
    fn must_look(&self) -> bool {
        self.interrupted | self.has_timeouts
    }

    /// The epoch of `ticket` is over: answers how it ended.
    #[inline]
    fn end_park(&mut self, ticket: Ticket) -> ParkResult {
        debug_assert_eq!(self.epoch, ticket.epoch);
        self.epoch = self.epoch.wrapping_add(1);
        match std::mem::replace(&mut self.cause, WakeReason::None) {
            WakeReason::Notified | WakeReason::None => ParkResult::Notified,
            WakeReason::Expired => ParkResult::Expired,
            WakeReason::Interrupted => ParkResult::Interrupted,
        }
    }
}
