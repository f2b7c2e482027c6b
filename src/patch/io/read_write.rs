//! `read` and `write`, of whatever a descriptor may be.
//!
//! Each attempt is made with `RWF_NOWAIT`, whatever the descriptor is: pipes, sockets, eventfds and timers understand
//! it though they are blocking, and a file returns what is in memory. What this does not settle is decided by the
//! [`FdKind`], once: the rest of a file is read by another OS thread (`file.rs`). Terminals and other devices do not
//! know the flag. They are read after `poll` has said that there is something, and written to by another OS thread.
//!
//! `pread`, `pwrite` and their relatives are at an offset, and so of files alone. Each has a second name for files of
//! more than 2 GiB, from when offsets had 32 bits.
//!
//! Next: `patch/io/file.rs`, for what cannot be polled.

use super::blocking::{hub, offload, retry};
use super::fd_mode::{FdKind, kind};
use super::file::{self, OFFLOAD_BYTES};
use super::file_pos::{FilePos, FilePositionLock};
use super::iovec::Slices;
use super::transfer::{transfer_all, transfer_slices};
use crate::hub::{EAGAIN, Hub, Tracking};
use crate::ids::Direction;
use crate::patch::symbol::{assert_room, failed, interpose, kernel, with_errno};
use crate::sys::poll_now::poll_now;
use crate::thread::offload::WorkKind;
use libc::{c_int, c_long, c_void, iovec, off_t, size_t, ssize_t};

/// Returns `true` if the kernel has refused `RWF_NOWAIT`.
fn is_refused(answer: isize) -> bool {
    answer == failed(libc::EOPNOTSUPP) || answer == failed(libc::ESPIPE)
}

/// Makes one attempt to read, which does not wait for a descriptor; but it parks until a file is read.
///
/// # Safety
/// As preadv2(2).
unsafe fn try_read(hub: &'static Hub, pos: FilePos, slices: Slices) -> isize {
    // SAFETY: the caller's contract. The kernel has checked the slices if it has read something.
    unsafe {
        let answer = pos.call(Direction::Read, libc::RWF_NOWAIT, slices);
        let is_settled = match answer {
            1.. => {
                let len = slices.len();
                answer as usize == len || len > file::MAX_RW_COUNT
            }
            EAGAIN => false,
            _ => !is_refused(answer),
        };
        if is_settled {
            return answer;
        }
        match kind(hub, pos.fd) {
            FdKind::File => file::finish_read(hub, pos, slices, answer),
            _ if !is_refused(answer) => answer,
            _ if pos.is_current() && poll_now(pos.fd, libc::POLLIN) == 0 => EAGAIN,
            _ => pos.call(Direction::Read, 0, slices),
        }
    }
}

/// Makes one attempt to write, which does not wait for a descriptor.
///
/// # Safety
/// As pwritev2(2).
unsafe fn try_write(hub: &'static Hub, pos: FilePos, slices: Slices) -> isize {
    // SAFETY: the caller's contract.
    unsafe {
        let answer = pos.call(Direction::Write, libc::RWF_NOWAIT, slices);
        if answer != EAGAIN && !is_refused(answer) {
            return answer;
        }
        match kind(hub, pos.fd) {
            FdKind::File => pos.call(Direction::Write, 0, slices),
            _ if answer == EAGAIN => EAGAIN,
            _ if pos.is_current() && poll_now(pos.fd, libc::POLLOUT) == 0 => EAGAIN,
            FdKind::Pipe if pos.is_current() => {
                // A named pipe that is writable has room for a page.
                pos.call(Direction::Write, 0, Slices::of(&slices.part(0, libc::PIPE_BUF)))
            }
            // The standard streams are written to at once: their reader is not this program, and an offload for each
            // line would cost too much.
            FdKind::CharDevice
                if pos.is_current() && !matches!(pos.fd, libc::STDOUT_FILENO | libc::STDERR_FILENO) =>
            {
                // A terminal that is writable may have room for one byte only. The reader of the rest may be a green
                // thread of this hub, so a blocking write here could deadlock.
                let write = || pos.call(Direction::Write, 0, slices);
                offload(Some(hub), WorkKind::ExternalWait, "a terminal", write)
            }
            _ => pos.call(Direction::Write, 0, slices),
        }
    }
}

/// # Safety
/// As preadv2(2).
unsafe fn read_slices(hub: &'static Hub, pos: FilePos, slices: Slices) -> isize {
    // SAFETY: the caller's contract.
    let attempt = || unsafe { try_read(hub, pos, slices) };
    if !pos.is_current() {
        return attempt();
    }
    FilePositionLock::wait_unlocked(hub, pos.fd);
    retry(hub, pos.fd, Direction::Read, Tracking::MayBeStale, attempt)
}

/// # Safety
/// As pwritev2(2).
unsafe fn write_slices(hub: &'static Hub, pos: FilePos, slices: Slices) -> isize {
    const WRITE: Direction = Direction::Write;
    // SAFETY: the caller's contract.
    unsafe {
        match kind(hub, pos.fd) {
            // The number of bytes is not known before the kernel has checked the slices.
            FdKind::File => file::write(hub, pos, slices, 0),
            _ if !pos.is_current() => pos.call(WRITE, 0, slices),
            _ => {
                let piece = |_, left| try_write(hub, pos, left);
                transfer_slices(hub, pos.fd, WRITE, Tracking::MayBeStale, slices, piece)
            }
        }
    }
}

/// Reads into one piece of memory.
///
/// # Safety
/// As pread(2).
pub(super) unsafe fn read_one(hub: &'static Hub, pos: FilePos, buffer: *mut c_void, len: size_t) -> isize {
    let slices = [iovec { iov_base: buffer, iov_len: len }];
    // SAFETY: the caller's contract.
    unsafe {
        if len >= OFFLOAD_BYTES && kind(hub, pos.fd) == FdKind::File {
            return file::offload_io(hub, pos, Direction::Read, Slices::of(&slices));
        }
        read_slices(hub, pos, Slices::of(&slices))
    }
}

/// Writes from one piece of memory, which is only read. A blocking descriptor takes all, unless it is interrupted in
/// between.
///
/// # Safety
/// As pwrite(2).
pub(super) unsafe fn write_one(hub: &'static Hub, pos: FilePos, bytes: *mut c_void, len: size_t) -> isize {
    const WRITE: Direction = Direction::Write;
    // SAFETY: the caller's contract, within the caller's bytes.
    unsafe {
        let rest = |written| [iovec { iov_base: bytes.add(written), iov_len: len - written }];
        match kind(hub, pos.fd) {
            FdKind::File => file::write(hub, pos, Slices::of(&rest(0)), len),
            _ if !pos.is_current() => pos.call(WRITE, 0, Slices::of(&rest(0))),
            _ => {
                let piece = |written| try_write(hub, pos, Slices::of(&rest(written)));
                transfer_all(hub, pos.fd, WRITE, Tracking::MayBeStale, || len, piece)
            }
        }
    }
}

/// The common part of the calls with one piece of memory: `io` on a hub, else the system call `plain`. Without an
/// offset, they are at the file's own position. A negative one is refused by the kernel.
///
/// # Safety
/// As pread(2) or pwrite(2).
#[inline(always)]
unsafe fn one(
    plain: c_long,
    io: unsafe fn(&'static Hub, FilePos, *mut c_void, size_t) -> isize,
    fd: c_int,
    (memory, len): (*mut c_void, size_t),
    offset: Option<off_t>,
) -> ssize_t {
    let pos = FilePos::new(fd, offset, 0);
    // SAFETY: the caller's contract.
    with_errno(unsafe {
        match hub().filter(|_| len > 0 && offset.is_none_or(|offset| offset >= 0)) {
            Some(hub) => io(hub, pos, memory, len),
            None => kernel(plain, [fd as usize, memory as usize, len, pos.offset]),
        }
    })
}

/// The common part of the calls with slices: as [`one`].
///
/// # Safety
/// As preadv2(2) or pwritev2(2).
#[inline(always)]
unsafe fn several(
    plain: c_long,
    io: unsafe fn(&'static Hub, FilePos, Slices) -> isize,
    fd: c_int,
    (slices, count): (*const iovec, c_int),
    offset: Option<off_t>,
    flags: c_int,
) -> ssize_t {
    let pos = FilePos::new(fd, offset, flags);
    let args = [fd as usize, slices as usize, count as usize, pos.offset, 0, flags as usize];
    // The program itself may not want the call to wait.
    let waits = flags & libc::RWF_NOWAIT == 0;
    // SAFETY: the caller's contract.
    with_errno(unsafe {
        match hub().filter(|_| waits && offset.is_none_or(|offset| offset >= 0)) {
            Some(hub) => io(hub, pos, Slices { first: slices, count: count as usize }),
            None => kernel(plain, args),
        }
    })
}

/// Returns the offset of a call that has flags: -1 is the file's own position to it.
fn unless_current(offset: off_t) -> Option<off_t> {
    Some(offset).filter(|&offset| offset != -1)
}

const READS: &str = "parks; what of a file is not in memory is read elsewhere";
const WRITES: &str = "parks; files are written at once, or elsewhere: what is much, or goes to the disk";

interpose! { Io;
    /// See read(2).
    fn read(fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t,
        "std::io, std::fs, std::process, C" => READS;
    { one(libc::SYS_read, read_one, fd, (buffer, len), None) }

    /// See write(2).
    fn write(fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t,
        "std::io, std::fs, std::process, C" => WRITES;
    { one(libc::SYS_write, write_one, fd, (bytes.cast_mut(), len), None) }

    /// See readv(2).
    fn readv(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t, "std, C" => "as read";
    { several(libc::SYS_readv, read_slices, fd, (slices, count), None, 0) }

    /// See writev(2).
    fn writev(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t, "std, C" => "as write";
    { several(libc::SYS_writev, write_slices, fd, (slices, count), None, 0) }

    /// See eventfd_read(3).
    fn eventfd_read(fd: c_int, value: *mut libc::eventfd_t) -> c_int, "C" => "as read";
    { if read(fd, value.cast(), 8) == 8 { 0 } else { -1 } }

    /// See eventfd_write(3).
    fn eventfd_write(fd: c_int, value: libc::eventfd_t) -> c_int, "C" => "as write";
    { if write(fd, (&raw const value).cast(), 8) == 8 { 0 } else { -1 } }

    /// See read(2): its name when C is compiled with `_FORTIFY_SOURCE`.
    fn __read_chk(fd: c_int, buffer: *mut c_void, len: size_t, room: size_t) -> ssize_t, "C" => "as read";
    { assert_room(len, room); read(fd, buffer, len) }

    /// See pread(2).
    fn pread(fd: c_int, buffer: *mut c_void, len: size_t, offset: off_t) -> ssize_t, "C" => "as read";
    { one(libc::SYS_pread64, read_one, fd, (buffer, len), Some(offset)) }

    /// See pread(2).
    fn pread64(fd: c_int, buffer: *mut c_void, len: size_t, offset: off_t) -> ssize_t,
        "std::os::unix::fs, C" => "as read";
    { one(libc::SYS_pread64, read_one, fd, (buffer, len), Some(offset)) }

    /// See pread(2): its name when C is compiled with `_FORTIFY_SOURCE`.
    fn __pread_chk(fd: c_int, buffer: *mut c_void, len: size_t, offset: off_t, room: size_t) -> ssize_t,
        "C" => "as read";
    { assert_room(len, room); pread(fd, buffer, len, offset) }

    /// See pread(2): its name when C is compiled with `_FORTIFY_SOURCE`.
    fn __pread64_chk(fd: c_int, buffer: *mut c_void, len: size_t, offset: off_t, room: size_t) -> ssize_t,
        "C" => "as read";
    { assert_room(len, room); pread64(fd, buffer, len, offset) }

    /// See preadv(2).
    fn preadv(fd: c_int, slices: *const iovec, count: c_int, offset: off_t) -> ssize_t, "C" => "as read";
    { several(libc::SYS_preadv, read_slices, fd, (slices, count), Some(offset), 0) }

    /// See preadv(2).
    fn preadv64(fd: c_int, slices: *const iovec, count: c_int, offset: off_t) -> ssize_t,
        "std::os::unix::fs, C" => "as read";
    { several(libc::SYS_preadv, read_slices, fd, (slices, count), Some(offset), 0) }

    /// See preadv2(2).
    fn preadv2(fd: c_int, slices: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t,
        "C" => "as read";
    { several(libc::SYS_preadv2, read_slices, fd, (slices, count), unless_current(offset), flags) }

    /// See preadv2(2).
    fn preadv64v2(fd: c_int, slices: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t,
        "C" => "as read";
    { several(libc::SYS_preadv2, read_slices, fd, (slices, count), unless_current(offset), flags) }

    /// See pwrite(2).
    fn pwrite(fd: c_int, bytes: *const c_void, len: size_t, offset: off_t) -> ssize_t, "C" => "as write";
    { one(libc::SYS_pwrite64, write_one, fd, (bytes.cast_mut(), len), Some(offset)) }

    /// See pwrite(2).
    fn pwrite64(fd: c_int, bytes: *const c_void, len: size_t, offset: off_t) -> ssize_t,
        "std::os::unix::fs, C" => "as write";
    { one(libc::SYS_pwrite64, write_one, fd, (bytes.cast_mut(), len), Some(offset)) }

    /// See pwritev(2).
    fn pwritev(fd: c_int, slices: *const iovec, count: c_int, offset: off_t) -> ssize_t, "C" => "as write";
    { several(libc::SYS_pwritev, write_slices, fd, (slices, count), Some(offset), 0) }

    /// See pwritev(2).
    fn pwritev64(fd: c_int, slices: *const iovec, count: c_int, offset: off_t) -> ssize_t,
        "std::os::unix::fs, C" => "as write";
    { several(libc::SYS_pwritev, write_slices, fd, (slices, count), Some(offset), 0) }

    /// See pwritev2(2).
    fn pwritev2(fd: c_int, slices: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t,
        "C" => "as write";
    { several(libc::SYS_pwritev2, write_slices, fd, (slices, count), unless_current(offset), flags) }

    /// See pwritev2(2).
    fn pwritev64v2(fd: c_int, slices: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t,
        "C" => "as write";
    { several(libc::SYS_pwritev2, write_slices, fd, (slices, count), unless_current(offset), flags) }
}
