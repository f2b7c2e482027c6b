//! After `fork`, in the child: one OS thread is left, and the stack that it stands on.
//!
//! The child has a copy of everything that its parent had, and little of it is its own: the green threads are the
//! parent's, and would do the parent's work a second time; the epoll instance is *shared*, so to take a descriptor out
//! of it would take it from the parent; locks may have been copied while another OS thread held them. So the child
//! begins with nothing: a new hub, whose root is the stack that has called `fork`, be it a green thread's.
//!
//! Done by the interposed `fork` of the patch, for every fork there is; and, where nothing is interposed, by [`fork`] here.
#![allow(unsafe_code)]

use super::{Hub, current, try_current};
use crate::signal::handler;
use crate::thread::offload;
use crate::{fd_table, thread};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// How many forks lie between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// To be called before a fork: what a hub of the child will want to know of the loader is asked now, for in the child the
/// loader's lock may be held for ever by an OS thread that is not there.
pub(crate) fn look_ahead() {
    if !std::thread::panicking() {
        crate::green::prepare_panic_count();
    }
}

/// Makes a new hub in the place of the one that was inherited, if one was.
pub(crate) fn reset_after_fork() {
    fd_table::reset_after_fork();
    handler::reset_after_fork();
    offload::reset_after_fork();
    thread::reset_after_fork();
    if let Some(parents) = try_current() {
        let hub = Box::leak(Box::new(Hub::new()));
        // What names a green thread of the parent's names none of ours.
        hub.state.get_mut().next_serial = parents.state.try_borrow().map_or(1, |state| state.next_serial);
        current::replace(hub);
    }
    FORKS.fetch_add(1, Relaxed);
}

/// How many forks lie between the first process and this one: what tells a process from those it has a copy of.
pub(crate) fn forks() -> u32 {
    FORKS.load(Relaxed)
}

/// How many forks lay before this process when it was begun as a child of its own, whose end is not its parent's; 0: it
/// was not.
static BEGUN: AtomicU32 = AtomicU32::new(0);

/// This process is a child whose end is its own: what the parent's code has left for the end of its thread is not done.
pub(crate) fn begin_own_life() {
    BEGUN.store(forks(), Relaxed);
}

/// Whether what was left for the end of a thread, after so many forks, is for this process to do.
pub(crate) fn is_ours_to_end(forks: u32) -> bool {
    forks >= BEGUN.load(Relaxed)
}

/// fork(2), after which the child has a hub of its own: by C's function, which may be the interposed one. Answers 0
/// in the child.
///
/// # Safety
/// As fork(2): whatever another OS thread may have locked is locked in the child for ever. Who returns from the
/// frames below this one in the child does what is the parent's.
///
/// Errors: no memory, or too many processes.
pub(crate) unsafe fn fork() -> io::Result<u32> {
    let before = forks();
    look_ahead();
    // SAFETY: the caller's.
    match unsafe { libc::fork() } {
        0 => {
            if forks() == before {
                reset_after_fork();
            }
            Ok(0)
        }
        pid @ 1.. => Ok(pid as u32),
        _ => Err(io::Error::last_os_error()),
    }
}
