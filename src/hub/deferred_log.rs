//! Log lines of the hub's loop, kept until the root runs. A logger may block, or ask which green thread runs; in the loop
//! it could do neither.
//!
//! Next: `hub/deadlock.rs`.

use super::fields::Hub;

/// Number of lines that are kept; further lines are lost. Where something fails a thousand times, memory may be short.
const DEFERRED_LOGS_MAX: usize = 32;

impl Hub {
    /// Logs `text` when the root next runs.
    #[cold]
    pub(super) fn defer_log(&self, level: log::Level, text: String) {
        let mut lines = self.deferred_logs.borrow_mut();
        if lines.len() < DEFERRED_LOGS_MAX {
            lines.push((level, text));
        }
    }

    /// Logs what was deferred.
    #[inline]
    pub(super) fn flush_deferred_logs(&self) {
        if !self.deferred_logs.borrow().is_empty() {
            let lines = self.deferred_logs.take();
            lines.into_iter().for_each(|(level, text)| log::log!(level, "{text}"));
        }
    }
}
