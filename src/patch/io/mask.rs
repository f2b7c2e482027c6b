//! Signal masks of calls that wait.
//!
//! `ppoll`, `pselect` and `epoll_pwait` replace the OS thread's mask while they wait, so that a signal that is blocked
//! otherwise is handled then and at no other time. The other green threads must not run with that mask. So the mask
//! is in place only while the call looks, which takes no time, and the call looks when one of the signals that the
//! mask lets in is pending. Signals that only the mask blocks are handled by whichever green thread runs.
//!
//! Next: `patch/io/sigwait.rs`, the calls that wait for signals alone.

use super::blocking::hub;
use super::fd::OwnFd;
use crate::patch::symbol::kernel;
use crate::sys::sigset::Signals;
use crate::sys::timespec::ZERO;
use libc::sigset_t;
use std::ptr::null;

/// The size of the kernel's set of signals, in bytes.
pub(super) const SET_SIZE: usize = size_of::<Signals>();

/// The signals that are blocked while a call waits, and no others. `None`: those that are blocked anyway.
#[derive(Clone, Copy)]
pub(super) struct Mask(Option<Signals>);

impl Mask {
    pub(super) const NONE: Mask = Mask(None);

    /// # Safety
    /// `mask` is null, or points to a set.
    pub(super) unsafe fn new(mask: *const sigset_t) -> Mask {
        // SAFETY: the caller's contract.
        Mask(unsafe { mask.as_ref() }.map(Signals::of))
    }

    /// Returns null, or where the set is, for the kernel.
    pub(super) fn as_ptr(&self) -> *const Signals {
        self.0.as_ref().map_or(null(), |set| &raw const *set)
    }

    /// Runs the handlers of pending signals that the mask lets in. Returns EINTR if there were any, else 0.
    pub(super) fn deliver(&self) -> isize {
        if self.0.is_none() {
            return 0;
        }
        // SAFETY: no descriptors, a time and a set.
        unsafe { kernel(libc::SYS_ppoll, [0, 0, &raw const ZERO as usize, self.as_ptr() as usize, SET_SIZE]) }
    }

    /// Returns a descriptor that is readable while a blocked signal that the mask lets in is pending.
    pub(super) fn pending(&self) -> Option<OwnFd> {
        let let_in = Signals::blocked().without(self.0?);
        if let_in == Signals::default() { None } else { pending_signals(let_in) }
    }
}

/// Returns a descriptor that is readable while one of a set of signals is pending (`signalfd`). The crate never reads
/// from it. `None`: no descriptor is left. Then a signal that comes later does not end the wait.
pub(super) fn pending_signals(set: Signals) -> Option<OwnFd> {
    if let Some(hub) = hub() {
        hub.hold(set);
    }
    let flags = (libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) as usize;
    let args = [usize::MAX, &raw const set as usize, SET_SIZE, flags];
    // SAFETY: a set.
    OwnFd::new(unsafe { kernel(libc::SYS_signalfd4, args) })
}
