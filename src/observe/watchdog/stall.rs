//! When a hub is stuck, and when that is said.

use std::time::Duration;

/// What the watchdog remembers of a hub from one look to the next.
pub(super) struct Watched {
    /// Which hub: its number.
    pub(super) hub: u64,
    /// Who was reported.
    pub(super) who: String,
    switches: u64,
    /// For how long, at least, it has not switched.
    stuck: Duration,
    /// When it is to be said again; `None` if it was not said yet.
    again: Option<Duration>,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Nothing,
    /// It has not switched for so long, and that is to be said.
    Stuck(Duration),
    /// It has switched, after it was said that it did not.
    Over(Duration),
}

impl Watched {
    pub(super) fn new(hub: u64) -> Watched {
        Watched { hub, who: String::new(), switches: 0, stuck: Duration::ZERO, again: None }
    }

    /// Looks at it, `passed` after the last time. `keeps_somebody`: whoever runs there keeps others waiting.
    pub(super) fn look(
        &mut self,
        switches: u64,
        keeps_somebody: bool,
        passed: Duration,
        limit: Duration,
    ) -> Finding {
        if switches != self.switches || !keeps_somebody {
            // From now on; so what is counted is never more than it was.
            self.switches = switches;
            let stuck = std::mem::take(&mut self.stuck) + passed;
            return if self.again.take().is_some() { Finding::Over(stuck) } else { Finding::Nothing };
        }
        self.stuck += passed;
        if self.stuck < self.again.unwrap_or(limit) {
            return Finding::Nothing;
        }
        self.again = Some(2 * self.stuck);
        Finding::Stuck(self.stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);
    const TICK: Duration = Duration::from_millis(25);

    /// What is found by one look after another, by the number of the look.
    fn findings(looks: impl IntoIterator<Item = (u64, bool)>) -> Vec<(usize, Finding)> {
        let mut watched = Watched::new(1);
        let found = looks.into_iter().map(|(switches, keeps)| watched.look(switches, keeps, TICK, LIMIT));
        found.enumerate().filter(|(_, finding)| *finding != Finding::Nothing).collect()
    }

    #[test]
    fn a_stuck_hub_is_reported_at_the_limit_and_then_each_time_it_has_lasted_twice_as_long() {
        let millis = Duration::from_millis;
        let found = findings((0..20).map(|_| (7, true)).chain([(8, true)]));
        let stuck = |n, time| (n, Finding::Stuck(millis(time)));
        assert_eq!(found, [stuck(4, 100), stuck(8, 200), stuck(16, 400), (20, Finding::Over(millis(500)))]);
    }

    #[test]
    fn who_switches_is_not_reported() {
        assert_eq!(findings((0..100).map(|n| (n / 3, true))), []);
    }

    #[test]
    fn who_keeps_nobody_is_not_reported_and_has_all_its_time_when_it_does() {
        let idle = (0..10).map(|_| (7, false));
        assert_eq!(findings(idle.clone()), []);
        assert_eq!(findings(idle.chain((0..4).map(|_| (7, true)))), [(13, Finding::Stuck(LIMIT))]);
    }
}
