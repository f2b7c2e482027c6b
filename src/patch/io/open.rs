//! Opening files. `open` waits for nothing that could be polled. Only the open of a named pipe waits, for the other
//! end: then an OS thread of the pool waits in the green thread's place, for as long as it takes.
//!
//! C declares `open` with a variable number of arguments: see `fd.rs`.
//!
//! Next: `patch/io/fd.rs`, what becomes of a descriptor after it was opened.

use super::blocking::{hub, offload};
use super::fd::opened;
use crate::patch::symbol::{interpose, kernel, with_errno};
use crate::thread::offload::WorkKind;
use libc::{c_char, c_int, mode_t};

/// Opens a file.
///
/// # Safety
/// As openat(2).
unsafe fn open_at(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let args = [dir as usize, path as usize, flags as usize, mode as usize];
    // SAFETY: the caller's contract.
    with_errno(opened(unsafe {
        let hub = hub().filter(|_| may_wait(dir, path, flags));
        let open = || kernel(libc::SYS_openat, args);
        offload(hub, WorkKind::ExternalWait, "the other end of a named pipe", open)
    }))
}

/// Returns `true` for a named pipe whose other end the kernel would wait for. An open of both ends waits for nothing.
///
/// # Safety
/// As openat(2).
unsafe fn may_wait(dir: c_int, path: *const c_char, flags: c_int) -> bool {
    const NEW: c_int = libc::O_CREAT | libc::O_EXCL;
    let never_waits = libc::O_NONBLOCK | libc::O_PATH | libc::O_DIRECTORY;
    if flags & never_waits != 0 || flags & libc::O_ACCMODE == libc::O_RDWR || flags & NEW == NEW {
        return false;
    }
    let follow = if flags & libc::O_NOFOLLOW != 0 { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    // SAFETY: the caller's contract; all zeros is a valid `stat`, and the kernel writes to that local.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        let args = [dir as usize, path as usize, &raw mut stat as usize, follow as usize];
        kernel(libc::SYS_newfstatat, args) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFIFO
    }
}

/// `open` and `openat` as glibc's headers call them when C is compiled with `_FORTIFY_SOURCE` and gives no mode.
/// Aborts if a file would be created without a mode.
///
/// # Safety
/// As openat(2).
unsafe fn open_without_mode(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    if flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE {
        // SAFETY: no preconditions.
        unsafe { libc::abort() };
    }
    // SAFETY: the caller's contract.
    unsafe { open_at(dir, path, flags, 0) }
}

const CREATE: c_int = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
const OPENS: &str = "a named pipe: parks while another OS thread waits for its other end";

interpose! { Io;
    /// See open(2).
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int, "C" => OPENS;
    { open_at(libc::AT_FDCWD, path, flags, mode) }

    /// See open(2): its name for files of more than 2 GiB, from when offsets had 32 bits.
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int, "std::fs, C" => OPENS;
    { open_at(libc::AT_FDCWD, path, flags, mode) }

    /// See openat(2).
    fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int, "C" => OPENS;
    { open_at(dir, path, flags, mode) }

    /// See openat(2), and `open64`.
    fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int, "std::fs, C" => OPENS;
    { open_at(dir, path, flags, mode) }

    /// See creat(2).
    fn creat(path: *const c_char, mode: mode_t) -> c_int, "C" => OPENS;
    { open_at(libc::AT_FDCWD, path, CREATE, mode) }

    /// See creat(2), and `open64`.
    fn creat64(path: *const c_char, mode: mode_t) -> c_int, "C" => OPENS;
    { open_at(libc::AT_FDCWD, path, CREATE, mode) }

    /// See `open_without_mode`.
    fn __open_2(path: *const c_char, flags: c_int) -> c_int, "C" => OPENS;
    { open_without_mode(libc::AT_FDCWD, path, flags) }

    /// See `open_without_mode`.
    fn __open64_2(path: *const c_char, flags: c_int) -> c_int, "C" => OPENS;
    { open_without_mode(libc::AT_FDCWD, path, flags) }

    /// See `open_without_mode`.
    fn __openat_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int, "C" => OPENS;
    { open_without_mode(dir, path, flags) }

    /// See `open_without_mode`.
    fn __openat64_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int, "C" => OPENS;
    { open_without_mode(dir, path, flags) }
}
