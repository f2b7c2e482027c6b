//! In place of `tls/mod.rs` where green threads cannot have thread control blocks of their own: without the
//! feature `patch`, and without a glibc that is linked dynamically.

#![allow(unsafe_code)]

use std::io;

/// There is but one for each OS thread, and it is always loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tcb;

impl Tcb {
    #[inline(always)]
    pub(crate) fn prefetch(self) {}

    pub(crate) fn is_pthread(self) -> bool {
        false
    }
}

pub(crate) struct TcbPool;

impl TcbPool {
    pub(crate) fn new() -> TcbPool {
        TcbPool
    }

    pub(crate) fn os_thread_tcb(&self) -> Tcb {
        Tcb
    }

    pub(crate) fn take(&self, _: *const crate::hub::Hub) -> io::Result<Tcb> {
        Ok(Tcb)
    }

    pub(crate) fn set_stack(&self, _: Tcb, _: std::ops::Range<usize>) {}

    /// # Safety
    /// None needed.
    pub(crate) unsafe fn end(&self, _: Tcb) {}
}

#[inline(always)]
pub(crate) fn is_wanted() -> bool {
    false
}

#[inline(always)]
pub(crate) fn has_own() -> bool {
    false
}

/// Whose thread-locals are in use: the OS thread's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TlsOwner;

pub(crate) fn locals() -> TlsOwner {
    TlsOwner
}

pub(crate) fn is_pthread() -> bool {
    false
}

#[inline(always)]
pub(crate) fn has_tls_destructors() -> bool {
    false
}

pub(crate) fn run_destructors() -> bool {
    false
}

/// Leaves one for the other: there is no other.
///
/// # Safety
/// None needed.
#[inline(always)]
pub(crate) unsafe fn load(_: Tcb, _: Tcb) {}
