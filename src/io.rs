//! Waiting for descriptors, and the one loop that all input and output goes through: try, park, try again.

#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use crate::hub::{Hub, Readiness, hub};
use crate::reactor::Direction;
use crate::time::{NEVER, Time};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Instant;

/// Blocks the current green thread until `fd` may be read from without blocking, or `deadline` has passed; `None` waits
/// for ever. Files are always ready.
///
/// It may be that there is nothing to read after all: so try, by a call that does not block, and wait again.
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
/// [`TimedOut`](io::ErrorKind::TimedOut): the deadline has passed. It is not open, or was closed meanwhile (EBADF).
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
    let hub = hub();
    let deadline = deadline.map_or(NEVER, |instant| hub.clock().at(instant));
    // Who calls may not have tried; so the kernel is asked, and not what edges have said.
    let (mut expired, mut foreign) = (false, true);
    while !is_ready(fd, direction)? {
        if expired {
            return Err(io::ErrorKind::TimedOut.into());
        }
        hub.reactor().drained(fd, direction);
        expired = !pause(hub, fd, direction, deadline, foreign)?;
        // To ask after it once more would be an edge once more, for urgent data as well: see `is_stale`.
        foreign = false;
    }
    Ok(())
}

/// How a park beside a descriptor has ended.
#[cfg(feature = "process")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parked {
    /// A ticket was used, or may have been.
    Woken,
    Expired,
    /// Whatever else.
    Readable,
}

/// Parks until a ticket is used that who runs has given away, or until `deadline`; unless `fd` can be read from, or has
/// ended, by then. That comes first, so it is known of the moment in which this returns.
///
/// Errors: as for [`wait_readable`].
#[cfg(feature = "process")]
pub(crate) fn park_unless_readable(fd: impl AsFd, deadline: Option<Instant>) -> io::Result<Parked> {
    let (hub, fd, direction) = (hub(), fd.as_fd().as_raw_fd(), Direction::Read);
    if is_ready(fd, direction)? {
        return Ok(Parked::Readable);
    }
    hub.reactor().drained(fd, direction);
    let deadline = deadline.map_or(NEVER, |instant| hub.clock().at(instant));
    // Its own ticket is the same as those that were taken since the last park.
    let in_time = pause(hub, fd, direction, deadline, false)?;
    Ok(match is_ready(fd, direction)? {
        true => Parked::Readable,
        false if in_time => Parked::Woken,
        false => Parked::Expired,
    })
}

/// Whether `fd` is ready now.
fn is_ready(fd: RawFd, direction: Direction) -> io::Result<bool> {
    let events = match direction {
        Direction::Read => libc::POLLIN | libc::POLLRDHUP,
        Direction::Write => libc::POLLOUT,
    };
    let mut fd = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one descriptor, in this frame. Past the C library, whose function may be patched.
    let ready =
        unsafe { syscall(libc::SYS_ppoll, [&raw mut fd as usize, 1, &raw const ZERO as usize, 0, 0, 0]) };
    match ready {
        _ if fd.revents & libc::POLLNVAL != 0 => Err(io::Error::from_raw_os_error(libc::EBADF)),
        0.. => Ok(ready > 0),
        error => Err(io::Error::from_raw_os_error(-error as i32)),
    }
}

static ZERO: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

/// Parks until the next edge, with interrupts delivered. `false`: the deadline has passed.
fn pause(hub: &Hub, fd: RawFd, direction: Direction, deadline: Time, foreign: bool) -> io::Result<bool> {
    match hub.wait_fd(fd, direction, deadline, foreign, false)? {
        Readiness::Ready | Readiness::Signalled => Ok(true),
        Readiness::Expired => Ok(false),
        Readiness::Interrupted => {
            hub.deliver();
            Ok(true)
        }
        Readiness::Closed => Err(io::Error::from_raw_os_error(libc::EBADF)),
    }
}

/// Calls `attempt`, which does not block, until it answers something else than EAGAIN; parks in between. Where the
/// descriptor is known to be drained, it parks first.
///
/// Errors: those of `attempt`; EAGAIN when the deadline has passed, as std's read timeouts have it.
#[inline]
pub(crate) fn retry(
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    deadline: impl Fn() -> Time,
    mut attempt: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut until = None;
    let mut expired = false;
    loop {
        // When the time is over, once more: the edge may have come, and not been seen yet.
        if expired || !hub.reactor().is_drained(fd, direction) {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    hub.reactor().drained(fd, direction);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                answer => return answer,
            }
        }
        if expired {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let until = *until.get_or_insert_with(&deadline);
        expired = !pause(hub, fd, direction, until, false)?;
    }
}
