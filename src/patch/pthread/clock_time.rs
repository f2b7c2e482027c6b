//! Absolute times of C's clocks, and what C accepts of them.
//!
//! Next: `patch/pthread/pthread_create.rs`.

use crate::hub::Hub;
use crate::sys::timespec::{duration_of, now};
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

/// Converts an absolute time of a clock, which `check` accepts, to the hub's time. A time that has passed is now; no time is
/// `NEVER`.
pub(super) fn deadline(hub: &Hub, until: Option<ClockTime>) -> Time {
    until.map_or(NEVER, |(clock, time)| {
        // A time before the beginning of the clock has passed.
        let time = duration_of(time).unwrap_or_default();
        hub.clock().after(time.saturating_sub(now(clock)))
    })
}

/// Returns when a green thread that waits until `limit` looks again by itself. If processes share the object, another
/// process may release it, whose wake-up cannot reach the green thread.
pub(super) fn next_look(hub: &Hub, limit: Time, is_shared: bool) -> Time {
    if is_shared { limit.min(hub.clock().after(Duration::from_millis(5))) } else { limit }
}
