//! Locks on files: `flock`, and `fcntl`'s.
//!
//! There is nothing to poll. A lock of an open file (`flock`, `F_OFD_SETLKW`) is tried again and again, after pauses that
//! grow, and whenever somebody in this process has given one back; so it may be that who comes later is first. A
//! record lock (`F_SETLKW`, `lockf`) belongs to the process, so that only other processes keep one from us; and the
//! kernel finds out whether two processes wait for each other (`EDEADLK`). So the kernel waits, elsewhere.

use super::{failed, hub, kernel, with_errno};
use crate::hub::futex;
use crate::hub::futex::{FutexWaitResult, Waiter};
use crate::hub::{Hub, keep_errno};
use crate::patch::offload_blocking;
use crate::thread::offload::WorkKind;
use libc::{c_int, off_t};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Between two tries.
const SHORTEST: Duration = Duration::from_micros(200);
const LONGEST: Duration = Duration::from_millis(20);

/// How many wait for a lock.
static WAITING: AtomicU32 = AtomicU32::new(0);
/// Counts up when one may have been given back, while somebody waits.
static RETURNED: AtomicU32 = AtomicU32::new(0);

/// A lock may have been given back.
#[inline]
pub(super) fn returned() {
    if WAITING.load(SeqCst) > 0 {
        RETURNED.fetch_add(1, SeqCst);
        futex::wake(RETURNED.as_ptr() as usize, usize::MAX, u32::MAX);
    }
}

/// In the child of a fork nobody waits.
pub(super) fn reset_after_fork() {
    WAITING.store(0, SeqCst);
}

/// Calls `attempt`, which does not wait, until it answers something else than EAGAIN. EINTR, once, for a kill or a
/// timeout.
fn try_again(hub: &'static Hub, attempt: impl Fn() -> isize) -> isize {
    let mut answer = attempt();
    if answer == failed(libc::EAGAIN) {
        WAITING.fetch_add(1, SeqCst);
        answer = wait(hub, attempt);
        WAITING.fetch_sub(1, SeqCst);
    }
    answer
}

fn wait(hub: &'static Hub, attempt: impl Fn() -> isize) -> isize {
    let mut pause = SHORTEST;
    loop {
        let seen = RETURNED.load(SeqCst);
        let answer = attempt();
        if answer != failed(libc::EAGAIN) {
            return answer;
        }
        let deadline = hub.clock().after(pause);
        pause = (pause * 2).min(LONGEST);
        let who = Waiter::Green { hub, deadline, shield: hub.was_cut_short() };
        let word = RETURNED.as_ptr() as usize;
        if futex::wait(who, word, u32::MAX, || RETURNED.load(SeqCst) == seen) == FutexWaitResult::Interrupted
        {
            hub.cut_short();
            keep_errno(|| hub.yield_now());
            return failed(libc::EINTR);
        }
    }
}

/// See flock(2).
#[unsafe(no_mangle)]
extern "C" fn flock(fd: c_int, operation: c_int) -> c_int {
    let call = |operation: c_int| {
        // SAFETY: no pointers.
        unsafe { kernel(libc::SYS_flock, [fd as usize, operation as usize, 0, 0, 0, 0]) }
    };
    let waits = operation & (libc::LOCK_NB | libc::LOCK_UN) == 0;
    let answer = match hub().filter(|_| waits) {
        Some(hub) => try_again(hub, || call(operation | libc::LOCK_NB)),
        None => call(operation),
    };
    if operation & libc::LOCK_EX == 0 {
        // Given back, or shared from now on.
        returned();
    }
    with_errno(answer) as c_int
}

/// `fcntl`'s commands that wait for a lock. `None`: it is another one, or to be done at once.
///
/// # Safety
/// As fcntl(2).
pub(super) unsafe fn lock(fd: c_int, command: c_int, argument: usize) -> Option<isize> {
    let call = move |command: c_int| {
        // SAFETY: the caller's.
        unsafe { kernel(libc::SYS_fcntl, [fd as usize, command as usize, argument, 0, 0, 0]) }
    };
    match command {
        libc::F_OFD_SETLKW => hub().map(|hub| try_again(hub, || call(libc::F_OFD_SETLK))),
        libc::F_SETLKW => hub().map(|_| match call(libc::F_SETLK) {
            taken if taken == failed(libc::EAGAIN) || taken == failed(libc::EACCES) => {
                offload_blocking(WorkKind::ExternalWait, "a lock on a file", || call(libc::F_SETLKW))
            }
            answer => answer,
        }),
        _ => None,
    }
}

/// See lockf(3). In the C library it is `fcntl`, which it calls inside itself.
#[unsafe(no_mangle)]
extern "C" fn lockf(fd: c_int, command: c_int, len: off_t) -> c_int {
    // SAFETY: all zeros is a value of it.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_whence = libc::SEEK_CUR as _;
    range.l_len = len;
    let (kind, command) = match command {
        libc::F_LOCK => (libc::F_WRLCK, libc::F_SETLKW),
        libc::F_TLOCK => (libc::F_WRLCK, libc::F_SETLK),
        libc::F_ULOCK => (libc::F_UNLCK, libc::F_SETLK),
        // A lock to read is none that would be in its way.
        libc::F_TEST => (libc::F_RDLCK, libc::F_GETLK),
        _ => return with_errno(failed(libc::EINVAL)) as c_int,
    };
    range.l_type = kind as _;
    // SAFETY: a range of ours.
    unsafe {
        let answer = super::fd::fcntl(fd, command, &raw mut range as usize);
        if command != libc::F_GETLK || answer < 0 {
            return answer;
        }
        match range.l_type == libc::F_UNLCK as _ || range.l_pid == libc::getpid() {
            true => 0,
            false => with_errno(failed(libc::EACCES)) as c_int,
        }
    }
}

/// The same, under its other name.
#[unsafe(no_mangle)]
extern "C" fn lockf64(fd: c_int, command: c_int, len: off_t) -> c_int {
    lockf(fd, command, len)
}
