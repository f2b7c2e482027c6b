//! Which signals an OS thread handles.
#![allow(unsafe_code)]

use crate::sys::sigset::Signals;
use std::mem::zeroed;

/// An OS thread of greenline's own, which leaves the program's signals to the program's: it handles none from here on, but
/// for those that say that one of its own instructions has failed.
pub(crate) struct SignalsBlocked {
    /// What was blocked before.
    former: Signals,
}

impl SignalsBlocked {
    /// Makes the OS thread that calls so.
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
        // SAFETY: all zeros is a set, which is ours.
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

    /// Calls `f`, which does not unwind, with the signals that it had before.
    pub(crate) fn hear<R>(&self, f: impl FnOnce() -> R) -> R {
        with_signals_blocked(self.former, f)
    }
}

/// Calls `f`, which does not unwind, with those blocked on the OS thread that calls, and no others.
pub(crate) fn with_signals_blocked<R>(signals: Signals, f: impl FnOnce() -> R) -> R {
    let former = signals.block();
    let answer = f();
    former.block();
    answer
}
