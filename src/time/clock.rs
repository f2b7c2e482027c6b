//! The clock of a hub. All time of the hub comes from here, so a clock that does not follow the machine's (one that jumps
//! when every green thread sleeps, say) replaces this one and nothing else.
//!
//! Next: `time/timers.rs`, the timers of a hub.

use std::time::{Duration, Instant};

/// A point in time: nanoseconds since the clock was made.
pub(crate) type Time = u64;

/// A deadline that does not come, 584 years after the clock was made.
pub(crate) const NEVER: Time = Time::MAX;

/// A source of time that never goes backwards.
pub(crate) trait Clock {
    /// Returns the time now.
    fn now(&self) -> Time;

    /// Returns the time of `instant`; 0 if it lies before the clock was made.
    fn at(&self, instant: Instant) -> Time;

    /// Returns the time `duration` from now; [`NEVER`] if that is too far to count.
    fn after(&self, duration: Duration) -> Time {
        self.now().saturating_add(nanos(duration))
    }
}

fn nanos(duration: Duration) -> Time {
    Time::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// The machine's monotonic clock, as `Instant` reads it.
pub(crate) struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    pub(crate) fn new() -> MonotonicClock {
        MonotonicClock { origin: Instant::now() }
    }
}

impl Clock for MonotonicClock {
    #[inline]
    fn now(&self) -> Time {
        self.origin.elapsed().as_nanos() as Time
    }

    fn at(&self, instant: Instant) -> Time {
        nanos(instant.saturating_duration_since(self.origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_clock_saturates_at_far_and_past_times() {
        let clock = MonotonicClock::new();
        assert_eq!(clock.after(Duration::MAX), NEVER);
        assert_eq!(clock.at(clock.origin - Duration::from_secs(1)), 0);
        assert!(clock.at(Instant::now() + Duration::from_secs(5)) > clock.now());
    }
}
