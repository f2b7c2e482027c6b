//! Absolute times of C's clocks, and what C accepts of them.
//!
//! Next: `patch/pthread/pthread_create.rs`.

use crate::hub::Hub;
use crate::sys::timespec::{ZERO, duration_of};
use crate::time::{NEVER, Time};
use libc::{c_int, clockid_t, timespec};
use std::time::Duration;

/// An absolute time of a clock.
pub(super) type ClockTime = (clockid_t, timespec);

/// Returns whether threads may wait by this clock. C refuses other clocks even if the caller need not wait.
pub(super) fn is_clock(clock: clockid_t) -> bool {
    matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC)
}

/// Returns C's error number if C refuses the time, or the clock.
pub(super) fn check(until: Option<ClockTime>) -> Result<(), c_int> {
    let is_valid =
        until.is_none_or(|(clock, time)| is_clock(clock) && (0..1_000_000_000).contains(&time.tv_nsec));
    if is_valid { Ok(()) } else { Err(libc::EINVAL) }
}

/// Converts an absolute time of a clock to the hub's time. A time that has passed is now; no time is `NEVER`.
pub(super) fn deadline(hub: &Hub, until: Option<ClockTime>) -> Result<Time, c_int> {
    check(until)?;
    let Some((clock, time)) = until else { return Ok(NEVER) };
    let mut now = ZERO;
    // SAFETY: `now` is a local.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    // A time before the beginning of the clock has passed.
    let time = if time.tv_sec < 0 { Duration::ZERO } else { duration_of(time)? };
    Ok(hub.clock().after(time.saturating_sub(duration_of(now)?)))
}
