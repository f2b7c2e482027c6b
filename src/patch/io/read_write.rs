//! `read` and `write`, of whatever a descriptor may be.
//!
//! Each attempt is made with `RWF_NOWAIT`, whatever the descriptor is: pipes, sockets, eventfds and timers understand
//! it though they are blocking, and a file returns what is in memory. What this does not settle is decided by the
//! [`FdKind`], once: the rest of a file is read by another OS thread (`file.rs`). Terminals and other devices do not
//! know the flag. They are read after `poll` has said that there is something, and written to by another OS thread.
//!
//! Next: `patch/io/file.rs`, for which nobody can wait.

use super::blocking::{hub, retry};
use super::fd_mode::{FdKind, kind};
use super::file::{self, OFFLOAD_BYTES};
use super::file_pos::{FilePos, FilePositionLock};
use super::iovec::{iovec_len, iovec_take};
use super::write_all::{write_all, write_all_slices};
use crate::hub::{EAGAIN, Hub, Tracking};
use crate::ids::Direction;
use crate::patch::kind::offload_blocking;
use crate::patch::symbol::{assert_room, failed, interpose, kernel, with_errno};
use crate::sys::poll_now::poll_now;
use crate::thread::offload::WorkKind;
use libc::{c_int, c_void, iovec, size_t, ssize_t};

/// Returns `true` if the kernel has refused `RWF_NOWAIT`.
fn is_refused(answer: isize) -> bool {
    answer == failed(libc::EOPNOTSUPP) || answer == failed(libc::ESPIPE)
}

/// Makes one attempt to read, which does not wait for a descriptor; but it parks until a file is read.
///
/// # Safety
/// As preadv2(2).
unsafe fn try_read(hub: &'static Hub, pos: FilePos, slices: *const iovec, count: usize) -> isize {
    // SAFETY: the caller's contract. The kernel has checked the slices if it has read something.
    unsafe {
        let answer = pos.call(Direction::Read, libc::RWF_NOWAIT, slices, count);
        let is_settled = match answer {
            1.. => {
                let len = iovec_len(slices, count);
                answer as usize == len || len > file::MAX_RW_COUNT
            }
            EAGAIN => false,
            _ => !is_refused(answer),
        };
        if is_settled {
            return answer;
        }
        match kind(hub, pos.fd) {
            FdKind::File => file::finish_read(hub, pos, slices, count, answer),
            _ if !is_refused(answer) => answer,
            _ if pos.is_current() && poll_now(pos.fd, libc::POLLIN) == 0 => EAGAIN,
            _ => pos.call(Direction::Read, 0, slices, count),
        }
    }
}

/// Makes one attempt to write, which does not wait for a descriptor.
///
/// # Safety
/// As pwritev2(2).
pub(super) unsafe fn try_write(hub: &'static Hub, pos: FilePos, slices: *const iovec, count: usize) -> isize {
    // SAFETY: the caller's contract; the caller waits until the call has returned.
    unsafe {
        let answer = pos.call(Direction::Write, libc::RWF_NOWAIT, slices, count);
        if answer != EAGAIN && !is_refused(answer) {
            return answer;
        }
        match kind(hub, pos.fd) {
            FdKind::File => pos.call(Direction::Write, 0, slices, count),
            _ if answer == EAGAIN => EAGAIN,
            _ if pos.is_current() && poll_now(pos.fd, libc::POLLOUT) == 0 => EAGAIN,
            FdKind::Pipe if pos.is_current() => {
                // A named pipe that is writable has room for a page.
                let page = iovec_take(slices, count, libc::PIPE_BUF);
                pos.call(Direction::Write, 0, page.as_ptr(), page.len())
            }
            // The standard streams are written to at once: their reader is not this program, and an offload for each
            // line would cost too much.
            FdKind::CharDevice
                if pos.is_current() && !matches!(pos.fd, libc::STDOUT_FILENO | libc::STDERR_FILENO) =>
            {
                // A terminal that is writable may have room for one byte only. The reader of the rest may be a green
                // thread of this hub, so a blocking write here could deadlock.
                let slices = slices as usize;
                offload_blocking(WorkKind::ExternalWait, "a terminal", move || {
                    pos.call(Direction::Write, 0, slices as *const iovec, count)
                })
            }
            _ => pos.call(Direction::Write, 0, slices, count),
        }
    }
}

/// # Safety
/// As preadv2(2).
pub(super) unsafe fn read_slices(
    hub: &'static Hub,
    pos: FilePos,
    slices: *const iovec,
    count: usize,
) -> isize {
    // SAFETY: the caller's contract.
    let attempt = || unsafe { try_read(hub, pos, slices, count) };
    if !pos.is_current() {
        return attempt();
    }
    FilePositionLock::wait_unlocked(hub, pos.fd);
    retry(hub, pos.fd, Direction::Read, Tracking::MayBeStale, attempt)
}

/// # Safety
/// As pwritev2(2).
pub(super) unsafe fn write_slices(
    hub: &'static Hub,
    pos: FilePos,
    slices: *const iovec,
    count: usize,
) -> isize {
    // SAFETY: the caller's contract.
    unsafe {
        match kind(hub, pos.fd) {
            // The number of bytes is not known before the kernel has checked the slices.
            FdKind::File => file::write(hub, pos, slices, count, 0),
            _ if !pos.is_current() => pos.call(Direction::Write, 0, slices, count),
            _ => write_all_slices(hub, pos.fd, slices, count, Tracking::MayBeStale, |_, slices, count| {
                try_write(hub, pos, slices, count)
            }),
        }
    }
}

/// Reads into one piece of memory.
///
/// # Safety
/// As pread(2).
pub(super) unsafe fn read_one(hub: &'static Hub, pos: FilePos, buffer: *mut c_void, len: size_t) -> isize {
    let slice = iovec { iov_base: buffer, iov_len: len };
    // SAFETY: the caller's contract.
    unsafe {
        if len >= OFFLOAD_BYTES && kind(hub, pos.fd) == FdKind::File {
            return file::offload_io(hub, pos, Direction::Read, &raw const slice, 1);
        }
        read_slices(hub, pos, &raw const slice, 1)
    }
}

/// Writes from one piece of memory, which is only read. A blocking descriptor takes all, unless it is interrupted in
/// between.
///
/// # Safety
/// As pwrite(2).
pub(super) unsafe fn write_one(hub: &'static Hub, pos: FilePos, bytes: *mut c_void, len: size_t) -> isize {
    // SAFETY: the caller's contract, within the caller's bytes.
    unsafe {
        let rest = |written| iovec { iov_base: bytes.add(written), iov_len: len - written };
        match kind(hub, pos.fd) {
            FdKind::File => file::write(hub, pos, &rest(0), 1, len),
            _ if !pos.is_current() => pos.call(Direction::Write, 0, &rest(0), 1),
            _ => write_all(hub, pos.fd, len, Tracking::MayBeStale, |written| {
                try_write(hub, pos, &rest(written), 1)
            }),
        }
    }
}

const READS: &str = "parks; what of a file is not in memory is read elsewhere";
const WRITES: &str = "parks; files are written at once, or elsewhere: what is much, or goes to the disk";

interpose! { Io;
    /// See read(2).
    fn read(fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t,
        "std::io, std::fs, std::process, C" => READS;
    {
        with_errno(match hub().filter(|_| len > 0) {
            Some(hub) => read_one(hub, FilePos::current(fd), buffer, len),
            None => kernel(libc::SYS_read, [fd as usize, buffer as usize, len]),
        })
    }

    /// See write(2).
    fn write(fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t,
        "std::io, std::fs, std::process, C" => WRITES;
    {
        with_errno(match hub().filter(|_| len > 0) {
            Some(hub) => write_one(hub, FilePos::current(fd), bytes.cast_mut(), len),
            None => kernel(libc::SYS_write, [fd as usize, bytes as usize, len]),
        })
    }

    /// See readv(2).
    fn readv(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t, "std, C" => "as read";
    {
        with_errno(match hub() {
            Some(hub) => read_slices(hub, FilePos::current(fd), slices, count as usize),
            None => kernel(libc::SYS_readv, [fd as usize, slices as usize, count as usize]),
        })
    }

    /// See writev(2).
    fn writev(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t, "std, C" => "as write";
    {
        with_errno(match hub() {
            Some(hub) => write_slices(hub, FilePos::current(fd), slices, count as usize),
            None => kernel(libc::SYS_writev, [fd as usize, slices as usize, count as usize]),
        })
    }

    /// See eventfd_read(3).
    fn eventfd_read(fd: c_int, value: *mut libc::eventfd_t) -> c_int, "C" => "as read";
    { if read(fd, value.cast(), 8) == 8 { 0 } else { -1 } }

    /// See eventfd_write(3).
    fn eventfd_write(fd: c_int, value: libc::eventfd_t) -> c_int, "C" => "as write";
    { if write(fd, (&raw const value).cast(), 8) == 8 { 0 } else { -1 } }

    /// See read(2): its name when C is compiled with `_FORTIFY_SOURCE`.
    fn __read_chk(fd: c_int, buffer: *mut c_void, len: size_t, room: size_t) -> ssize_t, "C" => "as read";
    { assert_room(len, room); read(fd, buffer, len) }
}
