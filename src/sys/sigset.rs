//! Sets of signals, and which are blocked.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use std::ptr::{from_ref, null};

/// A set of signals, as the kernel has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signals(u64);

const _: () = assert!(size_of::<libc::sigset_t>() >= size_of::<Signals>());

impl Signals {
    /// Those that are blocked on the OS thread that calls.
    pub(crate) fn blocked() -> Signals {
        change(None)
    }

    pub(crate) fn of(set: &libc::sigset_t) -> Signals {
        // SAFETY: C's set begins with the kernel's, and is no shorter.
        Signals(unsafe { *from_ref(set).cast() })
    }

    pub(crate) fn from_bits(bits: u64) -> Signals {
        Signals(bits)
    }

    pub(crate) fn with(self, others: Signals) -> Signals {
        Signals(self.0 | others.0)
    }

    pub(crate) fn without(self, others: Signals) -> Signals {
        Signals(self.0 & !others.0)
    }

    /// Has the OS thread that calls block these, and no others. Answers which it has blocked before.
    pub(crate) fn block(self) -> Signals {
        change(Some(&self))
    }
}

/// Blocks those, if any are given, and no others. Answers which were blocked before that. Past the C library: there may be no
/// place for an `errno`.
fn change(set: Option<&Signals>) -> Signals {
    let mut before = Signals::default();
    let set = set.map_or(null(), from_ref);
    let args =
        [libc::SIG_SETMASK as usize, set as usize, &raw mut before as usize, size_of::<Signals>(), 0, 0];
    // SAFETY: null, or a set, and room for one, each of the kernel's size.
    unsafe { syscall(libc::SYS_rt_sigprocmask, args) };
    before
}
