//! Descriptors that this module opens, waiting until one of them is readable, and descriptors that are replaced by
//! `/dev/null` and keep their number.
//!
//! A *pidfd* (Linux 5.4) stands for a process. It becomes readable when the process ends, and it never stands for another
//! process, whose number may be the same. All system calls go past the C library, whose functions may be interposed.
//!
//! Next: `child.rs`, which waits for a pidfd.

use greenline::internals::{can_block, invalidate_fd, poll_now, result, syscall, timespec_of};
use greenline::io::wait_readable;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A descriptor that is closed when this is dropped. The hubs that wait for it are notified before.
#[derive(Debug)]
pub(super) struct Descriptor(OwnedFd);

impl Descriptor {
    /// Opens a pidfd for process `pid`. The kernel closes it on `exec`.
    ///
    /// Errors: there is no such process, or it was reaped (ESRCH); no descriptor is left.
    pub(super) fn pidfd(pid: u32) -> io::Result<Descriptor> {
        Descriptor::open(libc::SYS_pidfd_open, [pid as usize, 0])
    }

    /// Opens an event counter (eventfd(2)), which is readable unless its `value` is 0.
    ///
    /// Errors: no descriptor is left.
    pub(super) fn eventfd(value: u32) -> io::Result<Descriptor> {
        Descriptor::open(
            libc::SYS_eventfd2,
            [value as usize, (libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) as usize],
        )
    }

    fn open(call: libc::c_long, [first, second]: [usize; 2]) -> io::Result<Descriptor> {
        // SAFETY: the two calls above take numbers only.
        let fd = result(unsafe { syscall(call, [first, second, 0, 0, 0, 0]) })? as RawFd;
        invalidate_fd(fd);
        // SAFETY: the kernel has just opened it for this function.
        Ok(Descriptor(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Returns whether it is readable, by one system call that does not wait.
    pub(super) fn is_readable(&self) -> bool {
        poll_now(self.0.as_raw_fd(), libc::POLLIN) != 0
    }

    /// Waits until it is readable. If the deadline has passed, returns `false`.
    ///
    /// Parks the running green thread. Where no green thread can park, it blocks the OS thread.
    pub(super) fn wait_readable(&self, deadline: Option<Instant>) -> io::Result<bool> {
        /// The kernel refuses times that are too large.
        const MAX: Duration = Duration::from_secs(i32::MAX as u64);
        if can_block() {
            return before_deadline(wait_readable(&self.0, deadline));
        }
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(|left| timespec_of(left.min(MAX)));
            let timeout = left.as_ref().map_or(std::ptr::null(), |left| &raw const *left);
            let mut fd = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let args = [&raw mut fd as usize, 1, timeout as usize, 0, 0, 0];
            // SAFETY: `fd` and `left` live in this frame until the call returns.
            match result(unsafe { syscall(libc::SYS_ppoll, args) }) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                count => return Ok(count? > 0),
            }
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        invalidate_fd(self.0.as_raw_fd());
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Closes `fd` and makes its number a descriptor of `/dev/null`. Green threads that wait for `fd` are woken.
///
/// Errors: no descriptor is left for the moment that this takes.
pub(super) fn replace_by_dev_null(fd: RawFd) -> io::Result<()> {
    /// stdin stays open on `exec`.
    const STDIN: RawFd = 0;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let flags = if fd == STDIN { 0 } else { libc::O_CLOEXEC };
    if null.as_raw_fd() == fd {
        // `fd` was closed, so the kernel has given its number to `null`.
        std::mem::forget(null);
        return Ok(());
    }
    invalidate_fd(fd);
    let args = [null.as_raw_fd() as usize, fd as usize, flags as usize, 0, 0, 0];
    // SAFETY: the call takes numbers only, and the owner of `fd` keeps owning an open descriptor of that number.
    result(unsafe { syscall(libc::SYS_dup3, args) }).map(drop)
}

/// Turns the error of a wait whose deadline has passed into `false`.
pub(super) fn before_deadline(waited: io::Result<()>) -> io::Result<bool> {
    match waited {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
        waited => waited.map(|()| true),
    }
}
