//! Waiting for a child: by a descriptor that stands for it (`pidfd_open`, Linux 5.3), so without a signal handler.
//!
//! Such a descriptor is readable when its child has ended, and not when the child stops or continues; nor is there one
//! for "any child". Those are polled with exponential backoff.
//!
//! Next: `hub/retry.rs`, which waits and polls.

use super::blocking::{hub, offload, poll_until, retry, retry_until};
use super::fd::OwnFd;
use crate::hub::{EAGAIN, Hub, Tracking};
use crate::ids::Direction;
use crate::patch::symbol::{failed, interpose, kernel, with_errno};
use crate::sys::sigset::Signals;
use crate::thread::offload::WorkKind;
use crate::time::NEVER;
use libc::{FILE, c_char, c_int, id_t, idtype_t, pid_t, rusage, siginfo_t};
use std::mem::forget;
use std::ptr::null_mut;

/// Calls `ask`, which must not block, until it returns something else than EAGAIN. Parks in between: until `child`
/// ends, or, if there is not only one, at intervals.
fn wait_for(hub: &'static Hub, child: Option<pid_t>, mut ask: impl FnMut() -> isize) -> isize {
    let first = ask();
    if first != EAGAIN {
        return first;
    }
    while let Some(pidfd) = child.and_then(open_pidfd) {
        let until = || Some(NEVER);
        match retry_until(hub, pidfd.0, Direction::Read, Tracking::Complete, until, &mut ask) {
            // The program has closed it unseen (close_range(2)). By now its number may be another's.
            closed if closed == failed(libc::EBADF) => forget(pidfd),
            answer => return answer,
        }
    }
    poll_until(hub, NEVER, "a child process", None, ask)
}

/// Returns a descriptor that is readable when the child has ended. `None`: the kernel is too old, or no descriptor is
/// left.
fn open_pidfd(child: pid_t) -> Option<OwnFd> {
    // SAFETY: no pointers.
    OwnFd::new(unsafe { kernel(libc::SYS_pidfd_open, [child as usize, 0]) })
}

/// Returns the hub, if the call is to wait.
fn hub_to_wait(options: c_int) -> Option<&'static Hub> {
    let hub = hub()?;
    if options & libc::WNOHANG == 0 {
        return Some(hub);
    }
    hub.yield_if_polling();
    None
}

/// # Safety
/// As wait4(2).
unsafe fn wait_child(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    let call = |options: c_int| {
        let args = [pid as usize, status as usize, options as usize, usage as usize];
        // SAFETY: the caller's contract.
        unsafe { kernel(libc::SYS_wait4, args) }
    };
    let Some(hub) = hub_to_wait(options) else { return with_errno(call(options)) };
    let ends_only = options & (libc::WUNTRACED | libc::WCONTINUED) == 0;
    let ask = || match call(options | libc::WNOHANG) {
        0 => EAGAIN,
        answer => answer,
    };
    with_errno(wait_for(hub, Some(pid).filter(|&pid| pid > 0 && ends_only), ask))
}

/// # Safety
/// As waitid(2).
unsafe fn wait_id(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> isize {
    let call = |info: *mut siginfo_t, options: c_int| {
        let args = [kind as usize, id as usize, info as usize, options as usize, 0];
        // SAFETY: the caller's contract, or memory of this frame.
        unsafe { kernel(libc::SYS_waitid, args) }
    };
    let Some(hub) = hub_to_wait(options) else { return call(info, options) };
    // The kernel says only there whether there was a child.
    // SAFETY: all zeros is a valid value.
    let mut ours: siginfo_t = unsafe { std::mem::zeroed() };
    let ask = || match call(&raw mut ours, options | libc::WNOHANG) {
        // SAFETY: the kernel has filled it in.
        0 if unsafe { ours.si_pid() } == 0 => EAGAIN,
        answer => answer,
    };
    let ends_only = options & (libc::WSTOPPED | libc::WCONTINUED) == 0;
    let answer = match kind {
        // A descriptor of the program's, which it may have made non-blocking: then the kernel says EAGAIN.
        libc::P_PIDFD if ends_only => retry(hub, id as c_int, Direction::Read, Tracking::MayBeStale, ask),
        libc::P_PID if ends_only => wait_for(hub, Some(id as pid_t), ask),
        _ => wait_for(hub, None, ask),
    };
    if answer == 0 && !info.is_null() {
        // SAFETY: the caller's contract.
        unsafe { *info = ours };
    }
    answer
}

const CHILD: &str = "parks until that child ends; for any child, or one that stops, looks at intervals";
const OFFLOADS: &str = "parks while another OS thread does it";

interpose! { Io;
    /// See waitpid(2).
    fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t, "std::process, C" => CHILD;
    { wait_child(pid, status, options, null_mut()) }

    /// See wait4(2).
    fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t,
        "std::process, C" => CHILD;
    { wait_child(pid, status, options, usage) }

    /// See waitid(2).
    fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int,
        "std::process, C" => CHILD;
    { with_errno(wait_id(kind, id, info, options)) }

    /// See wait(2).
    fn wait(status: *mut c_int) -> pid_t, "C" => CHILD;
    { wait_child(-1, status, 0, null_mut()) }

    /// See wait3(2).
    fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t, "C" => CHILD;
    { wait_child(-1, status, options, usage) }

    /// See pclose(3). Only the C library knows the child. So an OS thread of the pool has it wait.
    fn pclose(stream: *mut FILE) -> c_int, "C" => OFFLOADS;
    { offload(hub(), WorkKind::ExternalWait, "the child of a popen", || Real::pclose(stream)) }

    /// See system(3). The C library does all of it. So an OS thread of the pool has it do so, with the caller's
    /// signals, because the child is to have those.
    fn system(command: *const c_char) -> c_int, "C" => OFFLOADS;
    {
        // Null asks whether there is a shell.
        if command.is_null() || hub().is_none() {
            return Real::system(command);
        }
        let signals = Signals::blocked();
        let call = || signals.while_blocked(|| Real::system(command));
        offload(hub(), WorkKind::ExternalWait, "the command of a system", call)
    }
}
