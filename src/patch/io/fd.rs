//! The life of a descriptor: made, duplicated, set, closed. What has to be known of it is noted, patched or not.
//!
//! A number that is closed is forgotten ([`fd_table::with_closing_mark`]). It may also be closed unseen: by C's
//! `fclose`, or by a system call that the program makes itself. So calls that make sockets forget the new number,
//! because the kernel is not asked about sockets before each wait; and so do calls that make pipes or duplicates, so
//! that old waiters hear of it soon. All other calls that make descriptors (`eventfd`, `timerfd_create` ...) need not
//! be seen: a descriptor that is not known to be a socket is checked when the kernel would wait (`Hub::revalidate_fd`),
//! before any note is used.
//!
//! C declares `fcntl` and `ioctl` with a variable number of arguments. Both processors pass one further integer or
//! pointer as they would pass a plain word.
//!
//! Next: `fd_table.rs`, which knows the numbers.

use super::blocking::hub;
use super::fd_mode::{get_socket_option, mode_changed};
use super::file_lock;
use crate::fd_table;
use crate::patch::kind::offload_blocking;
use crate::patch::symbol::{failed, interpose, kernel, with_errno};
use crate::thread::offload::WorkKind;
use libc::{c_int, c_uint, c_ulong, c_void, socklen_t};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Tells `fd_table` of a new descriptor, if the raw answer is its number. The last owner of the number may have been
/// closed unseen.
pub(super) fn opened(answer: isize) -> isize {
    if answer >= 0 {
        fd_table::invalidate(answer as c_int);
    }
    answer
}

/// [`opened`], for a duplicate of `old`.
fn duplicated(old: c_int, answer: isize) -> isize {
    if opened(answer) >= 0 && fd_table::is_own_listener(old) {
        fd_table::note_listener(answer as c_int);
    }
    answer
}

/// Notes two new descriptors, if the raw answer says that there are.
///
/// # Safety
/// If the answer is 0, both numbers can be read.
pub(super) unsafe fn made_pair(answer: isize, pair: *const c_int) -> isize {
    if answer == 0 {
        // SAFETY: the caller's contract.
        unsafe { [*pair, *pair.add(1)] }.into_iter().for_each(fd_table::invalidate);
    }
    answer
}

/// A descriptor that only this crate knows. Closed when dropped.
pub(super) struct OwnFd(pub(super) c_int);

impl OwnFd {
    /// Returns the new descriptor. `None`: the raw answer is an error.
    pub(super) fn new(answer: isize) -> Option<OwnFd> {
        (opened(answer) >= 0).then(|| OwnFd(answer as c_int))
    }
}

impl Drop for OwnFd {
    fn drop(&mut self) {
        fd_table::invalidate(self.0);
        close_now(self.0);
    }
}

fn close_now(fd: c_int) -> isize {
    // SAFETY: no pointers.
    unsafe { kernel(libc::SYS_close, [fd as usize]) }
}

/// Calls `close`, which gives `fd` up, and returns its answer. The waiters of `fd` are woken. A socket that lingers is
/// then still open as a duplicate. An OS thread of the pool closes the duplicate, and so waits until all is sent, while
/// the others run.
fn close_with_linger_offloaded(fd: c_int, close: impl FnOnce() -> isize) -> isize {
    // SAFETY: no pointers.
    let duplicate = || unsafe { kernel(libc::SYS_fcntl, [fd as usize, libc::F_DUPFD_CLOEXEC as usize, 0]) };
    let duplicate = hub().filter(|_| lingers(fd)).and_then(|_| OwnFd::new(duplicate()));
    let answer = fd_table::with_closing_mark(fd, close);
    if let Some(duplicate) = duplicate {
        offload_blocking(WorkKind::ExternalWait, "a connection to be closed", || drop(duplicate));
    }
    answer
}

/// A socket lingers, or has lingered.
static LINGER: AtomicBool = AtomicBool::new(false);

/// Returns `true` if to close `fd` waits until all is sent.
fn lingers(fd: c_int) -> bool {
    let waits = |linger: libc::linger| linger.l_onoff != 0 && linger.l_linger > 0;
    // SAFETY: the option's type.
    LINGER.load(Relaxed) && unsafe { get_socket_option(fd, libc::SO_LINGER) }.is_ok_and(waits)
}

fn is_open(fd: c_int) -> bool {
    // SAFETY: no pointers.
    unsafe { kernel(libc::SYS_fcntl, [fd as usize, libc::F_GETFD as usize]) >= 0 }
}

/// Makes `new` a duplicate of `old`. The waiters of what `new` was are woken.
fn replace(old: c_int, new: c_int, flags: c_int) -> isize {
    // SAFETY: no pointers.
    let call = || unsafe { kernel(libc::SYS_dup3, [old as usize, new as usize, flags as usize]) };
    // A call that is refused closes nothing.
    let is_refused = old == new || !is_open(old);
    if is_refused { call() } else { close_with_linger_offloaded(new, call) }
}

/// # Safety
/// As fcntl(2).
unsafe fn control(fd: c_int, command: c_int, argument: usize) -> isize {
    // SAFETY: the caller's contract.
    let answer = unsafe { file_lock::fcntl(fd, command, argument) };
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => return duplicated(fd, answer),
        libc::F_SETFL => mode_changed(),
        libc::F_OFD_SETLK if answer >= 0 => file_lock::notify_unlocked(),
        _ => {}
    }
    answer
}

const NOTED: &str = "noted";
const CONTROLS: &str =
    "F_SETFL is noted; F_OFD_SETLKW as flock; F_SETLKW parks while another OS thread waits for the lock";

interpose! { Io;
    /// See close(2). The waiters of the descriptor are woken, with EBADF.
    fn close(fd: c_int) -> c_int, "std, C" =>
        "wakes the waiters of the descriptor, with EBADF; SO_LINGER: parks while another OS thread does it";
    {
        let answer = close_with_linger_offloaded(fd, || close_now(fd));
        file_lock::notify_unlocked();
        with_errno(answer)
    }

    /// See dup2(2).
    fn dup2(old: c_int, new: c_int) -> c_int,
        "std::process, C" => "wakes the waiters of the descriptor that is replaced";
    {
        with_errno(match old == new {
            true => if is_open(old) { new as isize } else { failed(libc::EBADF) },
            false => replace(old, new, 0),
        })
    }

    /// See dup3(2).
    fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int, "C" => "the same";
    { with_errno(replace(old, new, flags)) }

    /// See ioctl(2).
    fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int, "std::net, C" => "FIONBIO is noted";
    {
        let answer = kernel(libc::SYS_ioctl, [fd as usize, request as usize, argument]);
        if request == libc::FIONBIO as c_ulong {
            mode_changed();
        }
        with_errno(answer)
    }

    /// See fcntl(2).
    fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int, "std, C" => CONTROLS;
    { with_errno(control(fd, command, argument)) }

    /// See fcntl(2): its name for files of more than 2 GiB.
    fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int, "C" => "the same";
    { with_errno(control(fd, command, argument)) }

    /// See setsockopt(2).
    fn setsockopt(fd: c_int, level: c_int, option: c_int, value: *const c_void, len: socklen_t) -> c_int,
        "std::net, C" => "timeouts are noted";
    {
        let args = [fd as usize, level as usize, option as usize, value as usize, len as usize];
        let answer = kernel(libc::SYS_setsockopt, args);
        match option {
            libc::SO_RCVTIMEO | libc::SO_SNDTIMEO if level == libc::SOL_SOCKET => mode_changed(),
            libc::SO_LINGER if level == libc::SOL_SOCKET => LINGER.store(true, Relaxed),
            _ => {}
        }
        with_errno(answer)
    }

    /// See dup(2).
    fn dup(fd: c_int) -> c_int, "C" => NOTED;
    { with_errno(duplicated(fd, kernel(libc::SYS_dup, [fd as usize]))) }

    /// See pipe(2).
    fn pipe(pair: *mut c_int) -> c_int, "C" => NOTED;
    { pipe2(pair, 0) }

    /// See pipe2(2).
    fn pipe2(pair: *mut c_int, flags: c_int) -> c_int, "std::process, std::io::pipe, C" => NOTED;
    { with_errno(made_pair(kernel(libc::SYS_pipe2, [pair as usize, flags as usize]), pair)) }

    /// See close_range(2).
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int,
        "C" => "wakes the waiters of all of them, with EBADF";
    {
        if flags as c_uint & libc::CLOSE_RANGE_CLOEXEC == 0 && first <= last {
            fd_table::invalidate_range(first, last);
        }
        with_errno(kernel(libc::SYS_close_range, [first as usize, last as usize, flags as usize]))
    }

    /// See closefrom(3).
    fn closefrom(first: c_int), "C" => "the same";
    {
        fd_table::invalidate_range(first.max(0) as c_uint, c_uint::MAX);
        Real::closefrom(first)
    }
}
