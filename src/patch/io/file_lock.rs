//! Locks on files: `flock`, and `fcntl`'s.
//!
//! There is nothing to poll. A lock of an open file (`flock`, `F_OFD_SETLKW`) is polled with exponential backoff, and
//! tried whenever a lock was given back in this process; so a green thread that comes later may be first. A record lock
//! (`F_SETLKW`, `lockf`) belongs to the process, so only other processes keep one from it; and the kernel finds out
//! whether two processes wait for each other (`EDEADLK`). So an OS thread of the pool waits in the kernel.
//!
//! Next: `hub/retry.rs`, which polls.

use super::blocking::{hub, poll_until};
use crate::hub::futex;
use crate::hub::{EAGAIN, Hub};
use crate::patch::kind::offload_blocking;
use crate::patch::symbol::{failed, interpose, kernel, with_errno};
use crate::thread::offload::WorkKind;
use crate::time::NEVER;
use libc::{c_int, off_t};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

/// Number of green threads that wait for a lock.
static WAITING: AtomicU32 = AtomicU32::new(0);
/// Counts up when a lock may have been given back while a green thread waits.
static UNLOCKS: AtomicU32 = AtomicU32::new(0);

/// A lock may have been given back.
#[inline]
pub(super) fn notify_unlocked() {
    if WAITING.load(SeqCst) > 0 {
        UNLOCKS.fetch_add(1, SeqCst);
        futex::wake(UNLOCKS.as_ptr() as usize, usize::MAX, u32::MAX);
    }
}

/// In the child of a fork no green thread waits.
pub(super) fn reset_after_fork() {
    WAITING.store(0, SeqCst);
}

/// Calls `attempt`, which must not block, until it returns something else than EAGAIN.
fn poll_for_lock(hub: &'static Hub, attempt: impl Fn() -> isize) -> isize {
    WAITING.fetch_add(1, SeqCst);
    let answer = poll_until(hub, NEVER, "a lock on a file", Some(&UNLOCKS), attempt);
    WAITING.fetch_sub(1, SeqCst);
    answer
}

/// `fcntl`, whose commands that wait for a lock park.
///
/// # Safety
/// As fcntl(2).
pub(super) unsafe fn fcntl(fd: c_int, command: c_int, argument: usize) -> isize {
    let call = move |command: c_int| {
        // SAFETY: the caller's contract.
        unsafe { kernel(libc::SYS_fcntl, [fd as usize, command as usize, argument]) }
    };
    match (command, hub()) {
        (libc::F_OFD_SETLKW, Some(hub)) => poll_for_lock(hub, || call(libc::F_OFD_SETLK)),
        (libc::F_SETLKW, Some(_)) => match call(libc::F_SETLK) {
            taken if taken == EAGAIN || taken == failed(libc::EACCES) => {
                offload_blocking(WorkKind::ExternalWait, "a lock on a file", || call(libc::F_SETLKW))
            }
            answer => answer,
        },
        _ => call(command),
    }
}

fn lock_with_flock(fd: c_int, operation: c_int) -> isize {
    // SAFETY: no pointers.
    let call = |operation: c_int| unsafe { kernel(libc::SYS_flock, [fd as usize, operation as usize]) };
    let waits = operation & (libc::LOCK_NB | libc::LOCK_UN) == 0;
    let answer = match hub().filter(|_| waits) {
        Some(hub) => poll_for_lock(hub, || call(operation | libc::LOCK_NB)),
        None => call(operation),
    };
    if operation & libc::LOCK_EX == 0 {
        // It was given back, or is shared from now on.
        notify_unlocked();
    }
    answer
}

/// See lockf(3). In the C library it is `fcntl`, which it calls inside itself.
fn lock_record(fd: c_int, command: c_int, len: off_t) -> isize {
    // SAFETY: all zeros is a valid range.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_whence = libc::SEEK_CUR as _;
    range.l_len = len;
    let (kind, command) = match command {
        libc::F_LOCK => (libc::F_WRLCK, libc::F_SETLKW),
        libc::F_TLOCK => (libc::F_WRLCK, libc::F_SETLK),
        libc::F_ULOCK => (libc::F_UNLCK, libc::F_SETLK),
        // A read lock would not be in the way of another one.
        libc::F_TEST => (libc::F_RDLCK, libc::F_GETLK),
        _ => return failed(libc::EINVAL),
    };
    range.l_type = kind as _;
    // SAFETY: a range of this frame.
    match unsafe { fcntl(fd, command, &raw mut range as usize) } {
        0 if command == libc::F_GETLK => {
            // SAFETY: no preconditions.
            let is_ours = range.l_pid == unsafe { libc::getpid() };
            if range.l_type == libc::F_UNLCK as _ || is_ours { 0 } else { failed(libc::EACCES) }
        }
        answer => answer,
    }
}

interpose! { Io;
    /// See flock(2).
    fn flock(fd: c_int, operation: c_int) -> c_int,
        "std::fs::File::lock, C" => "tries again, with pauses, until it has the lock";
    { with_errno(lock_with_flock(fd, operation)) }

    /// See lockf(3).
    fn lockf(fd: c_int, command: c_int, len: off_t) -> c_int, "C" => "as fcntl's F_SETLKW";
    { with_errno(lock_record(fd, command, len)) }

    /// See lockf(3): its name for files of more than 2 GiB.
    fn lockf64(fd: c_int, command: c_int, len: off_t) -> c_int, "C" => "the same";
    { with_errno(lock_record(fd, command, len)) }
}
