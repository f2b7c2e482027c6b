//! Descriptors that stand for processes (`pidfd`, Linux 5.4): readable once the process has ended, and never another's.

use crate::arch::syscall::syscall;
use crate::fd_table;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// One of the process of that number. It is closed on `exec`.
///
/// Errors: ESRCH: there is none, or it was reaped; no descriptor is left.
pub(super) fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers. Past the C library, for not every one has it.
    let fd = unsafe { syscall(libc::SYS_pidfd_open, [pid as usize, 0, 0, 0, 0, 0]) };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd as i32));
    }
    fd_table::forget(fd as RawFd);
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Whether its process has ended, whoever's child it is. One system call, which does not wait.
pub(super) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    poll(pidfd, Some(Duration::ZERO)) == Ok(true)
}

/// Waits in the kernel until its process has ended, and blocks the OS thread. `false`: the deadline has passed.
pub(super) fn wait_in_kernel(pidfd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match poll(pidfd, left) {
            Err(libc::EINTR) => {}
            answer => return answer.map_err(io::Error::from_raw_os_error),
        }
    }
}

/// Errors: the error number.
fn poll(fd: BorrowedFd<'_>, limit: Option<Duration>) -> Result<bool, i32> {
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: limit.as_secs().min(i32::MAX as u64) as _,
        tv_nsec: limit.subsec_nanos() as _,
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), |limit| &raw const *limit);
    let mut fd = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let args = [&raw mut fd as usize, 1, limit as usize, 0, 0, 0];
    // SAFETY: one descriptor and a time, in this frame. Past the C library, whose function may be patched.
    match unsafe { syscall(libc::SYS_ppoll, args) } {
        error @ ..0 => Err(-error as i32),
        ready => Ok(ready > 0),
    }
}
