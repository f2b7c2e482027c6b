//! Trying and waiting: what each interposed call that may block goes through.

use super::failed;
use super::fd_mode::{deadline, settings};
use crate::hub::{FdWaitResult, Hub, keep_errno};
use crate::ids::Direction;
use crate::reactor::FdState;
use crate::time::Time;
use libc::c_int;
use std::os::fd::RawFd;
use std::time::Duration;

/// The loop for interposed calls: calls `attempt`, which does not block, until it answers something else than EAGAIN,
/// and parks in between. It is not unwound by a kill or a timeout: then the answer is EINTR, once. A `foreign` descriptor
/// may be closed where it is not seen, as by C's `fclose`.
pub(super) fn retry(
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    foreign: bool,
    mut attempt: impl FnMut() -> isize,
) -> isize {
    retry_after(None, hub, fd, direction, foreign, &mut attempt)
}

/// [`retry`]; `drained`: it is known that the first attempt would fail, of what is kept there, and when to give up.
#[inline]
pub(super) fn retry_after(
    drained: Option<(&FdState, Time)>,
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    foreign: bool,
    attempt: impl FnMut() -> isize,
) -> isize {
    let (mut expired, mut until) = (false, None);
    if let Some((source, deadline)) = drained {
        match waited(hub, |shield| Ok(hub.wait_source(source, fd, direction, deadline, shield))) {
            Ok(in_time) => (expired, until) = (!in_time, Some(deadline)),
            Err(number) => return failed(number),
        }
    }
    let limit = || {
        let settings = settings(hub, fd);
        (!settings.nonblocking).then(|| *until.get_or_insert_with(|| deadline(hub, settings, direction)))
    };
    retry_until(expired, hub, fd, direction, foreign, limit, attempt)
}

/// [`retry`], for as long as `limit` says: `None` is not at all. It is asked when the kernel would wait. `expired`: that
/// is over, but for one attempt.
#[inline]
pub(super) fn retry_until(
    expired: bool,
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    foreign: bool,
    mut limit: impl FnMut() -> Option<Time>,
    attempt: impl FnMut() -> isize,
) -> isize {
    let pause = || {
        if foreign {
            // Before it is asked what is known of the number.
            hub.revalidate_fd(fd);
        }
        let Some(deadline) = limit() else {
            hub.yield_if_polling();
            return Err(libc::EAGAIN);
        };
        hub.reactor().drained(fd, direction);
        pause(hub, fd, direction, deadline)
    };
    crate::api::io::retry(expired, attempt, pause).unwrap_or_else(failed)
}

/// For what nobody says when to try again: calls `attempt` until it answers something else than EAGAIN, or `deadline`,
/// and sleeps in between, longer each time.
pub(super) fn insist(hub: &Hub, deadline: Time, mut attempt: impl FnMut() -> isize) -> isize {
    let mut nap = Duration::from_micros(50);
    loop {
        let answer = attempt();
        if answer != failed(libc::EAGAIN) || hub.clock().now() >= deadline {
            return answer;
        }
        let until = deadline.min(hub.clock().after(nap));
        nap = (nap * 2).min(LONGEST_NAP);
        if keep_errno(|| hub.wait_fds(&[], until, false, hub.was_cut_short())) == FdWaitResult::Interrupted {
            return cut_short(hub);
        }
    }
}

/// The longest that [`insist`] sleeps.
const LONGEST_NAP: Duration = Duration::from_millis(20);

/// A call is ended for a kill or a timeout: the others run, then it answers this.
pub(super) fn cut_short(hub: &Hub) -> isize {
    hub.cut_short();
    keep_errno(|| hub.yield_now());
    failed(libc::EINTR)
}

/// Parks until the next edge. `false`: the deadline has passed.
pub(super) fn pause(hub: &Hub, fd: RawFd, direction: Direction, deadline: Time) -> Result<bool, c_int> {
    waited(hub, |shield| hub.wait_fd(fd, direction, deadline, false, shield))
}

/// What `wait` came to, which parks, and is told whether it is shielded. `false`: the deadline has passed.
#[inline]
pub(super) fn waited(
    hub: &Hub,
    wait: impl FnOnce(bool) -> std::io::Result<FdWaitResult>,
) -> Result<bool, c_int> {
    match keep_errno(|| wait(hub.was_cut_short())) {
        Ok(FdWaitResult::Ready) => Ok(true),
        other => ended_otherwise(hub, other),
    }
}

#[cold]
fn ended_otherwise(hub: &Hub, ended: std::io::Result<FdWaitResult>) -> Result<bool, c_int> {
    match ended {
        Ok(FdWaitResult::Ready | FdWaitResult::Signalled) => Ok(true),
        Ok(FdWaitResult::Expired) => Ok(false),
        Ok(FdWaitResult::Closed) => Err(libc::EBADF),
        Ok(FdWaitResult::Interrupted) => {
            cut_short(hub);
            Err(libc::EINTR)
        }
        Err(error) => Err(error.raw_os_error().unwrap_or(libc::ENOMEM)),
    }
}
