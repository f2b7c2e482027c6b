//! OS threads of greenline's own that leave the program's signals to the program's.
#![allow(unsafe_code)]

use std::mem::zeroed;
use std::ptr::null_mut;

/// An OS thread that handles no signals from here on, but for those that say that one of its own instructions has failed.
pub(crate) struct Deaf {
    none: libc::sigset_t,
    /// What was blocked before.
    former: libc::sigset_t,
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
        // SAFETY: all zeros is a set, and both are ours.
        unsafe {
            let mut deaf = Deaf { none: zeroed(), former: zeroed() };
            libc::sigfillset(&raw mut deaf.none);
            for signal in OWN {
                libc::sigdelset(&raw mut deaf.none, signal);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const deaf.none, &raw mut deaf.former);
            deaf
        }
    }

    /// Calls `f`, which does not unwind, with the signals that it had before.
    pub(crate) fn hear<R>(&self, f: impl FnOnce() -> R) -> R {
        block(&self.former);
        let answer = f();
        block(&self.none);
        answer
    }
}

fn block(set: &libc::sigset_t) {
    // SAFETY: a set, for the OS thread that calls.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const *set, null_mut()) };
}
