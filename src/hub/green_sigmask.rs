//! Per-green-thread signal masks. If a green thread blocks a signal, the hub blocks it on the OS thread only while that green
//! thread runs.
//!
//! While the hub waits in the kernel for all green threads, the root's mask is in effect. So a library's thread that blocks
//! all signals, to leave them to the program's threads, does not take them from those. There is one exception: a signal that
//! a green thread has blocked in order to wait for it (`sigwait`, a signalfd) is *held*. It is blocked for all green threads
//! until the one that holds it unblocks it.
//!
//! Next: `hub/subscriptions.rs`.

use super::fields::{Hub, RESTORE_SIGMASK};
use crate::green::Green;
use crate::ids::GreenId;
use crate::sys::sigset::Signals;

impl Hub {
    /// Notes that the running green thread has changed its mask from `before` to `now`. The root's mask is that of all green
    /// threads without their own.
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
            let rare = green.rare_mut();
            let released = rare.held.without(now);
            rare.held = rare.held.without(released);
            self.sigmask.set(self.sigmask.get().without(released));
        }
        green.has_mask = now != self.sigmask.get();
        if green.has_mask {
            green.rare_mut().mask = now;
        }
        self.set_masked(green.has_mask);
    }

    /// Holds those of `signals` that the running green thread has blocked: it is about to wait for them.
    pub(crate) fn hold(&self, signals: Signals) {
        let mut state = self.state.borrow_mut();
        let green = state.record_mut(self.current());
        if green.has_mask {
            let (own, rare) = (self.sigmask.get(), green.rare_mut());
            let held = signals.without(signals.without(rare.mask)).without(own);
            rare.held = rare.held.with(held);
            self.sigmask.set(own.with(held));
        }
    }

    /// Installs the mask of `id`, which is about to run.
    #[cold]
    pub(super) fn install_sigmask(&self, id: GreenId) {
        let mask = self.state.borrow_mut().record_mut(id).rare_mut().mask;
        self.sigmask.set(mask.block());
        self.set_masked(true);
    }

    /// Gives `green` the mask of the running green thread, which spawns it.
    #[cold]
    pub(super) fn inherit_sigmask(&self, green: &mut Green) {
        (green.has_mask, green.rare_mut().mask) = (true, Signals::blocked());
    }

    fn set_masked(&self, is_masked: bool) {
        let others = self.after_switch.get() & !RESTORE_SIGMASK;
        self.after_switch.set(if is_masked { others | RESTORE_SIGMASK } else { others });
    }
}
