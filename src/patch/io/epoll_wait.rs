//! `epoll_wait` and its relatives: the event loops of mio and tokio, of libevent and libuv, in a green thread.
//!
//! An epoll instance is itself a descriptor, which is readable while it has events. So the hub's own instance waits for
//! it like for any other, and then the program's instance is asked without waiting. The hub's registration is
//! edge-triggered, which does no harm where the program's is not: an event that stays is returned as soon as the
//! instance is asked, and the green thread parks only when the instance had none.
//!
//! Next: `patch/io/wait_any.rs`, the loop of these calls.

use super::blocking::hub;
use super::mask::{Mask, SET_SIZE};
use super::wait_any::{wait_any, with_limit};
use crate::ids::Direction;
use crate::patch::symbol::{interpose, kernel, with_errno};
use libc::{c_int, c_long, epoll_event, sigset_t, timespec};
use std::ptr::null;
use std::time::Duration;

/// Waits on a hub for up to `limit`, or else by the system call `plain` with its own form of the timeout.
///
/// # Safety
/// As epoll_pwait2(2).
unsafe fn wait(
    (plain, timeout): (c_long, usize),
    epoll: c_int,
    (events, most): (*mut epoll_event, c_int),
    limit: Option<Duration>,
    mask: *const sigset_t,
) -> isize {
    let call = |number: c_long, timeout: usize, mask: usize| {
        let args = [epoll as usize, events as usize, most as usize, timeout, mask, SET_SIZE];
        // SAFETY: the caller's contract.
        unsafe { kernel(number, args) }
    };
    let Some(hub) = hub() else { return call(plain, timeout, mask as usize) };
    // SAFETY: the caller's contract.
    let mask = unsafe { Mask::new(mask) };
    // By a call that every kernel and processor has.
    let look = || match call(libc::SYS_epoll_pwait, 0, 0) {
        // A call that does not wait does not deliver signals.
        0 => mask.deliver(),
        answer => answer,
    };
    wait_any(hub, limit, &mask, || vec![(epoll, Direction::Read)], look)
}

const ANY: &str = "parks until one is ready";

interpose! { Io;
    /// See epoll_wait(2).
    fn epoll_wait(epoll: c_int, events: *mut epoll_event, most: c_int, timeout: c_int) -> c_int,
        "mio, tokio, C" => ANY;
    { epoll_pwait(epoll, events, most, timeout, null()) }

    /// See epoll_pwait(2).
    fn epoll_pwait(epoll: c_int, events: *mut epoll_event, most: c_int, timeout: c_int,
        mask: *const sigset_t) -> c_int, "C" => "the same; what its mask lets in is delivered meanwhile";
    {
        let limit = u64::try_from(timeout).ok().map(Duration::from_millis);
        let plain = (libc::SYS_epoll_pwait, timeout as usize);
        with_errno(wait(plain, epoll, (events, most), limit, mask))
    }

    /// See epoll_pwait2(2).
    fn epoll_pwait2(epoll: c_int, events: *mut epoll_event, most: c_int, timeout: *const timespec,
        mask: *const sigset_t) -> c_int, "C" => "the same";
    {
        let plain = (libc::SYS_epoll_pwait2, timeout as usize);
        with_errno(with_limit(timeout, |limit| wait(plain, epoll, (events, most), limit, mask)))
    }
}
