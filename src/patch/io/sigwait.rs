//! Waiting for signals: by a descriptor that is readable while one of them is pending (`signalfd`), which is only
//! waited for and never read from.
//!
//! Next: `patch/io/wait_any.rs`, the loop of these calls.

use super::blocking::hub;
use super::mask::{Mask, SET_SIZE, pending_signals};
use super::wait_any::{wait_any, with_limit};
use crate::hub::EAGAIN;
use crate::ids::Direction;
use crate::patch::symbol::{failed, interpose, kernel, with_errno};
use crate::sys::sigset::Signals;
use crate::sys::timespec::ZERO;
use libc::{c_int, siginfo_t, sigset_t, timespec};
use std::ptr::{null, null_mut};
use std::time::Duration;

/// Waits for one of a set of signals, which the program has blocked. Returns its number.
///
/// # Safety
/// As sigtimedwait(2).
unsafe fn wait_for_signal(set: *const sigset_t, info: *mut siginfo_t, timeout: *const timespec) -> isize {
    let call = |timeout: *const timespec| {
        let args = [set as usize, info as usize, timeout as usize, SET_SIZE];
        // SAFETY: the caller's contract.
        unsafe { kernel(libc::SYS_rt_sigtimedwait, args) }
    };
    let Some(hub) = hub() else { return call(timeout) };
    let wait = |limit| {
        let first = call(&raw const ZERO);
        if first != EAGAIN || limit == Some(Duration::ZERO) {
            return first;
        }
        // SAFETY: the kernel has read the set.
        let Some(pending) = pending_signals(Signals::of(unsafe { &*set })) else {
            return call(timeout);
        };
        let look = || match call(&raw const ZERO) {
            EAGAIN => 0,
            answer => answer,
        };
        match wait_any(hub, limit, &Mask::NONE, || vec![(pending.0, Direction::Read)], look) {
            0 => EAGAIN,
            answer => answer,
        }
    };
    // SAFETY: null, or the caller's.
    unsafe { with_limit(timeout, wait) }
}

const SIGNAL: &str = "parks until one of the signals is pending";

interpose! { Io;
    /// See sigtimedwait(2).
    fn sigtimedwait(set: *const sigset_t, info: *mut siginfo_t, timeout: *const timespec) -> c_int,
        "C" => SIGNAL;
    {
        let answer = wait_for_signal(set, info, timeout);
        // A signal sent by `raise` looks like one sent by `kill`, as in C.
        if let Some(info) = info.as_mut().filter(|info| answer > 0 && info.si_code == libc::SI_TKILL) {
            info.si_code = libc::SI_USER;
        }
        with_errno(answer)
    }

    /// See sigwaitinfo(2).
    fn sigwaitinfo(set: *const sigset_t, info: *mut siginfo_t) -> c_int, "C" => SIGNAL;
    { sigtimedwait(set, info, null()) }

    /// See sigwait(3): returns 0 or an error number, and never EINTR.
    fn sigwait(set: *const sigset_t, signal: *mut c_int) -> c_int, "C" => SIGNAL;
    {
        const EINTR: isize = failed(libc::EINTR);
        loop {
            match wait_for_signal(set, null_mut(), null()) {
                EINTR => {}
                number @ 1.. => {
                    *signal = number as c_int;
                    break 0;
                }
                error => break -error as c_int,
            }
        }
    }

    /// See signalfd(2). The caller means to wait for those of the signals that it has blocked.
    fn signalfd(fd: c_int, set: *const sigset_t, flags: c_int) -> c_int,
        "C" => "what is blocked by a green thread, and is in the set, is blocked for all from then on";
    {
        let answer = kernel(libc::SYS_signalfd4, [fd as usize, set as usize, SET_SIZE, flags as usize]);
        if let Some(hub) = hub().filter(|_| answer >= 0) {
            // The kernel has read the set.
            hub.hold(Signals::of(&*set));
        }
        with_errno(answer)
    }

    /// See pause(2). A handler is noticed if the hub was idle when it ran, and not if another green thread was running.
    /// std also calls `pause` to hold every thread that calls `exit` after the first one. Such a thread must stay in
    /// the kernel, because exit no longer waits for it (`thread/non_daemon.rs`).
    fn pause() -> c_int, "std::process::exit, C" => "parks until a handler has run while the hub was idle";
    {
        with_errno(match hub().filter(|_| !crate::sys::exit_hooks::has_begun()) {
            Some(hub) => wait_any(hub, None, &Mask::NONE, Vec::new, || 0),
            // Not every processor has the call of that name.
            None => kernel(libc::SYS_ppoll, []),
        })
    }

    /// See sigsuspend(2).
    fn sigsuspend(mask: *const sigset_t) -> c_int,
        "C" => "parks until a signal that the mask lets in is handled";
    {
        with_errno(match hub().filter(|_| !mask.is_null()) {
            Some(hub) => {
                let mask = Mask::new(mask);
                wait_any(hub, None, &mask, Vec::new, || mask.deliver())
            }
            None => kernel(libc::SYS_rt_sigsuspend, [mask as usize, SET_SIZE]),
        })
    }
}
