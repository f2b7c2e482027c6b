//! The hub of a forked child.
//!
//! The child has one OS thread, which continues on the stack that has called `fork`, be it a green thread's. The child has
//! copies of all green threads of its parent; if it ran them, they would do the parent's work a second time. The epoll
//! instance is *shared* with the parent, so removing a descriptor from it would remove it from the parent's. So the child
//! gets a new hub, whose root is the stack that has called `fork`.
//!
//! The patch's interposed `fork` does this for every fork; where nothing is interposed, [`fork`] here does it.
//!
//! Next: `sys/at_fork.rs`, what else a child resets.
#![allow(unsafe_code)]

use super::current::{replace, try_current};
use super::fields::Hub;
use crate::green::prepare_panic_count;
use crate::sys::at_fork;
use std::io;

/// Prepares for a fork: asks the loader now what a hub of the child will want to know. In the child the loader's lock may be
/// held for ever by an OS thread that does not exist there.
pub(crate) fn before_fork() {
    if !std::thread::panicking() {
        prepare_panic_count();
    }
}

/// Resets the child: runs the hooks of `sys/at_fork.rs`, and replaces the inherited hub, if there is one, by a new one.
pub(crate) fn reset_after_fork() {
    at_fork::run_hooks();
    if let Some(parents) = try_current() {
        let hub = Box::leak(Box::new(Hub::new()));
        // The ids go on counting, so an id of the parent's names no green thread of the child's.
        hub.state.get_mut().next_serial = parents.state.try_borrow().map_or(1, |state| state.next_serial);
        replace(hub);
    }
}

/// Forks, after which the child has a hub of its own. Calls the C library's `fork`, which may be the interposed one. Returns
/// the child's process id, or 0 in the child.
///
/// # Safety
/// As fork(2): a lock that another OS thread may hold stays locked in the child. In the child, the caller does not return
/// to frames whose code must run in the parent only.
///
/// Errors: no memory, or too many processes.
pub unsafe fn fork() -> io::Result<u32> {
    let before = at_fork::forks();
    before_fork();
    // SAFETY: the caller's promise is the one that fork(2) asks for.
    match unsafe { libc::fork() } {
        0 => {
            // The interposed function has reset the child already.
            if at_fork::forks() == before {
                reset_after_fork();
            }
            Ok(0)
        }
        pid @ 1.. => Ok(pid as u32),
        _ => Err(io::Error::last_os_error()),
    }
}
