//! The clock of a hub. All of the hub's time comes from here, so a clock that does not follow the
//! machine's (one that jumps when every green thread sleeps) would take this one's place and no other.

use std::time::{Duration, Instant};

/// Nanoseconds since the clock was made.
pub(crate) type Time = u64;

/// A deadline that does not come: 584 years.
pub(crate) const NEVER: Time = Time::MAX;

/// Monotonic, as `Instant`.
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { origin: Instant::now() }
    }

    #[inline]
    pub(crate) fn now(&self) -> Time {
        self.origin.elapsed().as_nanos() as Time
    }

    /// The time `duration` from now; `NEVER` when that is too far to count.
    #[inline]
    pub(crate) fn after(&self, duration: Duration) -> Time {
        let nanos = Time::try_from(duration.as_nanos()).unwrap_or(NEVER);
        self.now().saturating_add(nanos)
    }

    /// The time of `instant`; 0 for one before the clock was made.
    pub(crate) fn at(&self, instant: Instant) -> Time {
        let since = instant.saturating_duration_since(self.origin);
        Time::try_from(since.as_nanos()).unwrap_or(NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_and_past_times_saturate() {
        let clock = Clock::new();
        assert_eq!(clock.after(Duration::MAX), NEVER);
        assert_eq!(clock.at(clock.origin - Duration::from_secs(1)), 0);
        assert!(clock.at(Instant::now() + Duration::from_secs(5)) > clock.now());
    }
}
