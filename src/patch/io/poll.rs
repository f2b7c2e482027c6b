//! `poll` and `ppoll`.

use super::sigwait::Mask;
use super::wait_any::{self, Wanted};
use super::{ZERO, failed, hub, kernel, length, timespec_of, with_errno};
use crate::hub::Hub;
use crate::ids::Direction;
use libc::{c_int, c_short, nfds_t, pollfd, sigset_t, timespec};
use std::ptr::null;
use std::time::Duration;

/// What of `events` is so now; not 0 as well for what is broken or not open.
pub(super) fn now(fd: c_int, events: c_short) -> c_short {
    let mut fd = pollfd { fd, events, revents: 0 };
    look(&raw mut fd, 1, &Mask::NONE);
    fd.revents
}

/// Asks the kernel, which does not wait. Answers how many are ready.
fn look(fds: *mut pollfd, count: nfds_t, mask: &Mask) -> isize {
    let args = [fds as usize, count as usize, &raw const ZERO as usize, mask.as_ptr() as usize, 8, 0];
    // SAFETY: the callers give descriptors in memory of that length.
    unsafe { kernel(libc::SYS_ppoll, args) }
}

/// What to park for. What is asked for nothing is waited for all the same: it may break.
fn wanted(fd: &pollfd) -> impl Iterator<Item = Wanted> + use<> {
    const WRITE: c_short = libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND;
    let write = (fd.events & WRITE != 0).then_some((fd.fd, Direction::Write));
    let read = (fd.events & !WRITE != 0 || write.is_none()).then_some((fd.fd, Direction::Read));
    read.into_iter().chain(write)
}

/// # Safety
/// As ppoll(2).
unsafe fn wait(hub: &Hub, fds: *mut pollfd, count: nfds_t, limit: Option<Duration>, mask: Mask) -> isize {
    let all = || match count {
        // To wait for nothing is a way to sleep, and then there may be no memory at all.
        0 => Vec::new(),
        // SAFETY: the caller's; the kernel has looked at it, so that much memory is there.
        _ => unsafe { std::slice::from_raw_parts(fds, count as usize) }
            .iter()
            .filter(|fd| fd.fd >= 0)
            .flat_map(wanted)
            .collect(),
    };
    let deadline = limit.map(|limit| hub.clock().after(limit));
    let mut left = limit;
    loop {
        let answer = wait_any::wait(hub, left, &mask, all, || look(fds, count, &mask));
        if answer != failed(libc::EBADF) {
            return answer;
        }
        // Here that is not an error of the call's: the kernel says which of them is not open. If none is, the number is
        // another's already, and is looked at as such, like by who comes now.
        left = deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(hub.clock().now())));
    }
}

/// With a hub or without.
///
/// # Safety
/// As ppoll(2).
unsafe fn poll_for(fds: *mut pollfd, count: nfds_t, limit: Option<Duration>, mask: *const sigset_t) -> c_int {
    // SAFETY: the caller's.
    with_errno(unsafe {
        match hub() {
            Some(hub) => wait(hub, fds, count, limit, Mask::new(mask)),
            None => {
                // The kernel writes to it.
                let mut time = limit.map(timespec_of);
                let time = time.as_mut().map_or(null(), |time| &raw const *time);
                let args = [fds as usize, count as usize, time as usize, mask as usize, 8, 0];
                kernel(libc::SYS_ppoll, args)
            }
        }
    }) as c_int
}

/// See poll(2).
///
/// # Safety
/// As poll(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe { poll_for(fds, count, u64::try_from(timeout).ok().map(Duration::from_millis), null()) }
}

/// See poll(2): what it becomes when C is compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As poll(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __poll_chk(fds: *mut pollfd, count: nfds_t, timeout: c_int, room: usize) -> c_int {
    super::socket::assert_room(count as usize * size_of::<pollfd>(), room);
    // SAFETY: the caller's.
    unsafe { poll(fds, count, timeout) }
}

/// See ppoll(2).
///
/// # Safety
/// As ppoll(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: null, or the caller's.
    match unsafe { timeout.as_ref() }.copied().map(length).transpose() {
        // SAFETY: the caller's.
        Ok(limit) => unsafe { poll_for(fds, count, limit, mask) },
        Err(number) => with_errno(failed(number)) as c_int,
    }
}

/// See ppoll(2): what it becomes when C is compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As ppoll(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    room: usize,
) -> c_int {
    super::socket::assert_room(count as usize * size_of::<pollfd>(), room);
    // SAFETY: the caller's.
    unsafe { ppoll(fds, count, timeout, mask) }
}
