//! When a hub counts as stalled, and when that is reported.
//!
//! Next: `observe/watchdog/thread_state.rs`, where a stalled OS thread is.

use std::time::Duration;

/// Remembers one hub from one examination to the next.
#[derive(Default)]
pub(super) struct StallDetector {
    /// The name in the last report: the green thread that had not yielded.
    pub(super) name: String,
    switches: u64,
    /// A lower bound of the time since the last switch.
    stalled: Duration,
    /// The value of `stalled` at which the next report is due. `None`: there was no report yet.
    report_at: Option<Duration>,
}

/// The result of an examination.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to report.
    Fine,
    /// The hub has not switched for this time, and a report is due.
    Stalled(Duration),
    /// The hub has switched, after it was reported.
    Recovered(Duration),
}

impl StallDetector {
    /// Examines the hub, `passed` after the last examination. `keeps_others`: the code that runs there keeps green threads
    /// from running.
    pub(super) fn update(
        &mut self,
        switches: u64,
        keeps_others: bool,
        passed: Duration,
        limit: Duration,
    ) -> Verdict {
        if switches != self.switches || !keeps_others {
            // The time counts from this examination, so `stalled` is never too large.
            self.switches = switches;
            let stalled = std::mem::take(&mut self.stalled) + passed;
            return if self.report_at.take().is_some() { Verdict::Recovered(stalled) } else { Verdict::Fine };
        }
        self.stalled += passed;
        if self.stalled < self.report_at.unwrap_or(limit) {
            return Verdict::Fine;
        }
        self.report_at = Some(2 * self.stalled);
        Verdict::Stalled(self.stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);
    const TICK: Duration = Duration::from_millis(25);

    /// Returns the verdicts that are not `Fine`, each with the number of its examination.
    fn verdicts(examinations: impl IntoIterator<Item = (u64, bool)>) -> Vec<(usize, Verdict)> {
        let mut detector = StallDetector::default();
        let found =
            examinations.into_iter().map(|(switches, keeps)| detector.update(switches, keeps, TICK, LIMIT));
        found.enumerate().filter(|(_, verdict)| *verdict != Verdict::Fine).collect()
    }

    #[test]
    fn update_reports_at_the_limit_and_each_time_the_stall_has_doubled() {
        let millis = Duration::from_millis;
        let found = verdicts((0..20).map(|_| (7, true)).chain([(8, true)]));
        let stalled = |n, time| (n, Verdict::Stalled(millis(time)));
        assert_eq!(
            found,
            [stalled(4, 100), stalled(8, 200), stalled(16, 400), (20, Verdict::Recovered(millis(500)))]
        );
    }

    #[test]
    fn update_is_fine_for_a_hub_that_switches() {
        assert_eq!(verdicts((0..100).map(|n| (n / 3, true))), []);
    }

    #[test]
    fn update_counts_from_when_others_are_kept() {
        let idle = (0..10).map(|_| (7, false));
        assert_eq!(verdicts(idle.clone()), []);
        assert_eq!(verdicts(idle.chain((0..4).map(|_| (7, true)))), [(13, Verdict::Stalled(LIMIT))]);
    }
}
