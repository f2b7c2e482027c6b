//! Waiting for several descriptors at once.

use super::{failed, hub, kernel, with_errno};
use crate::hub::{Hub, Readiness, keep_errno};
use crate::reactor::Direction;
use crate::time::NEVER;
use libc::{c_int, c_short, nfds_t, pollfd, timespec};
use std::ptr::null;
use std::time::Duration;

/// What of `events` is so now; not 0 as well for what is broken or not open.
pub(super) fn now(fd: c_int, events: c_short) -> c_short {
    let mut fd = pollfd { fd, events, revents: 0 };
    look(&raw mut fd, 1);
    fd.revents
}

/// Asks the kernel, which does not wait. Answers how many are ready.
fn look(fds: *mut pollfd, count: nfds_t) -> isize {
    static ZERO: timespec = timespec { tv_sec: 0, tv_nsec: 0 };
    let args = [fds as usize, count as usize, &raw const ZERO as usize, 0, 0, 0];
    // SAFETY: the callers give descriptors in memory of that length.
    unsafe { kernel(libc::SYS_ppoll, args) }
}

/// Looks; parks until an edge of any; looks again.
///
/// # Safety
/// As poll(2).
unsafe fn wait(hub: &Hub, fds: *mut pollfd, count: nfds_t, timeout: Option<Duration>) -> isize {
    let ready = look(fds, count);
    if ready != 0 || timeout == Some(Duration::ZERO) {
        return ready;
    }
    let deadline = timeout.map_or(NEVER, |timeout| hub.clock().after(timeout));
    // To wait for nothing is a way to sleep, and then there may be no memory at all.
    let all: &[pollfd] = match count {
        0 => &[],
        // SAFETY: the caller's; poll(2) has answered, so that much memory is there.
        _ => unsafe { std::slice::from_raw_parts(fds, count as usize) },
    };
    let wanted: Vec<(c_int, Direction)> = all
        .iter()
        .filter(|fd| fd.fd >= 0)
        .flat_map(|fd| {
            // What is asked for nothing is waited for all the same: it may break.
            let read = (fd.events & libc::POLLOUT == 0 || fd.events & libc::POLLIN != 0)
                .then_some((fd.fd, Direction::Read));
            let write = (fd.events & libc::POLLOUT != 0).then_some((fd.fd, Direction::Write));
            read.into_iter().chain(write)
        })
        .collect();
    loop {
        let waited = keep_errno(|| hub.wait_fds(&wanted, deadline, true, hub.was_cut_short()));
        let ready = look(fds, count);
        match waited {
            _ if ready != 0 => return ready,
            Ok(Readiness::Ready | Readiness::Closed) => {}
            Ok(Readiness::Expired) => return 0,
            Ok(Readiness::Interrupted) => {
                hub.cut_short();
                keep_errno(|| hub.yield_now());
                return failed(libc::EINTR);
            }
            Err(error) => return failed(error.raw_os_error().unwrap_or(libc::ENOMEM)),
        }
    }
}

/// See poll(2).
///
/// # Safety
/// As poll(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    let limit = u64::try_from(timeout).ok().map(Duration::from_millis);
    let answer = match hub() {
        // SAFETY: the caller's.
        Some(hub) => unsafe { wait(hub, fds, count, limit) },
        None => {
            let time = limit
                .map(|limit| timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ });
            let time = time.as_ref().map_or(null(), |time| &raw const *time);
            // SAFETY: the caller's, and a time of ours, which the kernel may write to: it is a copy.
            unsafe { kernel(libc::SYS_ppoll, [fds as usize, count as usize, time as usize, 0, 0, 0]) }
        }
    };
    with_errno(answer) as c_int
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
    mask: *const libc::sigset_t,
) -> c_int {
    // SAFETY: null, or the caller's.
    let time = unsafe { timeout.as_ref() }.copied();
    let limit = time.map(|time| (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec)));
    let limit = match limit {
        None => Some(None),
        Some((Ok(seconds), Ok(nanos))) if nanos < 1_000_000_000 => Some(Some(Duration::new(seconds, nanos))),
        Some(_) => None,
    };
    let answer = match (hub(), limit) {
        // SAFETY: the caller's.
        (Some(hub), Some(limit)) if mask.is_null() => unsafe { wait(hub, fds, count, limit) },
        _ => {
            let mut time = time;
            let time = time.as_mut().map_or(null(), |time| &raw const *time);
            // The kernel's set of signals is 8 bytes.
            let args = [fds as usize, count as usize, time as usize, mask as usize, 8, 0];
            // SAFETY: the caller's, and a copy of the time, which the kernel writes to.
            unsafe { kernel(libc::SYS_ppoll, args) }
        }
    };
    with_errno(answer) as c_int
}
