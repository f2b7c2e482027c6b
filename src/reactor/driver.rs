//! The contract of a reactor backend: register descriptors, wait for edges, let other OS threads end the wait.
//!
//! A backend is one file that implements [`Driver`]: `epoll.rs`, or `poll.rs` with the feature `poll-reactor`. The
//! tests of `reactor/mod.rs` run against both.
//!
//! Next: `reactor/epoll.rs`, the backend in use.

use crate::arch::syscall::syscall;
use crate::time::{NEVER, Time};
use std::io;
use std::os::fd::RawFd;
use std::ptr::{from_ref, null};
use std::sync::Arc;

/// The reactor passes a key when it registers a descriptor, and finds it in the events of that descriptor.
pub(crate) type Key = u64;

/// The key of the waker and of counters that are listened to. Its lower half is no descriptor.
pub(crate) const WAKER: Key = Key::MAX;

/// Flags of poll(2). On Linux they are those of epoll as well.
pub(crate) type Flags = libc::c_short;

/// A report on one descriptor.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub(crate) key: Key,
    pub(crate) flags: Flags,
}

/// Ends the wait of one hub, from any OS thread.
pub(crate) trait Wake: Send + Sync {
    /// Ends the wait that goes on, or the next one if none does.
    ///
    /// Errors: those of write(2).
    fn wake(&self) -> io::Result<()>;
}

/// A way to wait for many descriptors. Used by one OS thread, except for its waker.
pub(crate) trait Driver: Sized {
    /// Errors: no file descriptor is left.
    fn new() -> io::Result<Self>;

    fn waker(&self) -> Arc<dyn Wake>;

    /// Registers `fd` in both directions. From now on `wait` reports its edges with `key`, beginning with what is
    /// ready now. A registration ends with `deregister`, or when `fd` is closed.
    ///
    /// Errors: EEXIST: `fd` is registered. EPERM: `fd` is always ready, as a file is. EBADF: `fd` is not open. ENOMEM,
    /// ENOSPC: the kernel has no memory for it.
    fn register(&self, fd: RawFd, key: Key) -> io::Result<()>;

    /// Registers `fd` again. What is ready now is reported once more.
    ///
    /// Errors: `fd` is not registered, or its number now refers to something else (ENOENT).
    fn reregister(&self, fd: RawFd, key: Key) -> io::Result<()>;

    /// Ends the registration of `fd`, if there is one.
    fn deregister(&self, fd: RawFd);

    /// From now on each rise of `counter`, an eventfd that no code reads, ends a wait, until it is deregistered.
    ///
    /// Errors: as for `register`.
    fn listen(&self, counter: RawFd) -> io::Result<()>;

    /// Blocks the OS thread for `timeout` nanoseconds, or until there is an edge, or the waker is used, or a signal
    /// is handled, and replaces what is in `events` by the edges. A timeout of 0 only looks.
    ///
    /// `known` returns which of POLLIN and POLLOUT was reported for a key, was not used up by a green thread since, and
    /// has no waiter. A backend over a level-triggered call must not wait for these.
    ///
    /// Errors: those of the system call. EINTR: a signal was handled.
    fn wait(&self, timeout: Time, known: impl Fn(Key) -> Flags, events: &mut Vec<Event>) -> io::Result<()>;
}

/// Converts a timeout for the kernel. `None`: for ever.
pub(crate) fn limit_of(timeout: Time) -> Option<libc::timespec> {
    (timeout != NEVER).then_some(libc::timespec {
        tv_sec: (timeout / 1_000_000_000) as libc::time_t,
        tv_nsec: (timeout % 1_000_000_000) as libc::c_long,
    })
}

/// Waits by ppoll(2) for descriptors, past the C library, whose functions may be patched.
///
/// Errors: those of ppoll.
pub(crate) fn ppoll(fds: &mut [libc::pollfd], timeout: Time) -> io::Result<()> {
    let limit = limit_of(timeout);
    let limit = limit.as_ref().map_or(null(), from_ref);
    let args = [fds.as_mut_ptr() as usize, fds.len(), limit as usize, 0, 0, 0];
    // SAFETY: so many descriptors; `limit` is null or points to a time of this frame.
    answer(unsafe { syscall(libc::SYS_ppoll, args) }).map(drop)
}

/// Converts a raw answer of the kernel.
#[inline]
pub(crate) fn answer(raw: isize) -> io::Result<usize> {
    usize::try_from(raw).map_err(|_| io::Error::from_raw_os_error(-raw as i32))
}
