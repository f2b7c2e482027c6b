//! The loop for calls that wait for any of several descriptors, or for a signal: look, park, look again.
//!
//! `poll`, `select`, `epoll_wait`, `sigtimedwait` and their relatives each have a way to look that does not wait, and a
//! list of what to park for. Unlike calls that read and write, they end when a signal is handled, because the handler
//! may have changed what the program looks at next. A handler is noticed if the hub was idle when it ran, as it is when
//! all green threads wait.
//!
//! Next: `hub/wait_fd.rs`, whose `wait_fds` parks.

use super::blocking::raw;
use super::mask::Mask;
use crate::hub::{Hub, OnInterrupt, keep_errno};
use crate::ids::{Direction, ParkResult};
use crate::patch::symbol::failed;
use crate::time::NEVER;
use libc::c_int;
use std::time::Duration;

/// A descriptor, and what to wait for.
pub(super) type Wanted = (c_int, Direction);

/// Calls `look`, which must not block, until it returns something else than 0, and returns that. Parks in between for
/// what is `wanted`, and for the signals that `mask` lets in. Returns 0 after `limit`; `None` is for ever.
///
/// Errors: those of `look`. EBADF: a descriptor was closed meanwhile. EINTR: a signal, a kill or a timeout.
pub(super) fn wait_any(
    hub: &Hub,
    limit: Option<Duration>,
    mask: &Mask,
    wanted: impl FnOnce() -> Vec<Wanted>,
    mut look: impl FnMut() -> isize,
) -> isize {
    let mut switches = hub.status().switches();
    let found = look();
    if found != 0 || limit == Some(Duration::ZERO) {
        hub.yield_if_polling();
        return found;
    }
    let deadline = limit.map_or(NEVER, |limit| hub.clock().after(limit));
    let mut wanted = wanted();
    let pending = mask.pending();
    wanted.extend(pending.as_ref().map(|pending| (pending.0, Direction::Read)));
    // Once only, since it makes an edge of what is ready already, in ways that are not waited for as well.
    wanted.iter().for_each(|&(fd, _)| hub.revalidate_fd(fd));
    loop {
        let interruptible = hub.interruptible(OnInterrupt::Eintr);
        let signals = hub.reactor().signals();
        let result = match keep_errno(|| hub.wait_fds(&wanted, switches, deadline, interruptible)) {
            Ok(result) => result,
            // The number may be another's by now, which must not be looked at.
            Err(error) => return raw(Err(error)),
        };
        switches = hub.status().switches();
        let found = look();
        match result {
            _ if found != 0 => return found,
            ParkResult::Expired => return 0,
            ParkResult::Interrupted => return raw(hub.end_interrupted(OnInterrupt::Eintr).map(|()| 0)),
            _ if signals != hub.reactor().signals() => return failed(libc::EINTR),
            _ => {}
        }
    }
}

/// Returns the raw answer of `wait` with the time limit that C's caller gives, or EINVAL for a limit that the kernel
/// refuses.
///
/// # Safety
/// `timeout` is null or points to a time.
pub(super) unsafe fn with_limit(
    timeout: *const libc::timespec,
    wait: impl FnOnce(Option<Duration>) -> isize,
) -> isize {
    // SAFETY: null, or the caller's.
    match unsafe { timeout.as_ref() }.copied().map(crate::sys::timespec::duration_of).transpose() {
        Ok(limit) => wait(limit),
        Err(number) => failed(number),
    }
}
