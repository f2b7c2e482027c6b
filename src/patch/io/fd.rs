//! The life of a descriptor: what has to be known of it is noted, whether it is patched or not.
//!
//! C declares `fcntl` and `ioctl` with a variable number of arguments; with one more integer or pointer, as they have
//! it, both processors pass it as they would a plain word.

use super::{kernel, settings_changed, with_errno};
use crate::fds;
use libc::{c_int, c_ulong, c_void, socklen_t};

/// See close(2). Whoever waits for it is woken, and told EBADF.
#[unsafe(no_mangle)]
extern "C" fn close(fd: c_int) -> c_int {
    fds::forget(fd);
    // SAFETY: no pointers.
    with_errno(unsafe { kernel(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) }) as c_int
}

/// See dup2(2). Whoever waits for what `new` was is woken.
#[unsafe(no_mangle)]
extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    if old == new {
        // SAFETY: no pointers.
        let open = unsafe { kernel(libc::SYS_fcntl, [old as usize, libc::F_GETFD as usize, 0, 0, 0, 0]) };
        return with_errno(if open < 0 { open } else { new as isize }) as c_int;
    }
    dup3(old, new, 0)
}

/// See dup3(2).
#[unsafe(no_mangle)]
extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    if old != new {
        fds::forget(new);
    }
    // SAFETY: no pointers.
    with_errno(unsafe { kernel(libc::SYS_dup3, [old as usize, new as usize, flags as usize, 0, 0, 0]) })
        as c_int
}

/// See ioctl(2).
///
/// # Safety
/// As ioctl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int {
    // SAFETY: the caller's.
    let answer = unsafe { kernel(libc::SYS_ioctl, [fd as usize, request as usize, argument, 0, 0, 0]) };
    if request == libc::FIONBIO as c_ulong {
        settings_changed();
    }
    with_errno(answer) as c_int
}

/// See fcntl(2).
///
/// # Safety
/// As fcntl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's.
    let answer = unsafe { kernel(libc::SYS_fcntl, [fd as usize, command as usize, argument, 0, 0, 0]) };
    match command {
        libc::F_SETFL => settings_changed(),
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC if answer >= 0 => fds::forget(answer as c_int),
        _ => {}
    }
    with_errno(answer) as c_int
}

/// The same, under its other name.
///
/// # Safety
/// As fcntl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's.
    unsafe { fcntl(fd, command, argument) }
}

/// See setsockopt(2).
///
/// # Safety
/// As setsockopt(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    option: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    let args = [fd as usize, level as usize, option as usize, value as usize, len as usize, 0];
    // SAFETY: the caller's.
    let answer = unsafe { kernel(libc::SYS_setsockopt, args) };
    if level == libc::SOL_SOCKET && matches!(option, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) {
        settings_changed();
    }
    with_errno(answer) as c_int
}
