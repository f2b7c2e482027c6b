//! Conversions between C's `timespec` and `Duration`.
//!
//! Next: `arch/mod.rs`, what is written for each processor.

use libc::{c_int, timespec};
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

pub(crate) fn timespec_of(duration: Duration) -> timespec {
    timespec { tv_sec: duration.as_secs() as libc::time_t, tv_nsec: duration.subsec_nanos() as libc::c_long }
}
