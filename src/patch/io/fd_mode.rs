//! What the program has set of a descriptor: whether its calls are to wait, and for how long.
//!
//! It is asked of the kernel once, and kept with the descriptor until a call is made that may change it.
#![allow(unsafe_code)]

use super::kernel;
use crate::hub::Hub;
use crate::ids::Direction;
use crate::reactor::{FdMode, FdState};
use crate::time::{NEVER, Time};
use libc::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Duration;

/// Counts up whenever the mode or the timeouts of any descriptor may have changed: what is known of them is then asked
/// for anew. (Descriptors share them with their duplicates, so that it is not known of which.)
static CHANGES: AtomicU32 = AtomicU32::new(1);

pub(super) fn settings_changed() {
    CHANGES.fetch_add(1, AcqRel);
}

/// What the program has set of `fd`, as far as changes are made by calls that are interposed.
#[inline]
pub(super) fn settings(hub: &Hub, fd: RawFd) -> FdMode {
    match hub.reactor().source(fd) {
        Some(source) => settings_of(hub, source, fd),
        None => ask(fd, 0),
    }
}

/// The same, of a descriptor that is waited for: it is kept there.
#[inline]
pub(super) fn settings_of(hub: &Hub, source: &FdState, fd: RawFd) -> FdMode {
    let _entered = hub.reactor().enter();
    let (known, now) = (source.settings(), CHANGES.load(Acquire));
    if known.as_of == now {
        return known;
    }
    let known = ask(fd, now);
    source.set_settings(known);
    known
}

/// Asks the kernel for them.
#[cold]
fn ask(fd: RawFd, as_of: u32) -> FdMode {
    // SAFETY: no pointers.
    let flags = unsafe { kernel(libc::SYS_fcntl, [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0]) };
    let timeout = |option: c_int| {
        let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let mut len = size_of::<libc::timeval>() as libc::socklen_t;
        let (time, len) = (&raw mut time, &raw mut len);
        let args = [fd as usize, libc::SOL_SOCKET as usize, option as usize, time as usize, len as usize, 0];
        // SAFETY: room for a time, and its length. What is no socket has none.
        unsafe {
            match kernel(libc::SYS_getsockopt, args) {
                0 => (*time).tv_sec as u64 * 1_000_000_000 + (*time).tv_usec as u64 * 1_000,
                _ => 0,
            }
        }
    };
    FdMode {
        as_of,
        is_tcp: number_of(fd, libc::SO_PROTOCOL) == Ok(libc::IPPROTO_TCP),
        nonblocking: flags >= 0 && flags & libc::O_NONBLOCK as isize != 0,
        read_timeout: timeout(libc::SO_RCVTIMEO),
        write_timeout: timeout(libc::SO_SNDTIMEO),
    }
}

/// An option of a socket that is a number.
///
/// Errors: those of getsockopt(2).
pub(super) fn number_of(fd: RawFd, option: c_int) -> Result<c_int, isize> {
    let (mut number, mut len) = (0 as c_int, size_of::<c_int>() as libc::socklen_t);
    let room = (&raw mut number as usize, &raw mut len as usize);
    let args = [fd as usize, libc::SOL_SOCKET as usize, option as usize, room.0, room.1, 0];
    // SAFETY: room for an int, and its length.
    match unsafe { kernel(libc::SYS_getsockopt, args) } {
        0 => Ok(number),
        error => Err(error),
    }
}

/// Whether the program has made it non-blocking.
pub(super) fn is_nonblocking(hub: &Hub, fd: RawFd, foreign: bool) -> bool {
    if foreign {
        hub.revalidate_fd(fd);
    }
    settings(hub, fd).nonblocking
}

/// What is kept of `fd`, and what is set of it, if that is a blocking TCP socket.
#[inline]
pub(super) fn blocking_tcp(hub: &Hub, fd: RawFd) -> Option<(&FdState, FdMode)> {
    let source = hub.reactor().source(fd)?;
    let settings = settings_of(hub, source, fd);
    (settings.is_tcp && !settings.nonblocking).then_some((source, settings))
}

/// When a call that begins now is to give up.
#[inline]
pub(super) fn deadline(hub: &Hub, settings: FdMode, direction: Direction) -> Time {
    match settings.timeout(direction) {
        0 => NEVER,
        nanos => hub.clock().after(Duration::from_nanos(nanos)),
    }
}
