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
use std::mem::MaybeUninit;
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

/// The kind and the mode of a descriptor, in the form in which the reactor keeps them. The flags are the file type of
/// `fstat` (S_IFMT), O_NONBLOCK and [`TCP`]. The timeouts are SO_RCVTIMEO and SO_SNDTIMEO in nanoseconds; 0: none.
#[derive(Clone, Copy)]
pub(super) struct FdMode(FdNotes);

/// A stream of which a short read means that there is no more now.
const TCP: u16 = 1;
const NONBLOCKING: u16 = libc::O_NONBLOCK as u16;

impl FdMode {
    #[inline]
    pub(super) fn is_nonblocking(self) -> bool {
        self.0.flags & NONBLOCKING != 0
    }

    #[inline]
    fn kind(self) -> FdKind {
        match u32::from(self.0.flags) & libc::S_IFMT {
            libc::S_IFREG | libc::S_IFBLK => FdKind::File,
            libc::S_IFSOCK => FdKind::Socket,
            libc::S_IFIFO => FdKind::Pipe,
            libc::S_IFCHR => FdKind::CharDevice,
            _ => FdKind::Other,
        }
    }

    /// Returns when a call that begins now gives up.
    #[inline]
    pub(super) fn deadline(self, hub: &Hub, direction: Direction) -> Time {
        match self.0.timeouts[direction as usize] {
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
        None => ask(fd, 0),
    }
}

/// Returns the mode of a registered descriptor.
#[inline]
fn mode_of(hub: &Hub, state: &FdState, fd: RawFd) -> FdMode {
    let _entered = hub.reactor().enter();
    let (mode, version) = (FdMode(state.notes()), VERSION.load(Acquire));
    if mode.0.version == version {
        return mode;
    }
    let mode = ask(fd, version);
    state.set_notes(mode.0);
    mode
}

/// Asks the kernel for the mode.
#[cold]
fn ask(fd: RawFd, version: u32) -> FdMode {
    let (kind, tcp, timeouts) = match socket_option(fd, libc::SO_PROTOCOL) {
        Ok(protocol) => {
            let timeouts = [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO].map(|option| socket_timeout(fd, option));
            (libc::S_IFSOCK as u16, if protocol == libc::IPPROTO_TCP { TCP } else { 0 }, timeouts)
        }
        Err(_) => (file_type(fd), 0, [0; 2]),
    };
    let nonblocking = if has_flag(fd, libc::O_NONBLOCK) { NONBLOCKING } else { 0 };
    FdMode(FdNotes { version, flags: kind | tcp | nonblocking, timeouts })
}

/// Returns what `fd` refers to: as it is noted, or by one `fstat`. A note of an older version will do, since a number
/// refers to the same thing until it is closed. A number that was closed and reused unseen gives the old kind until the
/// next attempt returns EAGAIN: see [`Tracking`](crate::hub::Tracking).
#[inline]
pub(super) fn kind(hub: &Hub, fd: RawFd) -> FdKind {
    match hub.reactor().state(fd) {
        Some(state) if state.notes().version != 0 => FdMode(state.notes()).kind(),
        Some(state) => mode_of(hub, state, fd).kind(),
        None => ask_kind(fd),
    }
}

/// Returns what `fd` refers to now, by one `fstat`.
pub(super) fn ask_kind(fd: RawFd) -> FdKind {
    FdMode(FdNotes { flags: file_type(fd), ..FdNotes::default() }).kind()
}

/// Returns the file type of `fd` (S_IFMT); 0 if it is not open.
fn file_type(fd: RawFd) -> u16 {
    // SAFETY: all zeros is a valid `stat`, and the kernel writes to that local.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        kernel(libc::SYS_fstat, [fd as usize, &raw mut stat as usize]);
        (stat.st_mode & libc::S_IFMT) as u16
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
    // SAFETY: an int.
    unsafe { get_socket_option(fd, option) }
}

fn socket_timeout(fd: RawFd, option: c_int) -> u64 {
    let nanos = |time: libc::timeval| {
        (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_usec as u64 * 1_000)
    };
    // SAFETY: a time.
    unsafe { get_socket_option(fd, option) }.map_or(0, nanos)
}

/// Returns an option of a socket.
///
/// Errors: those of getsockopt(2), as a raw answer.
///
/// # Safety
/// `T` is the option's type, a plain C type.
pub(super) unsafe fn get_socket_option<T>(fd: RawFd, option: c_int) -> Result<T, isize> {
    let (mut value, mut len) = (MaybeUninit::<T>::zeroed(), size_of::<T>() as libc::socklen_t);
    let room = (value.as_mut_ptr() as usize, &raw mut len as usize);
    let args = [fd as usize, libc::SOL_SOCKET as usize, option as usize, room.0, room.1];
    // SAFETY: room for the value, and its length. The caller upholds that all zeros is valid, too.
    match unsafe { (kernel(libc::SYS_getsockopt, args), value.assume_init()) } {
        (0, value) => Ok(value),
        (error, _) => Err(error),
    }
}

/// Returns when a call on `fd` that begins now gives up. `None`: the program has made `fd` non-blocking.
#[inline]
pub(super) fn deadline(hub: &Hub, fd: RawFd, direction: Direction) -> Option<Time> {
    let mode = mode(hub, fd);
    (!mode.is_nonblocking()).then(|| mode.deadline(hub, direction))
}

/// Returns the state and the mode of `fd`, if `fd` is a blocking TCP socket that was waited for.
#[inline]
pub(super) fn blocking_tcp(hub: &Hub, fd: RawFd) -> Option<(&FdState, FdMode)> {
    let state = hub.reactor().state(fd)?;
    let mode = mode_of(hub, state, fd);
    (mode.0.flags & (TCP | NONBLOCKING) == TCP).then_some((state, mode))
}
