//! How often the busy loop polls: reads the clock, and asks the reactor.
//!
//! Next: `hub/inbox.rs`.

use crate::time::Time;
use std::cell::Cell;

/// The number of switches until the clock is read again.
///
/// Reading the clock costs more than a switch, so the loop does not read it each time. But green threads that compute for
/// long must not make timers late. So the interval doubles while it takes less time than `AIM`, and shrinks down to one
/// switch when it takes longer.
#[derive(Default)]
#[repr(C)]
pub(super) struct PollInterval {
    /// Switches until the next poll.
    left: Cell<u32>,
    /// Length of the interval, in switches.
    interval: Cell<u32>,
    /// Time of the last poll.
    polled_at: Cell<Time>,
    /// Time of the last poll of the reactor.
    reactor_polled_at: Cell<Time>,
    /// Switch count at which all green threads will have run that were ready at the last poll of the reactor.
    round_end: Cell<u64>,
}

/// How late a timer may be, in nanoseconds: as late as the kernel's own (its timer slack).
const AIM: Time = 50_000;
/// Longest interval, in switches.
const LONGEST: u32 = 64;

/// Longest time between two polls of the reactor, in nanoseconds, while not all green threads of the round have run. A poll
/// is a system call and costs as much as serving a few requests, so the reactor is not polled more often.
const REACTOR_INTERVAL: Time = 250_000;

impl PollInterval {
    /// Counts a switch. Returns whether to poll now.
    #[inline]
    pub(super) fn should_poll_now(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left == 0
    }

    /// Records a poll at the time `now`, and chooses the next interval.
    pub(super) fn record_clock_read(&self, now: Time) {
        let took = now - self.polled_at.get();
        let interval = self.interval.get();
        let next = match took {
            ..=AIM => (interval * 2).clamp(1, LONGEST),
            _ if took > 4 * AIM => 1,
            _ => (interval / 2).max(1),
        };
        self.interval.set(next);
        self.left.set(next);
        self.polled_at.set(now);
    }

    /// Returns whether to poll the reactor, too, after so many switches.
    pub(super) fn should_poll_reactor(&self, switches: u64) -> bool {
        switches >= self.round_end.get()
            || self.polled_at.get() - self.reactor_polled_at.get() >= REACTOR_INTERVAL
    }

    /// Records a poll of the reactor, after which so many green threads are ready.
    pub(super) fn record_reactor_poll(&self, switches: u64, ready: usize) {
        self.reactor_polled_at.set(self.polled_at.get());
        self.round_end.set(switches + ready as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of switches until the next poll.
    fn switches_left(interval: &PollInterval) -> u32 {
        let mut switches = 0;
        while !interval.should_poll_now() {
            switches += 1;
        }
        switches
    }

    #[test]
    fn record_clock_read_doubles_a_short_interval_and_halves_a_long_one() {
        let interval = PollInterval::default();
        let mut now = 10 * AIM;
        let mut look = |took: Time| {
            now += took;
            interval.record_clock_read(now);
            switches_left(&interval)
        };
        assert_eq!(look(0), 1, "there was no poll before");
        assert_eq!([look(AIM), look(AIM), look(1)], [2, 4, 8]);
        (0..10).for_each(|_| assert!(look(1) <= LONGEST));
        assert_eq!(look(1), LONGEST);
        assert_eq!([look(2 * AIM), look(2 * AIM)], [LONGEST / 2, LONGEST / 4]);
        assert_eq!(look(5 * AIM), 1);
    }

    #[test]
    fn should_poll_reactor_after_a_round_or_after_the_reactor_interval() {
        let interval = PollInterval::default();
        interval.record_clock_read(REACTOR_INTERVAL);
        interval.record_reactor_poll(100, 40);
        assert!(!interval.should_poll_reactor(139) && interval.should_poll_reactor(140));
        interval.record_clock_read(2 * REACTOR_INTERVAL - 1);
        assert!(!interval.should_poll_reactor(139));
        interval.record_clock_read(2 * REACTOR_INTERVAL);
        assert!(interval.should_poll_reactor(101));
        interval.record_reactor_poll(101, 40);
        assert!(!interval.should_poll_reactor(102));
    }
}
