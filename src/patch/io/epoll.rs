//! `epoll_wait` and its relatives: the event loops of mio and tokio, of libevent and libuv, in a green thread.
//!
//! An epoll instance is itself a descriptor that is readable while it has something to tell. So the hub's own instance
//! waits for it like for any other, and it is asked without waiting. That ours is edge-triggered does no harm where
//! theirs is not: what stays ready is told as soon as it is asked for, and we park only when it had nothing to tell.

use super::sigwait::Mask;
use super::wait_any;
use super::{failed, hub, kernel, length, timespec_of, with_errno};
use crate::ids::Direction;
use libc::{c_int, epoll_event, sigset_t, timespec};
use std::ptr::null;
use std::time::Duration;

/// # Safety
/// As epoll_pwait2(2).
unsafe fn wait(
    epoll: c_int,
    events: *mut epoll_event,
    most: c_int,
    limit: Option<Duration>,
    mask: *const sigset_t,
    in_kernel: impl FnOnce() -> isize,
) -> c_int {
    let Some(hub) = hub() else { return with_errno(in_kernel()) as c_int };
    // SAFETY: the caller's.
    let mask = unsafe { Mask::new(mask) };
    let look = || {
        // By a call that there is on every kernel and processor.
        let args = [epoll as usize, events as usize, most as usize, 0, 0, 8];
        // SAFETY: the caller's.
        match unsafe { kernel(libc::SYS_epoll_pwait, args) } {
            // Asked not to wait, it does not deliver.
            0 => mask.deliver(),
            answer => answer,
        }
    };
    with_errno(wait_any::wait(hub, limit, &mask, || vec![(epoll, Direction::Read)], look)) as c_int
}

/// See epoll_pwait(2).
///
/// # Safety
/// As epoll_pwait(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait(
    epoll: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    let limit = u64::try_from(timeout).ok().map(Duration::from_millis);
    let args = [epoll as usize, events as usize, most as usize, timeout as usize, mask as usize, 8];
    // SAFETY: the caller's.
    unsafe { wait(epoll, events, most, limit, mask, || kernel(libc::SYS_epoll_pwait, args)) }
}

/// See epoll_wait(2).
///
/// # Safety
/// As epoll_wait(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout: c_int,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { epoll_pwait(epoll, events, most, timeout, null()) }
}

/// See epoll_pwait2(2).
///
/// # Safety
/// As epoll_pwait2(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait2(
    epoll: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: null, or the caller's.
    let limit = match unsafe { timeout.as_ref() }.copied().map(length).transpose() {
        Ok(limit) => limit,
        Err(number) => return with_errno(failed(number)) as c_int,
    };
    let in_kernel = || {
        let time = limit.map(timespec_of);
        let time = time.as_ref().map_or(null(), |time| &raw const *time);
        let args = [epoll as usize, events as usize, most as usize, time as usize, mask as usize, 8];
        // SAFETY: the caller's.
        unsafe { kernel(libc::SYS_epoll_pwait2, args) }
    };
    // SAFETY: the caller's.
    unsafe { wait(epoll, events, most, limit, mask, in_kernel) }
}
