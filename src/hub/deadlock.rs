//! Nothing can ever wake the hub: who waits for what.
//!
//! Source: gevent's `LoopExit`, which names nobody; Go's "all goroutines are asleep".

use super::{Hub, State};
use crate::green::{Green, GreenId, State as GreenState, Wait};
use std::fmt::Write;
use std::panic::Location;

impl Hub {
    /// Panics in the root with a list of all green threads.
    #[cold]
    #[track_caller]
    pub(crate) fn panic_deadlocked(&self, wait: Wait) -> ! {
        let report = self.deadlock_report(wait, Location::caller());
        panic!("{report}");
    }

    pub(crate) fn deadlock_report(&self, wait: Wait, at: &Location<'_>) -> String {
        let state = self.state.borrow();
        let mut report = String::from(
            "deadlock: this would block for ever, for no green thread is ready, no timer is set, and \
             nobody outside holds a handle to the hub\n",
        );
        let root = &state.greens[GreenId::ROOT.key()];
        let _ = writeln!(report, "  root '{}' waits for {}, at {at}", root.name(), state.describe(wait));
        for (key, green) in &state.greens {
            if key != GreenId::ROOT.key() && green.state != GreenState::Finished {
                let _ = writeln!(report, "  {}", state.line(green));
            }
        }
        report.push_str(
            "(a wait for something that only another OS thread can do needs a greenline::Handle there)",
        );
        report
    }
}

impl State {
    fn line(&self, green: &Green) -> String {
        format!(
            "green thread '{}' {}; spawned at {}",
            green.name(),
            match green.state {
                GreenState::Parked => format!("waits for {}", self.describe(green.wait)),
                _ => "is ready, but the policy has lost it".into(),
            },
            green.spawned_at
        )
    }

    fn describe(&self, wait: Wait) -> String {
        match wait {
            Wait::Nothing => "nothing".into(),
            Wait::Sleep => "a time".into(),
            Wait::For(what) => what.into(),
            Wait::Join(id) => {
                let green = self.greens.get(id.key()).filter(|green| green.id == id);
                match green {
                    Some(green) => format!("green thread '{}' to end", green.name()),
                    None => "a green thread that has ended".into(),
                }
            }
        }
    }
}
