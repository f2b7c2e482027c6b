//! Waiting for descriptors of the caller's own.
//!
//! Next: `hub/retry.rs`, the one loop of all input and output.

use crate::api::current_hub::current_hub;
use crate::hub::{EAGAIN, OnInterrupt, RetryOpts, Tracking};
use crate::ids::Direction;
use crate::sys::poll_now::poll_now;
use crate::time::NEVER;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Instant;

/// Parks the current green thread until `fd` may be read from without blocking, or `deadline` has passed. `None` waits
/// for ever. Files are always ready.
///
/// There may be nothing to read after all. So try, by a call that does not block, and wait again.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// let (mut here, mut there) = UnixStream::pair().unwrap();
/// here.set_nonblocking(true).unwrap();
/// greenline::spawn(move || there.write_all(b"hello").unwrap());
/// greenline::io::wait_readable(&here, None).unwrap();
/// assert_eq!(here.read(&mut [0; 10]).unwrap(), 5);
/// ```
///
/// # Errors
/// [`TimedOut`](io::ErrorKind::TimedOut): the deadline has passed. EBADF: `fd` is not open, or was closed meanwhile.
/// No descriptor is left for the hub's reactor, or no memory in the kernel.
///
/// # Panics
/// Unwinds when the green thread is killed or a timeout around it fires. Source: gevent's `socket.wait_read`.
pub fn wait_readable(fd: impl AsFd, deadline: Option<Instant>) -> io::Result<()> {
    wait(fd.as_fd().as_raw_fd(), Direction::Read, deadline)
}

/// As [`wait_readable`], until `fd` may be written to without blocking.
///
/// # Errors
/// As for `wait_readable`.
pub fn wait_writable(fd: impl AsFd, deadline: Option<Instant>) -> io::Result<()> {
    wait(fd.as_fd().as_raw_fd(), Direction::Write, deadline)
}

fn wait(fd: RawFd, direction: Direction, deadline: Option<Instant>) -> io::Result<()> {
    let hub = current_hub();
    let opts = RetryOpts {
        deadline: || Some(deadline.map_or(NEVER, |instant| hub.clock().at(instant))),
        on_interrupt: OnInterrupt::Unwind,
        tracking: Tracking::MayBeStale,
        drained: None,
    };
    // The caller may not have tried; so the kernel is asked, and not what edges have said.
    match hub.retry(fd, direction, opts, || readiness(fd, direction))? {
        EAGAIN => Err(io::ErrorKind::TimedOut.into()),
        answer => result(answer).map(drop),
    }
}

/// How a park beside a descriptor has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked {
    /// A ticket was used, or may have been.
    Woken,
    /// The deadline has passed.
    Expired,
    /// Anything else.
    Readable,
}

/// Parks until a ticket is used that the running green thread has given away, or until `deadline`, or until `fd` is
/// readable or has ended. If `fd` is readable when this returns, the result says so, whatever else happened.
///
/// Errors: as for [`wait_readable`].
pub fn park_unless_readable(fd: impl AsFd, deadline: Option<Instant>) -> io::Result<Parked> {
    let (hub, fd) = (current_hub(), fd.as_fd().as_raw_fd());
    let is_readable = || match readiness(fd, Direction::Read) {
        EAGAIN => Ok(false),
        answer => result(answer).map(|_| true),
    };
    let switches = hub.status().switches();
    if is_readable()? {
        return Ok(Parked::Readable);
    }
    let deadline = deadline.map_or(NEVER, |instant| hub.clock().at(instant));
    // The ticket of this wait is the same as those that were taken since the last park.
    let in_time = hub.wait_next_edge(fd, Direction::Read, switches, deadline, OnInterrupt::Unwind)?;
    Ok(match is_readable()? {
        true => Parked::Readable,
        false if in_time => Parked::Woken,
        false => Parked::Expired,
    })
}

/// Returns 1 if `fd` is ready now, or has ended; else EAGAIN; or EBADF.
fn readiness(fd: RawFd, direction: Direction) -> isize {
    let events = match direction {
        Direction::Read => libc::POLLIN | libc::POLLRDHUP,
        Direction::Write => libc::POLLOUT,
    };
    match poll_now(fd, events) {
        0 => EAGAIN,
        ready if ready & libc::POLLNVAL != 0 => -(libc::EBADF as isize),
        _ => 1,
    }
}

/// Converts a raw answer of the kernel.
#[inline]
pub(crate) fn result(answer: isize) -> io::Result<usize> {
    if answer < 0 { Err(error(answer)) } else { Ok(answer as usize) }
}

#[cold]
fn error(answer: isize) -> io::Error {
    io::Error::from_raw_os_error(-answer as i32)
}
