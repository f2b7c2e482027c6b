//! The report of a deadlock: nothing can ever wake the hub. It lists what each green thread waits for.
//!
//! Source: gevent's `LoopExit`, which has no such list; Go's "all goroutines are asleep".
//!
//! Next: `hub/status.rs`.

use super::fields::Hub;
use super::state::HubState;
use super::status::helper_threads;
use crate::green::GreenState;
use crate::ids::{Direction, GreenId, WaitReason};
use std::fmt::Write;
use std::panic::Location;

impl Hub {
    /// Returns whether a green thread waits for a word that another OS thread could change, and there is another OS thread.
    pub(super) fn others_may_wake(&self) -> bool {
        self.futex_waiters.get() > 0 && os_threads() > 1
    }

    /// Panics in the root, with a list of all green threads.
    #[cold]
    pub(crate) fn panic_deadlocked(&self, wait: WaitReason, at: &Location<'_>) -> ! {
        let report = self.deadlock_report(wait, Some(at));
        panic!("{report}");
    }

    pub(crate) fn deadlock_report(&self, wait: WaitReason, at: Option<&Location<'_>>) -> String {
        let state = self.state.borrow();
        let mut report = String::from(
            "deadlock: this would block for ever, for no green thread is ready, no timer is set, and \
             no other OS thread holds a handle to the hub\n",
        );
        let root = &state.greens[GreenId::ROOT.key()];
        let _ = write!(report, "  root '{}' waits for {}", root.name(), state.describe(wait));
        if let Some(at) = at {
            let _ = write!(report, ", at {at}");
        }
        report.push('\n');
        for (key, green) in &state.greens {
            let does = match green.state {
                _ if key == GreenId::ROOT.key() => continue,
                GreenState::Finished => continue,
                GreenState::Parked(_) => format!("waits for {}", state.describe(green.wait)),
                _ => "is ready, but the policy has lost it".into(),
            };
            let _ = writeln!(report, "  green thread '{}' {does}; {}", green.name(), green.origin());
        }
        report.push_str(
            "(a wait for something that only another OS thread can do needs a greenline::Handle there)",
        );
        report
    }
}

/// Returns the number of OS threads without the watchdog; two if it is not known.
fn os_threads() -> u64 {
    use std::os::unix::fs::MetadataExt;
    // The link count of a directory is the number of directories in it plus two.
    let links = std::fs::metadata("/proc/self/task").map_or(4, |task| task.nlink());
    links.saturating_sub(2 + helper_threads())
}

impl HubState {
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
            WaitReason::Join(id) => match self.greens.get(id.key()).filter(|green| green.id == id) {
                Some(green) => format!("green thread '{}' to end", green.name()),
                None => "a green thread that has ended".into(),
            },
        }
    }
}
