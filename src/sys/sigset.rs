//! Sets of signals, and the signal mask of an OS thread.
//!
//! Next: `sys/signal_handler.rs`.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use std::mem::zeroed;
use std::ptr::{from_ref, null};

/// A set of signals in the kernel's format: one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signals(u64);

const _: () = assert!(size_of::<libc::sigset_t>() >= size_of::<Signals>());

impl Signals {
    /// Returns the signals that the calling OS thread has blocked.
    pub(crate) fn blocked() -> Signals {
        change(None)
    }

    /// Converts from the C library's format.
    pub(crate) fn of(set: &libc::sigset_t) -> Signals {
        // SAFETY: the C library's set begins with the kernel's and is not shorter, as asserted above.
        Signals(unsafe { *from_ref(set).cast() })
    }

    pub(crate) fn with(self, others: Signals) -> Signals {
        Signals(self.0 | others.0)
    }

    pub(crate) fn without(self, others: Signals) -> Signals {
        Signals(self.0 & !others.0)
    }

    /// Blocks exactly these signals on the calling OS thread. Returns those that were blocked before.
    pub(crate) fn block(self) -> Signals {
        change(Some(&self))
    }

    /// Blocks all signals on the calling OS thread, which is one of this crate's own, so that the program's OS threads
    /// receive them; except the signals that report the failure of one of its own instructions. Returns those that were
    /// blocked before.
    pub(crate) fn block_all() -> Signals {
        use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
        // SAFETY: all zeros is a valid set.
        let others = unsafe {
            let mut others = zeroed();
            libc::sigfillset(&raw mut others);
            for own in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT] {
                libc::sigdelset(&raw mut others, own);
            }
            others
        };
        Signals::of(&others).block()
    }

    /// Calls `f`, which does not unwind, with exactly these signals blocked on the calling OS thread.
    pub(crate) fn while_blocked<R>(self, f: impl FnOnce() -> R) -> R {
        let former = self.block();
        let answer = f();
        former.block();
        answer
    }
}

/// Blocks exactly `set`, if given. Returns the signals that were blocked before. Bypasses the C library, because there may
/// be no valid place for `errno`.
fn change(set: Option<&Signals>) -> Signals {
    let mut before = Signals::default();
    let set = set.map_or(null(), from_ref);
    let args =
        [libc::SIG_SETMASK as usize, set as usize, &raw mut before as usize, size_of::<Signals>(), 0, 0];
    // SAFETY: `set` is null or a set, `before` has room for one, each of the size that is passed.
    unsafe { syscall(libc::SYS_rt_sigprocmask, args) };
    before
}
