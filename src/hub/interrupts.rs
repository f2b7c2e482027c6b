//! Kill and timeout, from the request to the unwind. `green/interrupt.rs` has the rules.
//!
//! Next: `green/interrupt.rs`.

use super::fields::Hub;
use super::state::TimerAction;
use crate::green::{GreenState, Interrupt, TimeoutScope};
use crate::ids::GreenId;
use crate::time::NEVER;
use std::time::Duration;

impl Hub {
    /// Returns whether the running green thread has an interrupt to deliver.
    #[inline]
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.get()
    }

    /// Throws the pending interrupt, unless the running green thread unwinds already.
    #[cold]
    pub(crate) fn throw_pending_interrupt(&self) {
        if let Some(interrupt) = self.take_interrupt() {
            std::panic::resume_unwind(Box::new(interrupt));
        }
    }

    /// Takes the pending interrupt. Of several expired timeouts, takes the one with the nearest deadline. `None` while the
    /// running green thread unwinds.
    pub(crate) fn take_interrupt(&self) -> Option<Interrupt> {
        if std::thread::panicking() {
            return None;
        }
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(self.current());
        green.interrupt_consumed = false;
        let interrupt = if green.killed {
            green.killed = false;
            Some(Interrupt::Kill)
        } else {
            let scopes = green.rare.iter_mut().flat_map(|rare| &mut rare.timeouts);
            let expired = scopes.filter(|scope| scope.is_pending());
            expired.min_by_key(|scope| scope.deadline).map(|scope| {
                scope.delivered = true;
                Interrupt::Timeout(scope.number)
            })
        };
        self.interrupted.set(green.refresh_pending_interrupt(|| self.clock.now()));
        interrupt
    }

    /// Marks the running green thread as ending: the destructors of its thread-locals run next. A kill is done with by that,
    /// and later ones are refused.
    pub(super) fn begin_tls_destructors(&self) {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(self.current());
        green.running_tls_destructors = true;
        green.killed = false;
        self.interrupted.set(green.refresh_pending_interrupt(|| self.clock.now()));
    }

    /// Kills `id`. Returns `false` if it has finished or is about to.
    pub(crate) fn kill(&self, id: GreenId) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(green) = state
            .green(id)
            .filter(|green| green.state != GreenState::Finished && !green.running_tls_destructors)
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

    /// Enters a timeout. Returns its number.
    pub(crate) fn enter_timeout(&self, after: Duration) -> u64 {
        let deadline = self.clock.after(after);
        let mut state = self.state.borrow_mut();
        let number = state.next_timeout;
        state.next_timeout += 1;
        let id = self.current();
        // A timeout of zero has expired at once: it is delivered at the next blocking call, whatever the clock says.
        let fired = after.is_zero();
        let green = state.record_mut(id);
        green.rare_mut().timeouts.push(TimeoutScope { number, deadline, fired, delivered: false });
        green.has_timeouts = true;
        if fired {
            green.interrupted = true;
            green.interrupt_consumed = false;
            self.interrupted.set(true);
        } else if deadline != NEVER {
            state.timers.set(deadline, TimerAction::Interrupt(id, number));
        }
        number
    }

    /// Returns the number of timeouts that the running green thread is inside of.
    pub(crate) fn open_timeouts(&self) -> usize {
        let mut state = self.state.borrow_mut();
        let rare = &state.record_mut(self.current()).rare;
        rare.as_ref().map_or(0, |rare| rare.timeouts.len())
    }

    /// Leaves a timeout, whether it has fired or not.
    pub(crate) fn leave_timeout(&self, number: u64) {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(self.current());
        let timeouts = &mut green.rare_mut().timeouts;
        let at = timeouts.iter().rposition(|scope| scope.number == number);
        let scope = at.map(|at| timeouts.remove(at));
        self.interrupted.set(green.refresh_pending_interrupt(|| self.clock.now()));
        if scope.is_some_and(|scope| !scope.fired && scope.deadline != NEVER) {
            state.forget_timer();
        }
    }
}
