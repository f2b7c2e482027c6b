//! The loop for calls that wait for any of several descriptors, or for a signal: look, park, look again.
//!
//! `poll`, `select`, `epoll_wait`, `sigtimedwait` and their relatives are each a way to look that does not wait, and a
//! list of what to park for. Unlike those that read and write, they end when a signal is handled: a handler may have
//! changed what the program looks at next. It is noticed if the hub was idle when it ran, as it is when all wait.

use super::failed;
use super::retry::cut_short;
use super::sigwait::Mask;
use crate::hub::{FdWaitResult, Hub, keep_errno};
use crate::ids::Direction;
use crate::time::NEVER;
use libc::c_int;
use std::time::Duration;

/// A descriptor, and what to wait for.
pub(super) type Wanted = (c_int, Direction);

/// Calls `look`, which does not wait, and answers what it says; 0 is nothing. Parks in between for what is `wanted`, and
/// for the signals that `mask` lets in. Answers 0 after `limit`; `None` is for ever.
///
/// Errors: those of `look`. EBADF: one of them was closed meanwhile. EINTR: a signal, a kill or a timeout.
pub(super) fn wait(
    hub: &Hub,
    limit: Option<Duration>,
    mask: &Mask,
    wanted: impl FnOnce() -> Vec<Wanted>,
    mut look: impl FnMut() -> isize,
) -> isize {
    let found = look();
    if found != 0 || limit == Some(Duration::ZERO) {
        hub.yield_if_polling();
        return found;
    }
    let deadline = limit.map_or(NEVER, |limit| hub.clock().after(limit));
    let mut wanted = wanted();
    let pending = mask.pending();
    wanted.extend(pending.as_ref().map(|pending| (pending.fd(), Direction::Read)));
    let mut foreign = true;
    loop {
        let ended = keep_errno(|| hub.wait_fds(&wanted, deadline, foreign, hub.was_cut_short()));
        if ended == FdWaitResult::Closed {
            // The number may be another's by now, who is not to be asked.
            return failed(libc::EBADF);
        }
        let found = look();
        match ended {
            _ if found != 0 => return found,
            FdWaitResult::Expired => return 0,
            FdWaitResult::Signalled => return failed(libc::EINTR),
            FdWaitResult::Interrupted => return cut_short(hub),
            // Asking after them once more would be an edge once more, for what is not waited for as well.
            FdWaitResult::Ready | FdWaitResult::Closed => foreign = false,
        }
    }
}
