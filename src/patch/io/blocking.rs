//! The common path of all calls of this family that may block: the hub that the call parks on, and the retry loop with
//! the mode that the program has set for the descriptor.
//!
//! Next: `hub/retry.rs`, the loop itself.

use super::fd_mode::deadline;
use crate::hub::{Hub, OnInterrupt, RetryOpts, Tracking};
use crate::ids::Direction;
use crate::patch::kind::{Kind, patched_hub};
use crate::patch::symbol::failed;
use crate::time::Time;
use std::io;
use std::os::fd::RawFd;

/// Returns the hub on which a call parks. `None`: make the plain system call.
#[inline]
pub(super) fn hub() -> Option<&'static Hub> {
    patched_hub(Kind::Io)
}

/// Calls `attempt`, which must not block, until it returns something else than EAGAIN, and parks in between: as
/// [`Hub::retry`], for as long as the program has set for `fd`. Returns a raw answer.
#[inline]
pub(super) fn retry(
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    tracking: Tracking,
    attempt: impl FnMut() -> isize,
) -> isize {
    retry_until(hub, fd, direction, tracking, || deadline(hub, fd, direction), attempt)
}

/// [`retry`], for as long as `deadline` says. `None`: the call does not wait.
#[inline]
pub(super) fn retry_until(
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    tracking: Tracking,
    deadline: impl Fn() -> Option<Time>,
    attempt: impl FnMut() -> isize,
) -> isize {
    let opts = RetryOpts { deadline, on_interrupt: OnInterrupt::Eintr, tracking, drained: None };
    raw(hub.retry(fd, direction, opts, attempt))
}

/// Returns the raw answer for a wait's result.
#[inline]
pub(super) fn raw(result: io::Result<isize>) -> isize {
    result.unwrap_or_else(|error| failed(error.raw_os_error().unwrap_or(libc::ENOMEM)))
}
