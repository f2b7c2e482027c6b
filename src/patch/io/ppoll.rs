//! `poll` and `ppoll`.
//!
//! Next: `patch/io/wait_any.rs`, the loop of these calls.

use super::blocking::hub;
use super::mask::{Mask, SET_SIZE};
use super::wait_any::{Wanted, wait_any, with_limit};
use crate::ids::Direction;
use crate::patch::symbol::{assert_room, failed, interpose, kernel, with_errno};
use crate::sys::timespec::{ZERO, timespec_of};
use libc::{c_int, c_short, nfds_t, pollfd, sigset_t, timespec};
use std::ptr::null;
use std::time::Duration;

/// Returns what to park for. A descriptor with no events is waited for as well, because it may break.
fn wanted(fd: &pollfd) -> impl Iterator<Item = Wanted> + use<> {
    const WRITE: c_short = libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND;
    let write = (fd.events & WRITE != 0).then_some((fd.fd, Direction::Write));
    let read = (fd.events & !WRITE != 0 || write.is_none()).then_some((fd.fd, Direction::Read));
    read.into_iter().chain(write)
}

/// Waits on a hub or in the kernel.
///
/// # Safety
/// As ppoll(2).
unsafe fn poll_for(fds: *mut pollfd, count: nfds_t, limit: Option<Duration>, mask: *const sigset_t) -> isize {
    let call = |time: *const timespec, mask: usize| {
        let args = [fds as usize, count as usize, time as usize, mask, SET_SIZE];
        // SAFETY: the caller's contract.
        unsafe { kernel(libc::SYS_ppoll, args) }
    };
    let Some(hub) = hub() else {
        // The kernel writes to it.
        let mut time = limit.map(timespec_of);
        return call(time.as_mut().map_or(null(), |time| &raw const *time), mask as usize);
    };
    // SAFETY: the caller's contract.
    let mask = unsafe { Mask::new(mask) };
    let look = || call(&raw const ZERO, mask.as_ptr() as usize);
    let all = || match count {
        // To wait for nothing is a way to sleep, and then there may be no memory at all.
        0 => Vec::new(),
        // SAFETY: the caller's contract. The kernel has looked at the list, so that much memory is there.
        _ => unsafe { std::slice::from_raw_parts(fds, count as usize) }
            .iter()
            .filter(|fd| fd.fd >= 0)
            .flat_map(wanted)
            .collect(),
    };
    let deadline = limit.map(|limit| hub.clock().after(limit));
    let mut left = limit;
    loop {
        let answer = wait_any(hub, left, &mask, all, look);
        if answer != failed(libc::EBADF) {
            return answer;
        }
        // To these calls a closed descriptor is no error: the kernel says which of them is not open. If all are open,
        // the number is another's already, and is looked at as such, as by a caller that comes now.
        left = deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(hub.clock().now())));
    }
}

interpose! { Io;
    /// See poll(2).
    fn poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int,
        "std::process, std::net, C" => "parks until one is ready";
    { with_errno(poll_for(fds, count, u64::try_from(timeout).ok().map(Duration::from_millis), null())) }

    /// See ppoll(2).
    fn ppoll(fds: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int,
        "C" => "the same; what its mask lets in is delivered meanwhile";
    { with_errno(with_limit(timeout, |limit| poll_for(fds, count, limit, mask))) }

    /// See poll(2): its name when C is compiled with `_FORTIFY_SOURCE`.
    fn __poll_chk(fds: *mut pollfd, count: nfds_t, timeout: c_int, room: usize) -> c_int, "C" => "as poll";
    { assert_room(count as usize * size_of::<pollfd>(), room); poll(fds, count, timeout) }

    /// See ppoll(2): its name when C is compiled with `_FORTIFY_SOURCE`.
    fn __ppoll_chk(fds: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const sigset_t,
        room: usize) -> c_int, "C" => "as ppoll";
    { assert_room(count as usize * size_of::<pollfd>(), room); ppoll(fds, count, timeout, mask) }
}
