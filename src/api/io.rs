//! Waiting for descriptors, and the one loop that all input and output goes through: try, park, try again.

#![allow(unsafe_code)]

use crate::api::current::current_hub;
use crate::arch::syscall::syscall;
use crate::hub::{FdWaitResult, Hub};
use crate::ids::Direction;
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
    let hub = current_hub();
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
pub(crate) fn park_unless_readable(fd: impl AsFd, deadline: Option<Instant>) -> io::Result<Parked> {
    let (hub, fd, direction) = (current_hub(), fd.as_fd().as_raw_fd(), Direction::Read);
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
    is_in_time(hub, hub.wait_fd(fd, direction, deadline, foreign, false)?)
}

/// What a wait came to, with interrupts delivered. `false`: the deadline has passed.
#[inline]
fn is_in_time(hub: &Hub, readiness: FdWaitResult) -> io::Result<bool> {
    if readiness == FdWaitResult::Ready { Ok(true) } else { ended_otherwise(hub, readiness) }
}

#[cold]
fn ended_otherwise(hub: &Hub, readiness: FdWaitResult) -> io::Result<bool> {
    match readiness {
        FdWaitResult::Ready | FdWaitResult::Signalled => Ok(true),
        FdWaitResult::Expired => Ok(false),
        FdWaitResult::Interrupted => {
            hub.throw_pending_interrupt();
            Ok(true)
        }
        FdWaitResult::Closed => Err(io::Error::from_raw_os_error(libc::EBADF)),
    }
}

/// The one loop that all input and output goes through: try, park, try again. `attempt` calls the kernel, which does not
/// block, and gives its answer; `pause` parks until there may be another, or says that the time is over (it is `expired`,
/// as it may be from the start), or which error ends it.
///
/// Answers as `attempt` does, when that is something else than EAGAIN; EAGAIN when the time is over.
#[inline(always)]
pub(crate) fn retry<E>(
    mut expired: bool,
    mut attempt: impl FnMut() -> isize,
    mut pause: impl FnMut() -> Result<bool, E>,
) -> Result<isize, E> {
    loop {
        let answer = attempt();
        // When the time was over, once more: the edge may have come, and not been seen yet.
        if answer != -(libc::EAGAIN as isize) || expired {
            return Ok(answer);
        }
        expired = !pause()?;
    }
}

/// [`retry`], for what is ours and not the program's: kill and timeout unwind out of it. What is known to be drained is not
/// tried before it was waited for; and a read of something, but of less than `drains`, is taken to have drained it.
#[inline]
pub(crate) fn retry_own(
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    drains: usize,
    deadline: impl Fn() -> Time,
    mut attempt: impl FnMut() -> isize,
) -> io::Result<usize> {
    let reactor = hub.reactor();
    // To write is tried in any case: there mostly is room.
    let known = if direction == Direction::Read { reactor.source(fd) } else { None };
    let known = known.filter(|source| !source.is_ready(direction));
    let mut until = None;
    let mut until = || *until.get_or_insert_with(&deadline);
    let expired = match known {
        Some(source) => !is_in_time(hub, hub.wait_source(source, fd, direction, until(), false))?,
        None => false,
    };
    let answer =
        retry(expired, || uninterrupted(&mut attempt), || pause_drained(hub, fd, direction, until()))?;
    if answer > 0 && (answer as usize) < drains {
        // Since it was last waited for nobody else has run.
        if let Some(source) = known.or_else(|| reactor.source(fd)) {
            source.maybe_drained(direction);
        }
    }
    result(answer)
}

/// [`pause`], where the kernel has said that it is drained.
#[inline(never)]
fn pause_drained(hub: &Hub, fd: RawFd, direction: Direction, deadline: Time) -> io::Result<bool> {
    hub.reactor().drained(fd, direction);
    pause(hub, fd, direction, deadline, false)
}

/// The kernel's answer, of a call that is made again if a signal has interrupted it.
#[inline]
fn uninterrupted(mut attempt: impl FnMut() -> isize) -> isize {
    loop {
        let answer = attempt();
        if answer != -(libc::EINTR as isize) {
            return answer;
        }
    }
}

/// The kernel's answer, as std has it.
#[inline]
pub(crate) fn result(answer: isize) -> io::Result<usize> {
    if answer < 0 { Err(error(answer)) } else { Ok(answer as usize) }
}

#[cold]
fn error(answer: isize) -> io::Error {
    io::Error::from_raw_os_error(-answer as i32)
}
