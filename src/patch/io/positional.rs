//! `pread`, `pwrite` and their relatives: at an offset, and so of files alone. Each has a second name for files of more
//! than 2 GiB, from when offsets had 32 bits.
//!
//! Next: `patch/io/file.rs`, for which nobody can wait.

use super::blocking::hub;
use super::file_pos::FilePos;
use super::read_write::{read_one, read_slices, write_one, write_slices};
use crate::hub::Hub;
use crate::patch::symbol::{assert_room, interpose, kernel, with_errno};
use libc::{c_int, c_long, c_void, iovec, off_t, size_t, ssize_t};

/// Returns the hub for a call that may be offloaded. `None`: the program itself does not want the call to wait, or the
/// kernel refuses the offset.
fn hub_for(offset: off_t, flags: c_int) -> Option<&'static Hub> {
    hub().filter(|_| offset >= 0 && flags & libc::RWF_NOWAIT == 0)
}

/// The common part of `pread` and `pwrite`: `io` on a hub, else the system call `plain`.
///
/// # Safety
/// As pread(2) or pwrite(2).
unsafe fn positional(
    plain: c_long,
    io: unsafe fn(&'static Hub, FilePos, *mut c_void, size_t) -> isize,
    fd: c_int,
    (memory, len): (*mut c_void, size_t),
    offset: off_t,
) -> ssize_t {
    // SAFETY: the caller's contract.
    with_errno(unsafe {
        match hub_for(offset, 0).filter(|_| len > 0) {
            Some(hub) => io(hub, FilePos { fd, offset: offset as usize, flags: 0 }, memory, len),
            None => kernel(plain, [fd as usize, memory as usize, len, offset as usize]),
        }
    })
}

/// The common part of the calls with slices: `io` on a hub, else the system call `plain`. An offset of -1 is the file's
/// own position to those that have `flags`.
///
/// # Safety
/// As preadv2(2) or pwritev2(2).
unsafe fn vectored(
    plain: c_long,
    io: unsafe fn(&'static Hub, FilePos, *const iovec, usize) -> isize,
    fd: c_int,
    (slices, count): (*const iovec, c_int),
    offset: off_t,
    flags: Option<c_int>,
) -> ssize_t {
    let is_current = flags.is_some() && offset == -1;
    let (flags, count) = (flags.unwrap_or(0), count as usize);
    // SAFETY: the caller's contract.
    with_errno(unsafe {
        match hub_for(if is_current { 0 } else { offset }, flags) {
            Some(hub) => io(hub, FilePos { fd, offset: offset as usize, flags }, slices, count),
            None => kernel(plain, [fd as usize, slices as usize, count, offset as usize, 0, flags as usize]),
        }
    })
}

interpose! { Io;
    /// See pread(2).
    fn pread(fd: c_int, buffer: *mut c_void, len: size_t, offset: off_t) -> ssize_t, "C" => "as read";
    { positional(libc::SYS_pread64, read_one, fd, (buffer, len), offset) }

    /// See pread(2).
    fn pread64(fd: c_int, buffer: *mut c_void, len: size_t, offset: off_t) -> ssize_t,
        "std::os::unix::fs, C" => "as read";
    { positional(libc::SYS_pread64, read_one, fd, (buffer, len), offset) }

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
    { vectored(libc::SYS_preadv, read_slices, fd, (slices, count), offset, None) }

    /// See preadv(2).
    fn preadv64(fd: c_int, slices: *const iovec, count: c_int, offset: off_t) -> ssize_t,
        "std::os::unix::fs, C" => "as read";
    { vectored(libc::SYS_preadv, read_slices, fd, (slices, count), offset, None) }

    /// See preadv2(2).
    fn preadv2(fd: c_int, slices: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t,
        "C" => "as read";
    { vectored(libc::SYS_preadv2, read_slices, fd, (slices, count), offset, Some(flags)) }

    /// See preadv2(2).
    fn preadv64v2(fd: c_int, slices: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t,
        "C" => "as read";
    { vectored(libc::SYS_preadv2, read_slices, fd, (slices, count), offset, Some(flags)) }

    /// See pwrite(2).
    fn pwrite(fd: c_int, bytes: *const c_void, len: size_t, offset: off_t) -> ssize_t, "C" => "as write";
    { positional(libc::SYS_pwrite64, write_one, fd, (bytes.cast_mut(), len), offset) }

    /// See pwrite(2).
    fn pwrite64(fd: c_int, bytes: *const c_void, len: size_t, offset: off_t) -> ssize_t,
        "std::os::unix::fs, C" => "as write";
    { positional(libc::SYS_pwrite64, write_one, fd, (bytes.cast_mut(), len), offset) }

    /// See pwritev(2).
    fn pwritev(fd: c_int, slices: *const iovec, count: c_int, offset: off_t) -> ssize_t, "C" => "as write";
    { vectored(libc::SYS_pwritev, write_slices, fd, (slices, count), offset, None) }

    /// See pwritev(2).
    fn pwritev64(fd: c_int, slices: *const iovec, count: c_int, offset: off_t) -> ssize_t,
        "std::os::unix::fs, C" => "as write";
    { vectored(libc::SYS_pwritev, write_slices, fd, (slices, count), offset, None) }

    /// See pwritev2(2).
    fn pwritev2(fd: c_int, slices: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t,
        "C" => "as write";
    { vectored(libc::SYS_pwritev2, write_slices, fd, (slices, count), offset, Some(flags)) }

    /// See pwritev2(2).
    fn pwritev64v2(fd: c_int, slices: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t,
        "C" => "as write";
    { vectored(libc::SYS_pwritev2, write_slices, fd, (slices, count), offset, Some(flags)) }
}
