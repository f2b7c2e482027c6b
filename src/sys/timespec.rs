//! Conversions between C's `timespec` and `Duration`, and the time of C's clocks.
//!
//! Next: `arch/mod.rs`, what is written for each processor.

#![allow(unsafe_code)]

use libc::{c_int, clockid_t, timespec};
use std::time::Duration;

/// The timeout with which a call only looks and does not wait.
pub(crate) static ZERO: timespec = timespec { tv_sec: 0, tv_nsec: 0 };

/// Converts `time` to a duration. If the kernel would refuse `time`, returns the kernel's error number.
pub(crate) fn duration_of(time: timespec) -> Result<Duration, c_int> {
    match (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => Err(libc::EINVAL),
    }
}

/// Returns the time of a clock of the C library.
pub(crate) fn now(clock: clockid_t) -> Duration {
    let mut now = ZERO;
    // SAFETY: `now` is a local.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    duration_of(now).unwrap_or_default()
}

/// Converts a duration for the kernel.
pub fn timespec_of(duration: Duration) -> timespec {
    timespec { tv_sec: duration.as_secs() as libc::time_t, tv_nsec: duration.subsec_nanos() as libc::c_long }
}
