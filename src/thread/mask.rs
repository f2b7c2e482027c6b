//! Which signals an OS thread handles.
#![allow(unsafe_code)]

use libc::sigset_t;
use std::mem::zeroed;
use std::ptr::{from_ref, null};

/// An OS thread of greenline's own, which leaves the program's signals to the program's: it handles none from here on, but
/// for those that say that one of its own instructions has failed.
pub(crate) struct Deaf {
    /// What was blocked before.
    former: sigset_t,
}

impl Deaf {
    /// Makes the OS thread that calls so.
    pub(crate) fn new() -> Deaf {
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
        Deaf { former: block(Some(&others)) }
    }

    /// Calls `f`, which does not unwind, with the signals that it had before.
    pub(crate) fn hear<R>(&self, f: impl FnOnce() -> R) -> R {
        with_signals_blocked(&self.former, f)
    }
}

/// Which are blocked on the OS thread that calls.
#[cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]
pub(crate) fn blocked_signals() -> sigset_t {
    block(None)
}

/// Calls `f`, which does not unwind, with those blocked on the OS thread that calls, and no others.
pub(crate) fn with_signals_blocked<R>(signals: &sigset_t, f: impl FnOnce() -> R) -> R {
    let former = block(Some(signals));
    let answer = f();
    block(Some(&former));
    answer
}

/// Has the OS thread that calls block those, if any are given, and no others. Answers what it has blocked before.
fn block(signals: Option<&sigset_t>) -> sigset_t {
    // SAFETY: all zeros is a set, and that one is ours; null changes nothing.
    unsafe {
        let mut former = zeroed();
        libc::pthread_sigmask(libc::SIG_SETMASK, signals.map_or(null(), from_ref), &raw mut former);
        former
    }
}
