//! `pread`, `pwrite` and their relatives: at an offset, and so of files alone. Each has a second name, from when offsets
//! were short.

use super::file;
use super::read_write::{At, input, output, read_one};
use super::{hub, kernel, with_errno};
use crate::hub::Hub;
use libc::{c_int, c_long, c_void, iovec, off_t, size_t, ssize_t};

/// The hub, for a call that may be made elsewhere: not one that the program itself does not want to wait, nor one with
/// an offset that the kernel refuses.
fn hub_for(offset: off_t, flags: c_int) -> Option<&'static Hub> {
    hub().filter(|_| offset >= 0 && flags & libc::RWF_NOWAIT == 0)
}

/// See pread(2).
///
/// # Safety
/// As pread(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(fd: c_int, buffer: *mut c_void, len: size_t, offset: off_t) -> ssize_t {
    let plain = [fd as usize, buffer as usize, len, offset as usize, 0, 0];
    // SAFETY: the caller's.
    with_errno(unsafe {
        match hub_for(offset, 0).filter(|_| len > 0) {
            Some(hub) => read_one(hub, At { fd, offset: offset as usize, flags: 0 }, buffer, len),
            None => kernel(libc::SYS_pread64, plain),
        }
    })
}

/// See pread(2).
///
/// # Safety
/// As pread(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pread(fd: c_int, buffer: *mut c_void, len: size_t, offset: off_t) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { pread64(fd, buffer, len, offset) }
}

/// See pread(2): what it becomes when C is compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As pread(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __pread_chk(
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    offset: off_t,
    room: size_t,
) -> ssize_t {
    super::socket::assert_room(len, room);
    // SAFETY: the caller's.
    unsafe { pread64(fd, buffer, len, offset) }
}

/// See pread(2): what it becomes when C is compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As pread(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __pread64_chk(
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    offset: off_t,
    room: size_t,
) -> ssize_t {
    super::socket::assert_room(len, room);
    // SAFETY: the caller's.
    unsafe { pread64(fd, buffer, len, offset) }
}

/// See pwrite(2).
///
/// # Safety
/// As pwrite(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, len: size_t, offset: off_t) -> ssize_t {
    let plain = [fd as usize, bytes as usize, len, offset as usize, 0, 0];
    // SAFETY: the caller's.
    with_errno(unsafe {
        match hub_for(offset, 0).filter(|&hub| len > 0 && file::is_file(hub, fd)) {
            Some(hub) => {
                let slice = iovec { iov_base: bytes.cast_mut(), iov_len: len };
                file::write(hub, At { fd, offset: offset as usize, flags: 0 }, &raw const slice, 1, len)
            }
            None => kernel(libc::SYS_pwrite64, plain),
        }
    })
}

/// See pwrite(2).
///
/// # Safety
/// As pwrite(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, len: size_t, offset: off_t) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { pwrite64(fd, bytes, len, offset) }
}

/// Reads or writes by `call` if it may be made offload_blocking, or at once by the system call `plain`.
///
/// # Safety
/// As preadv2(2) or pwritev2(2).
unsafe fn vectored(
    plain: c_long,
    call: unsafe fn(&'static Hub, At, *const iovec, usize) -> isize,
    slices: (*const iovec, c_int),
    at: At,
    hub: Option<&'static Hub>,
) -> ssize_t {
    let (slices, count) = (slices.0, slices.1 as usize);
    let args = [at.fd as usize, slices as usize, count, at.offset, 0, at.flags as usize];
    // SAFETY: the caller's.
    with_errno(unsafe {
        match hub {
            Some(hub) => call(hub, at, slices, count),
            None => kernel(plain, args),
        }
    })
}

/// See preadv(2).
///
/// # Safety
/// As preadv(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn preadv(fd: c_int, slices: *const iovec, count: c_int, offset: off_t) -> ssize_t {
    let at = At { fd, offset: offset as usize, flags: 0 };
    // SAFETY: the caller's.
    unsafe { vectored(libc::SYS_preadv, input, (slices, count), at, hub_for(offset, 0)) }
}

/// See preadv(2).
///
/// # Safety
/// As preadv(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn preadv64(fd: c_int, slices: *const iovec, count: c_int, offset: off_t) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { preadv(fd, slices, count, offset) }
}

/// See preadv2(2).
///
/// # Safety
/// As preadv2(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn preadv2(
    fd: c_int,
    slices: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    let at = At { fd, offset: offset as usize, flags };
    // -1 is the file's own position here.
    let hub = hub_for(if offset == -1 { 0 } else { offset }, flags);
    // SAFETY: the caller's.
    unsafe { vectored(libc::SYS_preadv2, input, (slices, count), at, hub) }
}

/// See preadv2(2).
///
/// # Safety
/// As preadv2(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn preadv64v2(
    fd: c_int,
    slices: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { preadv2(fd, slices, count, offset, flags) }
}

/// See pwritev(2).
///
/// # Safety
/// As pwritev(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev(fd: c_int, slices: *const iovec, count: c_int, offset: off_t) -> ssize_t {
    let at = At { fd, offset: offset as usize, flags: 0 };
    // SAFETY: the caller's.
    unsafe { vectored(libc::SYS_pwritev, output, (slices, count), at, hub_for(offset, 0)) }
}

/// See pwritev(2).
///
/// # Safety
/// As pwritev(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64(fd: c_int, slices: *const iovec, count: c_int, offset: off_t) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { pwritev(fd, slices, count, offset) }
}

/// See pwritev2(2).
///
/// # Safety
/// As pwritev2(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev2(
    fd: c_int,
    slices: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    let at = At { fd, offset: offset as usize, flags };
    // -1 is the file's own position here.
    let hub = hub_for(if offset == -1 { 0 } else { offset }, flags);
    // SAFETY: the caller's.
    unsafe { vectored(libc::SYS_pwritev2, output, (slices, count), at, hub) }
}

/// See pwritev2(2).
///
/// # Safety
/// As pwritev2(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64v2(
    fd: c_int,
    slices: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { pwritev2(fd, slices, count, offset, flags) }
}
