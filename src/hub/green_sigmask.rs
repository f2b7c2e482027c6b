//! The signals that a green thread has blocked, and the others of its OS thread have not: they are blocked while it runs.
//!
//! Whatever waits in the kernel for all of them waits with what the root has blocked. So a library's thread that blocks all
//! signals, to leave them to the program's threads, does not take them from those. But what somebody has blocked to wait
//! for it (`sigwait`, a descriptor of signals) is *held*: blocked for all, until it is unblocked by who has done that.

use super::fields::{Hub, RESTORE_SIGMASK};
use crate::green::{Green, RareFields};
use crate::ids::GreenId;
use crate::sys::sigset::Signals;

impl Hub {
    /// Who runs has changed what is blocked. What the root blocks is blocked for all who have not said otherwise.
    pub(crate) fn note_mask(&self, before: Signals, now: Signals) {
        let id = self.current();
        if id == GreenId::ROOT {
            return;
        }
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(id);
        if !green.has_mask {
            self.sigmask.set(before);
        } else {
            let extras = green.extras();
            let released = extras.held.without(now);
            extras.held = extras.held.without(released);
            self.sigmask.set(self.sigmask.get().without(released));
        }
        green.has_mask = now != self.sigmask.get();
        if green.has_mask {
            green.extras().mask = now;
        }
        self.set_masked(green.has_mask);
    }

    /// Who runs waits for those of `signals` that it has blocked.
    pub(crate) fn hold(&self, signals: Signals) {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(self.current());
        if green.has_mask {
            let (home, extras) = (self.sigmask.get(), green.extras());
            let held = signals.without(signals.without(extras.mask)).without(home);
            extras.held = extras.held.with(held);
            self.sigmask.set(home.with(held));
        }
    }

    /// `id`, who is about to run, has a mask: it comes in the place of the OS thread's.
    #[cold]
    pub(super) fn put_on_mask(&self, id: GreenId) {
        let mask = self.state.borrow_mut().record_mut(id).extras().mask;
        self.sigmask.set(mask.block());
        self.set_masked(true);
    }

    /// Who ran has left its stack: the OS thread's mask comes back.
    #[cold]
    pub(super) fn take_off_mask(&self) {
        self.sigmask.get().block();
    }

    /// Who has ended waits for nothing any more.
    pub(super) fn release(&self, extras: &RareFields) {
        self.sigmask.set(self.sigmask.get().without(extras.held));
    }

    /// `green` is made by who runs, who has a mask: what is blocked now is for both.
    #[cold]
    pub(super) fn inherit_mask(&self, green: &mut Green) {
        (green.has_mask, green.extras().mask) = (true, Signals::blocked());
    }

    fn set_masked(&self, is_masked: bool) {
        let others = self.after_switch.get() & !RESTORE_SIGMASK;
        self.after_switch.set(if is_masked { others | RESTORE_SIGMASK } else { others });
    }
}
