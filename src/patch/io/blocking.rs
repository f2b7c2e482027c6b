//! The common path of all calls of this family that may block: the hub that the call parks on, the retry loop with the
//! mode that the program has set for the descriptor, and the pool's OS threads for what cannot be tried.
//!
//! Next: `hub/retry.rs`, the loop itself.

use super::fd_mode::deadline;
use crate::hub::{BackoffOpts, Hub, OnInterrupt, RetryOpts, Tracking};
use crate::ids::Direction;
use crate::patch::kind::{Kind, offload_blocking, patched_hub};
use crate::patch::symbol::{failed, set_errno};
use crate::thread::offload::WorkKind;
use crate::time::Time;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;

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

/// Calls `attempt`, which must not block, until it returns something else than EAGAIN, or until `deadline`: as
/// [`Hub::poll_with_backoff`]. Returns a raw answer.
pub(super) fn poll_until(
    hub: &'static Hub,
    deadline: Time,
    what: &'static str,
    changed: Option<&'static AtomicU32>,
    attempt: impl FnMut() -> isize,
) -> isize {
    let opts = BackoffOpts { deadline, on_interrupt: OnInterrupt::Eintr, what, changed };
    raw(hub.poll_with_backoff(&opts, attempt))
}

/// Returns the raw answer for a wait's result.
#[inline]
pub(super) fn raw(result: io::Result<isize>) -> isize {
    result.unwrap_or_else(|error| failed(error.raw_os_error().unwrap_or(libc::ENOMEM)))
}

/// A call that C's caller has asked for, which another OS thread makes while the caller waits.
struct CallElsewhere<F>(F);

// SAFETY: the caller of `offload` upholds that any OS thread may make the call.
unsafe impl<F> Send for CallElsewhere<F> {}

impl<T, F: FnOnce() -> T> CallElsewhere<F> {
    fn make(self) -> T {
        (self.0)()
    }
}

/// Makes a call that blocks: on an OS thread of the pool if there is a hub, else here. Returns after the call has
/// ended. If the call has set `errno` there, it is set here.
///
/// # Safety
/// Any OS thread may make the call, as long as the caller waits.
pub(super) unsafe fn offload<T: Send + 'static>(
    hub: Option<&Hub>,
    kind: WorkKind,
    what: &'static str,
    call: impl FnOnce() -> T,
) -> T {
    if hub.is_none() {
        return call();
    }
    let call = CallElsewhere(call);
    let (result, errno) = offload_blocking(kind, what, move || {
        set_errno(0);
        // SAFETY: the address is the calling thread's own.
        (call.make(), unsafe { *libc::__errno_location() })
    });
    if errno != 0 {
        set_errno(errno);
    }
    result
}
