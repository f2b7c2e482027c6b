//! `read` and `write`, of whatever a descriptor may be.
//!
//! Pipes, sockets, event counters and timers can be asked not to wait (`RWF_NOWAIT`), though they are blocking. So can
//! files, which then answer from memory: what is not there, `file.rs` has read elsewhere. Terminals and other devices
//! cannot be asked: they are read after `poll` has said that there is something, and written to by another OS thread.

use super::file::{self, MUCH, Turn};
use super::retry::retry;
use super::write_all::{send_slices, send_whole};
use super::{HERE, failed, hub, kernel, with_errno};
use crate::hub::Hub;
use crate::ids::Direction;
use crate::patch::offload_blocking;
use crate::thread::offload::WorkKind;
use libc::{c_int, c_void, iovec, size_t, ssize_t};

/// Where to read or write.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) fd: c_int,
    /// [`HERE`]: at the file's own position.
    pub(super) offset: usize,
    /// The program's, of `preadv2`.
    pub(super) flags: c_int,
}

impl At {
    pub(super) fn here(fd: c_int) -> At {
        At { fd, offset: HERE, flags: 0 }
    }

    /// So many bytes further on. The file's own position has moved by itself.
    pub(super) fn after(self, done: usize) -> At {
        At { offset: if self.offset == HERE { HERE } else { self.offset + done }, ..self }
    }

    /// # Safety
    /// As preadv2(2) or pwritev2(2).
    pub(super) unsafe fn call(
        self,
        direction: Direction,
        flags: c_int,
        slices: *const iovec,
        count: usize,
    ) -> isize {
        let number = match direction {
            Direction::Read => libc::SYS_preadv2,
            Direction::Write => libc::SYS_pwritev2,
        };
        let flags = self.flags | flags;
        // SAFETY: the caller's.
        unsafe { kernel(number, [self.fd as usize, slices as usize, count, self.offset, 0, flags as usize]) }
    }
}

/// One attempt that does not wait for a descriptor; but it parks until a file is read.
///
/// # Safety
/// As preadv2(2) or pwritev2(2).
pub(super) unsafe fn attempt(
    hub: &'static Hub,
    at: At,
    direction: Direction,
    slices: *const iovec,
    count: usize,
) -> isize {
    let reads = direction == Direction::Read;
    // SAFETY: the caller's.
    unsafe {
        match at.call(direction, libc::RWF_NOWAIT, slices, count) {
            // It cannot be asked so.
            refused if refused == failed(libc::EOPNOTSUPP) || refused == failed(libc::ESPIPE) => {
                if reads && file::is_slow(at.fd) {
                    return file::other_thread(hub, at, direction, slices, count);
                }
                let events = if reads { libc::POLLIN } else { libc::POLLOUT };
                match at.offset {
                    HERE if super::poll::now(at.fd, events) == 0 => failed(libc::EAGAIN),
                    HERE if !reads => write_to_room(at, slices, count),
                    _ => at.call(direction, 0, slices, count),
                }
            }
            blocks if blocks == failed(libc::EAGAIN) && file::is_file(hub, at.fd) => match direction {
                Direction::Read => file::rest(hub, at, slices, count, 0),
                Direction::Write => at.call(direction, 0, slices, count),
            },
            part @ 1.. if reads && file::is_part(hub, at.fd, slices, count, part) => {
                file::rest(hub, at, slices, count, part)
            }
            answer => answer,
        }
    }
}

/// Writes to what has room, says not how much, and cannot be asked to write no more than that.
///
/// # Safety
/// As pwritev2(2).
unsafe fn write_to_room(at: At, slices: *const iovec, count: usize) -> isize {
    // SAFETY: the caller's; it waits until it is done.
    unsafe {
        match file::kind(at.fd) {
            Some(libc::S_IFIFO) => {
                // A named pipe: there is room for a page.
                let page = file::first(slices, count, libc::PIPE_BUF);
                at.call(Direction::Write, 0, page.as_ptr(), page.len())
            }
            // Who reads what the program says is not the program; and each line would take another OS thread.
            Some(libc::S_IFCHR) if matches!(at.fd, libc::STDOUT_FILENO | libc::STDERR_FILENO) => {
                at.call(Direction::Write, 0, slices, count)
            }
            Some(libc::S_IFCHR) => {
                // A terminal: it may be room for a byte, and who reads the rest may be one of us.
                let slices = slices as usize;
                offload_blocking(WorkKind::ExternalWait, "a terminal", move || {
                    at.call(Direction::Write, 0, slices as *const iovec, count)
                })
            }
            _ => at.call(Direction::Write, 0, slices, count),
        }
    }
}

/// # Safety
/// As preadv2(2).
pub(super) unsafe fn input(hub: &'static Hub, at: At, slices: *const iovec, count: usize) -> isize {
    // SAFETY: the caller's.
    unsafe {
        if at.offset != HERE {
            return attempt(hub, at, Direction::Read, slices, count);
        }
        Turn::let_pass(hub, at.fd);
        retry(hub, at.fd, Direction::Read, true, || attempt(hub, at, Direction::Read, slices, count))
    }
}

/// # Safety
/// As pwritev2(2).
pub(super) unsafe fn output(hub: &'static Hub, at: At, slices: *const iovec, count: usize) -> isize {
    // SAFETY: the caller's.
    unsafe {
        if file::is_file(hub, at.fd) {
            // How much it is the kernel finds out, and whether the slices are where they are said to be.
            return file::write(hub, at, slices, count, 0);
        }
        if at.offset != HERE {
            return at.call(Direction::Write, 0, slices, count);
        }
        send_slices(hub, at.fd, slices, count, true, |_, slices, count| {
            attempt(hub, at, Direction::Write, slices, count)
        })
    }
}

/// See read(2).
///
/// # Safety
/// As read(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t {
    // SAFETY: the caller's.
    with_errno(unsafe {
        match hub().filter(|_| len > 0) {
            Some(hub) => read_one(hub, At::here(fd), buffer, len),
            None => kernel(libc::SYS_read, [fd as usize, buffer as usize, len, 0, 0, 0]),
        }
    })
}

/// Reads, into one piece of memory.
///
/// # Safety
/// As pread(2).
pub(super) unsafe fn read_one(hub: &'static Hub, at: At, buffer: *mut c_void, len: size_t) -> isize {
    let slice = iovec { iov_base: buffer, iov_len: len };
    // SAFETY: the caller's.
    unsafe {
        if len >= MUCH && file::is_file(hub, at.fd) {
            return file::other_thread(hub, at, Direction::Read, &raw const slice, 1);
        }
        input(hub, at, &raw const slice, 1)
    }
}

/// See read(2): what it becomes when C is compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As read(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __read_chk(fd: c_int, buffer: *mut c_void, len: size_t, room: size_t) -> ssize_t {
    super::socket::assert_room(len, room);
    // SAFETY: the caller's.
    unsafe { read(fd, buffer, len) }
}

/// See readv(2).
///
/// # Safety
/// As readv(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn readv(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's.
    with_errno(unsafe {
        match hub() {
            Some(hub) => input(hub, At::here(fd), slices, count as usize),
            None => kernel(libc::SYS_readv, [fd as usize, slices as usize, count as usize, 0, 0, 0]),
        }
    })
}

/// See write(2). A blocking descriptor takes all, unless it is interrupted in between.
///
/// # Safety
/// As write(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t {
    let plain = [fd as usize, bytes as usize, len, 0, 0, 0];
    let Some(hub) = hub().filter(|_| len > 0) else {
        // SAFETY: the caller's.
        return with_errno(unsafe { kernel(libc::SYS_write, plain) });
    };
    let at = At::here(fd);
    if file::is_file(hub, fd) {
        let slice = iovec { iov_base: bytes.cast_mut(), iov_len: len };
        // SAFETY: the caller's.
        return with_errno(unsafe { file::write(hub, at, &raw const slice, 1, len) });
    }
    with_errno(send_whole(hub, fd, len, true, |gone| {
        // SAFETY: within the caller's bytes.
        unsafe {
            let rest = iovec { iov_base: bytes.add(gone).cast_mut(), iov_len: len - gone };
            attempt(hub, at, Direction::Write, &raw const rest, 1)
        }
    }))
}

/// See eventfd_read(3).
///
/// # Safety
/// As eventfd_read(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn eventfd_read(fd: c_int, value: *mut libc::eventfd_t) -> c_int {
    // SAFETY: the caller's.
    let len = unsafe { read(fd, value.cast(), size_of::<libc::eventfd_t>()) };
    if len == size_of::<libc::eventfd_t>() as ssize_t { 0 } else { -1 }
}

/// See eventfd_write(3).
#[unsafe(no_mangle)]
extern "C" fn eventfd_write(fd: c_int, value: libc::eventfd_t) -> c_int {
    // SAFETY: a value of this frame.
    let len = unsafe { write(fd, (&raw const value).cast(), size_of::<libc::eventfd_t>()) };
    if len == size_of::<libc::eventfd_t>() as ssize_t { 0 } else { -1 }
}

/// See writev(2). A blocking descriptor takes all, unless it is interrupted in between.
///
/// # Safety
/// As writev(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's.
    with_errno(unsafe {
        match hub() {
            Some(hub) => output(hub, At::here(fd), slices, count as usize),
            None => kernel(libc::SYS_writev, [fd as usize, slices as usize, count as usize, 0, 0, 0]),
        }
    })
}
