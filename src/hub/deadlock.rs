//! Nothing can ever wake the hub: who waits for what.
//!
//! Source: gevent's `LoopExit`, which names nobody; Go's "all goroutines are asleep".

use super::fields::Hub;
use super::state::State;
use super::status::helper_threads;
use crate::green::{Green, State as GreenState};
use crate::ids::Direction;
use crate::ids::{GreenId, WaitReason};
use crate::sys::stderr;
use std::fmt::Write;
use std::panic::Location;

impl Hub {
    /// Whether somebody waits for a word that another OS thread could change, and there is another.
    pub(super) fn others_may_wake(&self) -> bool {
        self.futex_waiters.get() > 0 && os_threads() > 1
    }

    /// Panics in the root with a list of all green threads.
    #[cold]
    pub(crate) fn panic_deadlocked(&self, wait: WaitReason, at: &Location<'_>) -> ! {
        let report = self.deadlock_report(wait, Some(at));
        panic!("{report}");
    }

    /// Says it on stderr: for an interposed call, which must not panic, and waits on in the kernel, as it would
    /// without us. Not by way of std or a logger, whose locks may be what nobody lets go of.
    #[cold]
    pub(crate) fn tell_deadlock(&self, word: usize) {
        let report = self.deadlock_report(WaitReason::Futex(word), None);
        stderr::write(format!("greenline: {report}\n").as_bytes());
    }

    pub(crate) fn deadlock_report(&self, wait: WaitReason, at: Option<&Location<'_>>) -> String {
        let state = self.state.borrow();
        let mut report = String::from(
            "deadlock: this would block for ever, for no green thread is ready, no timer is set, and \
             nobody outside holds a handle to the hub\n",
        );
        let root = &state.greens[GreenId::ROOT.key()];
        let _ = write!(report, "  root '{}' waits for {}", root.name(), state.describe(wait));
        if let Some(at) = at {
            let _ = write!(report, ", at {at}");
        }
        report.push('\n');
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

/// How many OS threads there are that could do something: all but the watchdog. Several, if that is not known.
fn os_threads() -> u64 {
    use std::os::unix::fs::MetadataExt;
    // A directory has a link for each directory in it, and two more.
    let links = std::fs::metadata("/proc/self/task").map_or(4, |task| task.nlink());
    links.saturating_sub(2 + helper_threads())
}

impl State {
    fn line(&self, green: &Green) -> String {
        format!(
            "green thread '{}' {}; {}",
            green.name(),
            match green.state {
                GreenState::Parked { .. } => format!("waits for {}", self.describe(green.wait)),
                _ => "is ready, but the policy has lost it".into(),
            },
            green.origin()
        )
    }

    fn describe(&self, wait: WaitReason) -> String {
        match wait {
            WaitReason::Nothing => "nothing".into(),
            WaitReason::Sleep => "a time".into(),
            WaitReason::For(what) => what.into(),
            WaitReason::Io(fd, Direction::Read) => format!("descriptor {fd} to be readable"),
            WaitReason::Io(fd, Direction::Write) => format!("descriptor {fd} to be writable"),
            WaitReason::Futex(word) => {
                format!("a lock, a condition or a thread of std's (the futex at {word:#x})")
            }
            WaitReason::Join(id) => {
                let green = self.greens.get(id.key()).filter(|green| green.id == id);
                match green {
                    Some(green) => format!("green thread '{}' to end", green.name()),
                    None => "a green thread that has ended".into(),
                }
            }
        }
    }
}
