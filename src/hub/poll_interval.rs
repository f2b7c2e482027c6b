//! How often the busy loop looks up: at the clock, and at the world outside.

use crate::time::Time;
use std::cell::Cell;

/// How many green threads run before the clock is read again. Reading it costs more than a switch, so it
/// is not read each time; but a green thread that computes for long should not make the timers late. So the
/// stretch doubles while it takes less time than `AIM`, and shrinks to one when it takes more.
#[repr(C)]
pub(super) struct PollInterval {
    left: Cell<u32>,
    stretch: Cell<u32>,
    looked: Cell<Time>,
    /// When it was last asked what has happened outside; after which switch all will have run who were ready then.
    asked: Cell<Time>,
    round: Cell<u64>,
}

/// How late a timer may be for that: as late as the kernel's own are (its timer slack).
const AIM: Time = 50_000;
const LONGEST: u32 = 64;

/// How long those outside wait at most while not all have run who were ready when it was last asked about them. To ask is
/// a system call, and worth some requests.
const OUTSIDE: Time = 250_000;

impl Default for PollInterval {
    fn default() -> PollInterval {
        PollInterval {
            left: Cell::new(0),
            stretch: Cell::new(1),
            looked: Cell::new(0),
            asked: Cell::new(0),
            round: Cell::new(0),
        }
    }
}

impl PollInterval {
    /// Whether to look now.
    #[inline]
    pub(super) fn should_poll_now(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left == 0
    }

    pub(super) fn record_clock_read(&self, now: Time) {
        let took = now - self.looked.get();
        let stretch = self.stretch.get();
        let next = match took {
            ..=AIM => (stretch * 2).min(LONGEST),
            _ if took > 4 * AIM => 1,
            _ => (stretch / 2).max(1),
        };
        self.stretch.set(next);
        self.left.set(next);
        self.looked.set(now);
    }

    /// Whether to ask outside, too: after so many switches.
    pub(super) fn should_poll_reactor(&self, switches: u64) -> bool {
        switches >= self.round.get() || self.looked.get() - self.asked.get() >= OUTSIDE
    }

    /// It was asked, and now so many are ready.
    pub(super) fn record_reactor_poll(&self, switches: u64, ready: usize) {
        self.asked.set(self.looked.get());
        self.round.set(switches + ready as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many turns until it is due.
    fn turns(pace: &PollInterval) -> u32 {
        let mut turns = 0;
        while !pace.should_poll_now() {
            turns += 1;
        }
        turns
    }

    #[test]
    fn quick_turns_are_looked_at_seldom_and_slow_ones_each_time() {
        let pace = PollInterval::default();
        let mut now = 10 * AIM;
        let mut look = |took: Time| {
            now += took;
            pace.record_clock_read(now);
            turns(&pace)
        };
        assert_eq!(look(0), 1, "it has never looked");
        assert_eq!([look(AIM), look(AIM), look(1)], [2, 4, 8]);
        (0..10).for_each(|_| assert!(look(1) <= LONGEST));
        assert_eq!(look(1), LONGEST);
        assert_eq!([look(2 * AIM), look(2 * AIM)], [LONGEST / 2, LONGEST / 4]);
        assert_eq!(look(5 * AIM), 1);
    }

    #[test]
    fn those_outside_wait_for_a_round_or_for_a_while() {
        let pace = PollInterval::default();
        pace.record_clock_read(OUTSIDE);
        pace.record_reactor_poll(100, 40);
        assert!(!pace.should_poll_reactor(139) && pace.should_poll_reactor(140));
        pace.record_clock_read(2 * OUTSIDE - 1);
        assert!(!pace.should_poll_reactor(139));
        pace.record_clock_read(2 * OUTSIDE);
        assert!(pace.should_poll_reactor(101));
        pace.record_reactor_poll(101, 40);
        assert!(!pace.should_poll_reactor(102));
    }
}
