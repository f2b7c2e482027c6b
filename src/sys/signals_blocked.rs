//! Blocking signals on an OS thread of this crate's own: the watchdog, the workers of `offload`.
//!
//! Next: `sys/quiescent.rs`.
#![allow(unsafe_code)]

use crate::sys::sigset::Signals;
use std::mem::zeroed;

/// The calling OS thread has all signals blocked, so that the program's own OS threads receive them; except the signals that
/// report the failure of one of its own instructions.
pub(crate) struct SignalsBlocked {
    /// The signals that were blocked before.
    former: Signals,
}

impl SignalsBlocked {
    /// Blocks them on the calling OS thread.
    pub(crate) fn new() -> SignalsBlocked {
        const OWN: [i32; 7] = [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGTRAP,
            libc::SIGSYS,
            libc::SIGABRT,
        ];
        // SAFETY: all zeros is a valid set.
        let others = unsafe {
            let mut others = zeroed();
            libc::sigfillset(&raw mut others);
            for signal in OWN {
                libc::sigdelset(&raw mut others, signal);
            }
            others
        };
        SignalsBlocked { former: Signals::of(&others).block() }
    }

    /// Calls `f`, which does not unwind, with the signal mask from before.
    pub(crate) fn with_original_mask<R>(&self, f: impl FnOnce() -> R) -> R {
        with_signals_blocked(self.former, f)
    }
}

/// Calls `f`, which does not unwind, with exactly `signals` blocked on the calling OS thread.
pub(crate) fn with_signals_blocked<R>(signals: Signals, f: impl FnOnce() -> R) -> R {
    let former = signals.block();
    let answer = f();
    former.block();
    answer
}
