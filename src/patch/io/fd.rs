//! The life of a descriptor: what has to be known of it is noted, whether it is patched or not.
//!
//! A number that is closed is forgotten ([`fd_table::closing`]). It may also be closed where that is not seen: by C's `fclose`,
//! or a system call that the program makes itself. So calls that make sockets forget the number, too, for sockets are
//! not asked after before each wait; and so do those that make pipes or duplicates, so that old waiters hear of it soon.
//! All other calls that make descriptors (`open`, `eventfd`, `timerfd_create` ...) need not be seen: what is not known
//! to be a socket is asked after when the kernel would wait (`Hub::revalidate_fd`), before anything that was noted is used.
//!
//! C declares `fcntl` and `ioctl` with a variable number of arguments; with one more integer or pointer, as they have
//! it, both processors pass it as they would a plain word.

use super::fd_mode::settings_changed;
use super::{failed, file_lock, hub, kernel, with_errno};
use crate::fd_table;
use crate::patch::offload_blocking;
use crate::patch::pthread::real;
use crate::thread::offload::WorkKind;
use libc::{c_int, c_uint, c_ulong, c_void, socklen_t};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// A raw answer that is a number, if it is one: it was just given out, as a duplicate of `old`.
fn duplicated(old: c_int, answer: isize) -> isize {
    if answer >= 0 {
        fd_table::forget(answer as c_int);
        if fd_table::is_own_listener(old) {
            fd_table::note_listener(answer as c_int);
        }
    }
    answer
}

/// The raw answer of a call that makes two.
///
/// # Safety
/// If it is 0, both numbers can be read.
pub(super) unsafe fn made_pair(answer: isize, pair: *const c_int) -> isize {
    if answer == 0 {
        // SAFETY: the caller's.
        unsafe { [*pair, *pair.add(1)] }.into_iter().for_each(fd_table::forget);
    }
    answer
}

/// Closes a descriptor that nobody else has.
pub(super) fn close_ours(fd: c_int) {
    fd_table::forget(fd);
    // SAFETY: no pointers; it is ours.
    unsafe { kernel(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// See close(2). Whoever waits for it is woken, and told EBADF.
#[unsafe(no_mangle)]
extern "C" fn close(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    let close = || fd_table::closing(fd, || unsafe { kernel(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) });
    let answer = while_it_lingers(fd, close);
    file_lock::returned();
    with_errno(answer) as c_int
}

/// Calls `close`, which gives `fd` up. What lingers is then still open as a duplicate; an OS thread of the pool closes
/// that, and so waits until all is sent, while the others run. Answers as `close`.
fn while_it_lingers(fd: c_int, close: impl FnOnce() -> isize) -> isize {
    let duplicate = match hub().filter(|_| lingers(fd)) {
        // SAFETY: no pointers.
        Some(_) => unsafe {
            kernel(libc::SYS_fcntl, [fd as usize, libc::F_DUPFD_CLOEXEC as usize, 0, 0, 0, 0])
        },
        None => failed(libc::EBADF),
    };
    let answer = close();
    if duplicate >= 0 {
        fd_table::forget(duplicate as c_int);
        offload_blocking(WorkKind::ExternalWait, "a connection to be closed", move || {
            // SAFETY: no pointers; it is ours.
            unsafe { kernel(libc::SYS_close, [duplicate as usize, 0, 0, 0, 0, 0]) }
        });
    }
    answer
}

/// Some socket was told to linger.
static LINGER: AtomicBool = AtomicBool::new(false);

/// Whether to close it waits until all is sent.
fn lingers(fd: c_int) -> bool {
    if !LINGER.load(Relaxed) {
        return false;
    }
    let mut linger = libc::linger { l_onoff: 0, l_linger: 0 };
    let mut len = size_of::<libc::linger>() as socklen_t;
    let room = (&raw mut linger as usize, &raw mut len as usize);
    let args = [fd as usize, libc::SOL_SOCKET as usize, libc::SO_LINGER as usize, room.0, room.1, 0];
    // SAFETY: room for it, and its length.
    unsafe { kernel(libc::SYS_getsockopt, args) == 0 && linger.l_onoff != 0 && linger.l_linger > 0 }
}

/// See close_range(2).
#[unsafe(no_mangle)]
extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    if flags as c_uint & libc::CLOSE_RANGE_CLOEXEC == 0 && first <= last {
        fd_table::forget_range(first, last);
    }
    // SAFETY: no pointers.
    with_errno(unsafe {
        kernel(libc::SYS_close_range, [first as usize, last as usize, flags as usize, 0, 0, 0])
    }) as c_int
}

/// See closefrom(3).
#[unsafe(no_mangle)]
extern "C" fn closefrom(first: c_int) {
    fd_table::forget_range(first.max(0) as c_uint, c_uint::MAX);
    // SAFETY: no preconditions.
    unsafe { real::closefrom(first) };
}

/// See dup(2).
#[unsafe(no_mangle)]
extern "C" fn dup(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    with_errno(duplicated(fd, unsafe { kernel(libc::SYS_dup, [fd as usize, 0, 0, 0, 0, 0]) })) as c_int
}

fn is_open(fd: c_int) -> bool {
    // SAFETY: no pointers.
    unsafe { kernel(libc::SYS_fcntl, [fd as usize, libc::F_GETFD as usize, 0, 0, 0, 0]) >= 0 }
}

/// See dup2(2). Whoever waits for what `new` was is woken.
#[unsafe(no_mangle)]
extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    if old == new {
        return with_errno(if is_open(old) { new as isize } else { failed(libc::EBADF) }) as c_int;
    }
    dup3(old, new, 0)
}

/// See pipe2(2).
///
/// # Safety
/// As pipe2(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pipe2(pair: *mut c_int, flags: c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let answer = kernel(libc::SYS_pipe2, [pair as usize, flags as usize, 0, 0, 0, 0]);
        with_errno(made_pair(answer, pair)) as c_int
    }
}

/// See pipe(2).
///
/// # Safety
/// As pipe(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pipe(pair: *mut c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe { pipe2(pair, 0) }
}

/// See dup3(2).
#[unsafe(no_mangle)]
extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    let args = [old as usize, new as usize, flags as usize, 0, 0, 0];
    // SAFETY: no pointers.
    let replace = || unsafe { kernel(libc::SYS_dup3, args) };
    // What is refused closes nothing.
    let is_refused = old == new || !is_open(old);
    with_errno(if is_refused { replace() } else { while_it_lingers(new, || fd_table::closing(new, replace)) })
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
pub(super) unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's.
    let answer = unsafe {
        file_lock::lock(fd, command, argument)
            .unwrap_or_else(|| kernel(libc::SYS_fcntl, [fd as usize, command as usize, argument, 0, 0, 0]))
    };
    with_errno(match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => duplicated(fd, answer),
        libc::F_SETFL => {
            settings_changed();
            answer
        }
        libc::F_OFD_SETLK if answer >= 0 => {
            file_lock::returned();
            answer
        }
        _ => answer,
    }) as c_int
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
    match option {
        libc::SO_RCVTIMEO | libc::SO_SNDTIMEO if level == libc::SOL_SOCKET => settings_changed(),
        libc::SO_LINGER if level == libc::SOL_SOCKET => LINGER.store(true, Relaxed),
        _ => {}
    }
    with_errno(answer) as c_int
}
