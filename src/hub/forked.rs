//! After `fork`, in the child: one OS thread is left, and the stack that it stands on.
//!
//! The child has a copy of everything that its parent had, and little of it is its own: the green threads are the
//! parent's, and would do the parent's work a second time; the epoll instance is *shared*, so to take a descriptor out
//! of it would take it from the parent; locks may have been copied while another OS thread held them. So the child
//! begins with nothing: a new hub, whose root is the stack that has called `fork`, be it a green thread's.
//!
//! Called by the interposed `fork` of the patch, and, where there is none, by [`fork`] here.
#![allow(unsafe_code)]
#![cfg_attr(not(any(feature = "patch", feature = "process")), allow(dead_code))]

use super::{Hub, existing, local};
use crate::signal::bell;
use crate::{fds, offload};
#[cfg(feature = "process")]
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Set when a child has begun anew.
static ANEW: AtomicBool = AtomicBool::new(false);

/// Makes a new hub in the place of the one that was inherited, if one was.
pub(crate) fn begin_anew() {
    fds::forget_all();
    bell::forget_all();
    offload::forget_all();
    if existing().is_some() {
        local::replace(Box::leak(Box::new(Hub::new())));
    }
    ANEW.store(true, Relaxed);
}

/// fork(2), after which the child has a hub of its own: by C's function, which may be the interposed one. Answers 0
/// in the child.
///
/// # Safety
/// As fork(2): whatever another OS thread may have locked is locked in the child for ever. Who returns from the
/// frames below this one in the child does what is the parent's.
///
/// Errors: no memory, or too many processes.
#[cfg(feature = "process")]
pub(crate) unsafe fn fork() -> io::Result<u32> {
    ANEW.store(false, Relaxed);
    // SAFETY: the caller's.
    match unsafe { libc::fork() } {
        0 => {
            if !ANEW.load(Relaxed) {
                begin_anew();
            }
            Ok(0)
        }
        pid @ 1.. => Ok(pid as u32),
        _ => Err(io::Error::last_os_error()),
    }
}
