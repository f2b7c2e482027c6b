//! Waiting for a child: by a descriptor that stands for it (`pidfd_open`, Linux 5.3), so without a signal handler.
//!
//! Such a descriptor is readable when its child has ended, and not when it stops or goes on; nor is there one for "any
//! child", of which there may be more by and by. Those are asked for at intervals, of 20 ms at most.

use super::retry::{insist, pause, retry};
use super::{failed, hub, kernel, with_errno};
use crate::fd_table;
use crate::hub::Hub;
use crate::ids::Direction;
use crate::patch::offload_blocking;
use crate::patch::pthread::real;
use crate::sys::signals_blocked::with_signals_blocked;
use crate::sys::sigset::Signals;
use crate::thread::offload::WorkKind;
use crate::time::NEVER;
use libc::{FILE, c_char, c_int, id_t, idtype_t, pid_t, rusage, siginfo_t};
use std::ptr::null_mut;

/// Asks until there is an answer; `ask` does not wait, and answers EAGAIN. Parks in between, until `child` ends if it is
/// that alone.
fn wait_for(hub: &Hub, child: Option<pid_t>, mut ask: impl FnMut() -> isize) -> isize {
    loop {
        let answer = ask();
        if answer != failed(libc::EAGAIN) {
            return answer;
        }
        let Some(child) = child.and_then(stand_in) else { return insist(hub, NEVER, ask) };
        let waited = pause(hub, child, Direction::Read, NEVER);
        if waited == Err(libc::EBADF) {
            // Somebody has closed it, without a look (close_range(2)); by now its number may be another's.
            continue;
        }
        super::fd::close_ours(child);
        if let Err(number) = waited {
            return failed(number);
        }
    }
}

/// A descriptor that is readable when that child has ended. `None`: on an old kernel, and where none is left.
fn stand_in(child: pid_t) -> Option<c_int> {
    // SAFETY: no pointers.
    let fd = unsafe { kernel(libc::SYS_pidfd_open, [child as usize, 0, 0, 0, 0, 0]) } as c_int;
    if fd < 0 {
        return None;
    }
    fd_table::forget(fd);
    Some(fd)
}

/// The hub, if the call is to wait.
fn hub_to_wait(options: c_int) -> Option<&'static Hub> {
    let hub = hub()?;
    if options & libc::WNOHANG == 0 {
        return Some(hub);
    }
    hub.yield_if_polling();
    None
}

/// See wait4(2).
///
/// # Safety
/// As wait4(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    let call = |options: c_int| {
        let args = [pid as usize, status as usize, options as usize, usage as usize, 0, 0];
        // SAFETY: the caller's.
        unsafe { kernel(libc::SYS_wait4, args) }
    };
    let Some(hub) = hub_to_wait(options) else { return with_errno(call(options)) as pid_t };
    let ends_only = options & (libc::WUNTRACED | libc::WCONTINUED) == 0;
    let ask = || match call(options | libc::WNOHANG) {
        0 => failed(libc::EAGAIN),
        answer => answer,
    };
    with_errno(wait_for(hub, Some(pid).filter(|&pid| pid > 0 && ends_only), ask)) as pid_t
}

/// See waitpid(2).
///
/// # Safety
/// As waitpid(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // SAFETY: the caller's.
    unsafe { wait4(pid, status, options, null_mut()) }
}

/// See wait(2).
///
/// # Safety
/// As wait(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn wait(status: *mut c_int) -> pid_t {
    // SAFETY: the caller's.
    unsafe { wait4(-1, status, 0, null_mut()) }
}

/// See wait3(2).
///
/// # Safety
/// As wait3(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    // SAFETY: the caller's.
    unsafe { wait4(-1, status, options, usage) }
}

/// See pclose(3). The C library knows the child and nobody else does; so an OS thread of the pool has it wait.
///
/// # Safety
/// As pclose(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pclose(stream: *mut FILE) -> c_int {
    if hub().is_none() {
        // SAFETY: the caller's.
        return unsafe { real::pclose(stream) };
    }
    let stream = stream as usize;
    // SAFETY: the caller's; it waits until we have done.
    status_of("the child of a popen", move || unsafe { real::pclose(stream as *mut FILE) })
}

/// See system(3). The C library does all of it; an OS thread of the pool has it do so, with the caller's signals, for the
/// child is to have those.
///
/// # Safety
/// As system(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn system(command: *const c_char) -> c_int {
    // Null asks whether there is a shell.
    if command.is_null() || hub().is_none() {
        // SAFETY: the caller's.
        return unsafe { real::system(command) };
    }
    let (command, signals) = (command as usize, Signals::blocked());
    status_of("the command of a system", move || {
        // SAFETY: the caller's; it waits until we have done.
        with_signals_blocked(signals, || unsafe { real::system(command as *const c_char) })
    })
}

/// What `wait` answers, by an OS thread of the pool: how a child has ended, or -1 and an error number.
fn status_of(what: &'static str, wait: impl FnOnce() -> c_int + Send) -> c_int {
    let answer = offload_blocking(WorkKind::ExternalWait, what, || match wait() {
        // SAFETY: the address is this thread's own.
        -1 => failed(unsafe { *libc::__errno_location() }),
        status => status as isize,
    });
    with_errno(answer) as c_int
}

/// See waitid(2).
///
/// # Safety
/// As waitid(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int {
    let call = |info: *mut siginfo_t, options: c_int| {
        let args = [kind as usize, id as usize, info as usize, options as usize, 0, 0];
        // SAFETY: the caller's, or ours.
        unsafe { kernel(libc::SYS_waitid, args) }
    };
    let Some(hub) = hub_to_wait(options) else { return with_errno(call(info, options)) as c_int };
    // Whether there was one is said only there.
    // SAFETY: all zeros is a value of it.
    let mut ours: siginfo_t = unsafe { std::mem::zeroed() };
    let answer = {
        let ask = || match call(&raw mut ours, options | libc::WNOHANG) {
            // SAFETY: the kernel has filled it in.
            0 if unsafe { ours.si_pid() } == 0 => failed(libc::EAGAIN),
            answer => answer,
        };
        let ends_only = options & (libc::WSTOPPED | libc::WCONTINUED) == 0;
        match kind {
            libc::P_PIDFD if ends_only => {
                // A descriptor of the program's, which it may have made non-blocking: then the kernel says EAGAIN.
                retry(hub, id as c_int, Direction::Read, true, ask)
            }
            libc::P_PID if ends_only => wait_for(hub, Some(id as pid_t), ask),
            _ => wait_for(hub, None, ask),
        }
    };
    if answer == 0 && !info.is_null() {
        // SAFETY: the caller's.
        unsafe { *info = ours };
    }
    with_errno(answer) as c_int
}
