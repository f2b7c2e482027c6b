//! `read` and `write`, of whatever a descriptor may be.
//!
//! Pipes, sockets, event counters and timers can be asked not to wait (`RWF_NOWAIT`), though they are blocking. So can
//! files, which then answer from memory; what is not there is read while the OS thread waits, as are terminals and
//! other devices that cannot be asked, after `poll` has said that there is something.

use super::{failed, hub, kernel, retry, send_whole, with_errno};
use crate::hub::Hub;
use crate::reactor::Direction;
use libc::{c_int, c_void, iovec, size_t, ssize_t};

/// The offset that means: wherever it is.
const HERE: usize = usize::MAX;

/// One attempt that does not wait.
///
/// # Safety
/// As readv(2) or writev(2).
unsafe fn attempt(fd: c_int, direction: Direction, slices: *const iovec, count: usize) -> isize {
    let (no_wait, plain, events) = match direction {
        Direction::Read => (libc::SYS_preadv2, libc::SYS_readv, libc::POLLIN),
        Direction::Write => (libc::SYS_pwritev2, libc::SYS_writev, libc::POLLOUT),
    };
    let args = [fd as usize, slices as usize, count, HERE, HERE, libc::RWF_NOWAIT as usize];
    // SAFETY: the caller's.
    unsafe {
        match kernel(no_wait, args) {
            // It cannot be asked so: a terminal, say. Or a file, which has to be read from the disk.
            refused if refused == failed(libc::EOPNOTSUPP) || refused == failed(libc::ESPIPE) => {
                match super::poll::now(fd, events) {
                    0 => failed(libc::EAGAIN),
                    _ => kernel(plain, args),
                }
            }
            would_block if would_block == failed(libc::EAGAIN) && is_file(fd) => kernel(plain, args),
            answer => answer,
        }
    }
}

/// Whether it is a file, for which nobody can wait.
fn is_file(fd: c_int) -> bool {
    // SAFETY: all zeros is a value of it; room for one is given.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        kernel(libc::SYS_fstat, [fd as usize, &raw mut stat as usize, 0, 0, 0, 0]) == 0
            && matches!(stat.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK)
    }
}

/// # Safety
/// As readv(2).
unsafe fn input(hub: &Hub, fd: c_int, slices: *const iovec, count: usize) -> isize {
    // SAFETY: the caller's.
    retry(hub, fd, Direction::Read, true, || unsafe { attempt(fd, Direction::Read, slices, count) })
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
            Some(hub) => input(hub, fd, &iovec { iov_base: buffer, iov_len: len }, 1),
            None => kernel(libc::SYS_read, [fd as usize, buffer as usize, len, 0, 0, 0]),
        }
    })
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
            Some(hub) => input(hub, fd, slices, count as usize),
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
    with_errno(send_whole(hub, fd, len, true, |gone| {
        // SAFETY: within the caller's bytes.
        unsafe {
            let rest = iovec { iov_base: bytes.add(gone).cast_mut(), iov_len: len - gone };
            attempt(fd, Direction::Write, &raw const rest, 1)
        }
    }))
}

/// What is left of some slices without their first `gone` bytes.
pub(super) fn rest(slices: &[iovec], mut gone: usize) -> Vec<iovec> {
    let mut left = Vec::new();
    for slice in slices {
        let here = gone.min(slice.iov_len);
        gone -= here;
        if here < slice.iov_len {
            let base = slice.iov_base.wrapping_byte_add(here);
            left.push(iovec { iov_base: base, iov_len: slice.iov_len - here });
        }
    }
    left
}

/// See writev(2). A blocking descriptor takes all, unless it is interrupted in between.
///
/// # Safety
/// As writev(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's.
    let piece = |slices: *const iovec, count| unsafe { attempt(fd, Direction::Write, slices, count) };
    let Some(hub) = hub() else {
        // SAFETY: the caller's.
        let written =
            unsafe { kernel(libc::SYS_writev, [fd as usize, slices as usize, count as usize, 0, 0, 0]) };
        return with_errno(written);
    };
    let first = retry(hub, fd, Direction::Write, true, || piece(slices, count as usize));
    if first <= 0 {
        return with_errno(first);
    }
    // SAFETY: the caller's; the kernel has read it.
    let slices = unsafe { std::slice::from_raw_parts(slices, count as usize) };
    let len: usize = slices.iter().map(|slice| slice.iov_len).sum();
    let gone = first as usize;
    if gone == len || super::is_nonblocking(hub, fd, true) {
        return first;
    }
    first
        + send_whole(hub, fd, len - gone, true, |more| {
            let left = rest(slices, gone + more);
            piece(left.as_ptr(), left.len())
        })
        .max(0)
}
