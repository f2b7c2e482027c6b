//! Opening. It waits for nothing that could be polled, but for the other end of a named pipe: then an OS thread waits in
//! our place, for as long as it takes.
//!
//! C declares `open` with a variable number of arguments: see `fd.rs`.

use super::{hub, kernel, with_errno};
use crate::fd_table;
use crate::patch::offload_blocking;
use crate::thread::offload::WorkKind;
use libc::{c_char, c_int, mode_t};

/// Opens a file. The number may have been another's, closed where it was not seen.
///
/// # Safety
/// As openat(2).
unsafe fn open_at(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let args = [dir as usize, path as usize, flags as usize, mode as usize, 0, 0];
    // SAFETY: the caller's; it waits until it is done.
    let call = move || unsafe { kernel(libc::SYS_openat, args) };
    // SAFETY: the caller's.
    let answer = match hub().filter(|_| unsafe { waits(dir, path, flags) }) {
        Some(_) => offload_blocking(WorkKind::ExternalWait, "the other end of a named pipe", call),
        None => call(),
    };
    if answer >= 0 {
        fd_table::forget(answer as c_int);
    }
    with_errno(answer) as c_int
}

/// Whether it is a named pipe, whose other end is waited for. (Whoever opens both ends at once waits for nobody.)
///
/// # Safety
/// As openat(2).
unsafe fn waits(dir: c_int, path: *const c_char, flags: c_int) -> bool {
    const NEW: c_int = libc::O_CREAT | libc::O_EXCL;
    let does_not = libc::O_NONBLOCK | libc::O_PATH | libc::O_DIRECTORY;
    if flags & does_not != 0 || flags & libc::O_ACCMODE == libc::O_RDWR || flags & NEW == NEW {
        return false;
    }
    let follow = if flags & libc::O_NOFOLLOW != 0 { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    // SAFETY: the caller's; all zeros is a value of it, and room for one is given.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        let args = [dir as usize, path as usize, &raw mut stat as usize, follow as usize, 0, 0];
        kernel(libc::SYS_newfstatat, args) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFIFO
    }
}

/// See open(2).
///
/// # Safety
/// As open(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }
}

/// See open(2): what it was when offsets were short.
///
/// # Safety
/// As open(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }
}

/// See openat(2).
///
/// # Safety
/// As openat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { open_at(dir, path, flags, mode) }
}

/// See openat(2), and `open64`.
///
/// # Safety
/// As openat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { open_at(dir, path, flags, mode) }
}

/// See creat(2).
///
/// # Safety
/// As creat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn creat(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { open_at(libc::AT_FDCWD, path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode) }
}

/// See creat(2), and `open64`.
///
/// # Safety
/// As creat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn creat64(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { creat(path, mode) }
}

/// See open(2): what it becomes, without a mode, when C is compiled with `_FORTIFY_SOURCE`. To create a file without
/// saying its mode ends the process.
///
/// # Safety
/// As open(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __open_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe { __openat_2(libc::AT_FDCWD, path, flags) }
}

/// The same, under its other name.
///
/// # Safety
/// As open(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe { __openat_2(libc::AT_FDCWD, path, flags) }
}

/// See openat(2), and `__open_2`.
///
/// # Safety
/// As openat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __openat_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    if flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE {
        // SAFETY: no preconditions.
        unsafe { libc::abort() };
    }
    // SAFETY: the caller's.
    unsafe { open_at(dir, path, flags, 0) }
}

/// The same, under its other name.
///
/// # Safety
/// As openat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __openat64_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe { __openat_2(dir, path, flags) }
}
