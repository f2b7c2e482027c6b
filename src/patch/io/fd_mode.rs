//! The kind of a descriptor, and the mode that the program has set for it: whether its calls wait, and for how long.
//!
//! For a registered descriptor the kernel is asked once. The answer is kept with the descriptor's state in the reactor,
//! until a call is made that may change it, or the number is closed. A descriptor that was never waited for has no
//! state, and its number may be reused unseen (C's `fopen`), so the kernel is asked each time that it matters.
//!
//! Next: `patch/io/read_write.rs`, which decides by the kind.

use crate::hub::Hub;
use crate::ids::Direction;
use crate::patch::symbol::kernel;
use crate::reactor::{FdNotes, FdState};
use crate::time::{NEVER, Time};
use libc::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Duration;

/// The kind of thing that a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FdKind {
    /// A regular file or a block device, which cannot be waited for.
    File,
    Socket,
    /// A pipe or a named pipe.
    Pipe,
    /// A terminal or another character device.
    CharDevice,
    /// An eventfd, a directory, anything else; or it is not open.
    Other,
}

/// The kind and the mode of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FdMode {
    pub(super) kind: FdKind,
    pub(super) nonblocking: bool,
    /// A stream of which a short read means that there is no more now.
    pub(super) is_tcp: bool,
    /// SO_RCVTIMEO and SO_SNDTIMEO in nanoseconds; 0: none.
    timeouts: [u64; 2],
}

const NONBLOCKING: u16 = 1;
const TCP: u16 = 2;
const KIND_SHIFT: u32 = 2;
const KINDS: [FdKind; 5] = [FdKind::File, FdKind::Socket, FdKind::Pipe, FdKind::CharDevice, FdKind::Other];

impl FdMode {
    fn to_notes(self, version: u32) -> FdNotes {
        let flag = |set: bool, flag: u16| if set { flag } else { 0 };
        let flags =
            flag(self.nonblocking, NONBLOCKING) | flag(self.is_tcp, TCP) | (self.kind as u16) << KIND_SHIFT;
        FdNotes { version, flags, timeouts: self.timeouts }
    }

    #[inline]
    fn of_notes(FdNotes { flags, timeouts, .. }: FdNotes) -> FdMode {
        FdMode {
            kind: KINDS[usize::from(flags >> KIND_SHIFT) % KINDS.len()],
            nonblocking: flags & NONBLOCKING != 0,
            is_tcp: flags & TCP != 0,
            timeouts,
        }
    }

    /// Returns when a call that begins now gives up.
    #[inline]
    pub(super) fn deadline(self, hub: &Hub, direction: Direction) -> Time {
        match self.timeouts[direction as usize] {
            0 => NEVER,
            nanos => hub.clock().after(Duration::from_nanos(nanos)),
        }
    }
}

/// Counts up whenever the mode or the timeouts of any descriptor may have changed. Descriptors share them with their
/// duplicates, so it is not known whose they are.
static VERSION: AtomicU32 = AtomicU32::new(1);

pub(super) fn mode_changed() {
    VERSION.fetch_add(1, AcqRel);
}

/// Returns the mode of `fd`, as far as changes are made by calls that are interposed.
#[inline]
pub(super) fn mode(hub: &Hub, fd: RawFd) -> FdMode {
    match hub.reactor().state(fd) {
        Some(state) => mode_of(hub, state, fd),
        None => ask(fd),
    }
}

/// Returns the mode of a registered descriptor.
#[inline]
fn mode_of(hub: &Hub, state: &FdState, fd: RawFd) -> FdMode {
    let _entered = hub.reactor().enter();
    let (notes, version) = (state.notes(), VERSION.load(Acquire));
    if notes.version == version {
        return FdMode::of_notes(notes);
    }
    let mode = ask(fd);
    state.set_notes(mode.to_notes(version));
    mode
}

/// Asks the kernel for the mode.
#[cold]
fn ask(fd: RawFd) -> FdMode {
    let protocol = socket_option(fd, libc::SO_PROTOCOL);
    let is_socket = protocol.is_ok();
    FdMode {
        kind: if is_socket { FdKind::Socket } else { ask_kind(fd) },
        nonblocking: has_flag(fd, libc::O_NONBLOCK),
        is_tcp: protocol == Ok(libc::IPPROTO_TCP),
        timeouts: match is_socket {
            true => [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO].map(|option| socket_timeout(fd, option)),
            false => [0; 2],
        },
    }
}

/// Returns what `fd` refers to: as it is noted, or by one `fstat`. A note of an older version will do, since a number
/// refers to the same thing until it is closed. A number that was closed and reused unseen gives the old kind until the
/// next attempt returns EAGAIN: see [`Tracking`](crate::hub::Tracking).
#[inline]
pub(super) fn kind(hub: &Hub, fd: RawFd) -> FdKind {
    match hub.reactor().state(fd) {
        Some(state) if state.notes().version != 0 => FdMode::of_notes(state.notes()).kind,
        Some(state) => mode_of(hub, state, fd).kind,
        None => ask_kind(fd),
    }
}

/// Returns what `fd` refers to now, by one `fstat`.
pub(super) fn ask_kind(fd: RawFd) -> FdKind {
    // SAFETY: all zeros is a valid `stat`.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: room for a `stat`.
    if unsafe { kernel(libc::SYS_fstat, [fd as usize, &raw mut stat as usize]) } != 0 {
        return FdKind::Other;
    }
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFBLK => FdKind::File,
        libc::S_IFSOCK => FdKind::Socket,
        libc::S_IFIFO => FdKind::Pipe,
        libc::S_IFCHR => FdKind::CharDevice,
        _ => FdKind::Other,
    }
}

/// Returns `true` if one of the flags of `fcntl`'s F_GETFL is set.
pub(super) fn has_flag(fd: RawFd, flag: c_int) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { kernel(libc::SYS_fcntl, [fd as usize, libc::F_GETFL as usize]) };
    flags >= 0 && flags & flag as isize != 0
}

/// Returns an option of a socket that is a number.
///
/// Errors: those of getsockopt(2), as a raw answer.
pub(super) fn socket_option(fd: RawFd, option: c_int) -> Result<c_int, isize> {
    let mut number: c_int = 0;
    // SAFETY: an int.
    unsafe { get_socket_option(fd, option, &mut number) }.map(|()| number)
}

fn socket_timeout(fd: RawFd, option: c_int) -> u64 {
    let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: a time.
    match unsafe { get_socket_option(fd, option, &mut time) } {
        Ok(()) => time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000,
        Err(_) => 0,
    }
}

/// Writes an option of a socket to `value`.
///
/// Errors: those of getsockopt(2), as a raw answer.
///
/// # Safety
/// `T` is the option's type.
pub(super) unsafe fn get_socket_option<T>(fd: RawFd, option: c_int, value: &mut T) -> Result<(), isize> {
    let mut len = size_of::<T>() as libc::socklen_t;
    let room = (&raw mut *value as usize, &raw mut len as usize);
    let args = [fd as usize, libc::SOL_SOCKET as usize, option as usize, room.0, room.1];
    // SAFETY: room for the value, and its length.
    match unsafe { kernel(libc::SYS_getsockopt, args) } {
        0 => Ok(()),
        error => Err(error),
    }
}

/// Returns when a call on `fd` that begins now gives up. `None`: the program has made `fd` non-blocking.
#[inline]
pub(super) fn deadline(hub: &Hub, fd: RawFd, direction: Direction) -> Option<Time> {
    let mode = mode(hub, fd);
    (!mode.nonblocking).then(|| mode.deadline(hub, direction))
}

/// Returns the state and the mode of `fd`, if `fd` is a blocking TCP socket that was waited for.
#[inline]
pub(super) fn blocking_tcp(hub: &Hub, fd: RawFd) -> Option<(&FdState, FdMode)> {
    let state = hub.reactor().state(fd)?;
    let mode = mode_of(hub, state, fd);
    (mode.is_tcp && !mode.nonblocking).then_some((state, mode))
}
