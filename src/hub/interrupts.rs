//! Kill and timeout, from asking to throwing. The rules are in `green/interrupt.rs`.

use super::fields::Hub;
use super::state::TimerAction;
use crate::green::{Interrupt, State as GreenState, TimeoutScope};
use crate::ids::GreenId;
use crate::time::NEVER;
use std::time::Duration;

impl Hub {
    /// Whether an interrupt waits for who runs; see `green/interrupt.rs`.
    #[inline]
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.get()
    }

    /// Throws the interrupt that is pending, unless we unwind already.
    #[cold]
    pub(crate) fn throw_pending_interrupt(&self) {
        if let Some(interrupt) = self.take_interrupt() {
            std::panic::resume_unwind(Box::new(interrupt));
        }
    }

    pub(crate) fn take_interrupt(&self) -> Option<Interrupt> {
        if std::thread::panicking() {
            return None;
        }
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(self.current());
        green.cut_short = false;
        let interrupt = if green.killed {
            green.killed = false;
            Some(Interrupt::Kill)
        } else {
            let scopes = green.extras.as_mut().map(|extras| extras.timeouts.iter_mut());
            let due = scopes.into_iter().flatten().filter(|scope| scope.is_pending());
            due.min_by_key(|scope| scope.deadline).map(|scope| {
                scope.delivered = true;
                Interrupt::Timeout(scope.number)
            })
        };
        self.interrupted.set(green.review_interrupts(|| self.clock.now()));
        interrupt
    }

    /// The thread-locals of who runs are destroyed next: what it was to be killed for has come.
    pub(crate) fn begin_ending(&self) {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(self.current());
        green.ending = true;
        green.killed = false;
        self.interrupted.set(green.review_interrupts(|| self.clock.now()));
    }

    /// Asks `id` to end. `false`: it has already, or is about to.
    pub(crate) fn kill(&self, id: GreenId) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(green) =
            state.green(id).filter(|green| green.state != GreenState::Finished && !green.ending)
        else {
            return false;
        };
        green.killed = true;
        if id == self.current() {
            self.interrupted.set(true);
        }
        state.interrupt(id, 0);
        true
    }

    /// Enters a timeout: answers its number.
    pub(crate) fn enter_timeout(&self, after: Duration) -> u64 {
        let deadline = self.clock.after(after);
        let mut state = self.state.borrow_mut();
        let number = state.next_timeout;
        state.next_timeout += 1;
        let id = self.current();
        // No time at all is over at once: it is delivered at the next blocking call, whatever the clock says.
        let fired = after.is_zero();
        let green = state.record_mut(id);
        green.extras().timeouts.push(TimeoutScope { number, deadline, fired, delivered: false });
        green.has_timeouts = true;
        if fired {
            green.interrupted = true;
            green.cut_short = false;
            self.interrupted.set(true);
        } else if deadline != NEVER {
            state.timers.set(deadline, TimerAction::Interrupt(id, number));
        }
        number
    }

    /// How many timeouts who runs is inside of.
    pub(crate) fn open_timeouts(&self) -> usize {
        let mut state = self.state.borrow_mut();
        let extras = &state.record_mut(self.current()).extras;
        extras.as_ref().map_or(0, |extras| extras.timeouts.len())
    }

    /// Leaves a timeout, fired or not.
    pub(crate) fn leave_timeout(&self, number: u64) {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(self.current());
        let mut fired = true;
        if let Some(extras) = &mut green.extras {
            if let Some(at) = extras.timeouts.iter().rposition(|scope| scope.number == number) {
                let scope = extras.timeouts.remove(at);
                fired = scope.fired || scope.deadline == NEVER;
            }
        }
        self.interrupted.set(green.review_interrupts(|| self.clock.now()));
        if !fired {
            state.forget_timer();
        }
    }
}
