//! Identifying a process, and seeing whether it has exited: for waiting for what another process holds.
//!
//! A process number alone does not identify a process, because the kernel reuses it after the process was reaped. The
//! number together with the start time does. The start time is field 22 of `/proc/PID/stat`: see proc(5).
//!
//! Next: `shared/condvar.rs`, waiting.

use super::epoch::epoch;
use crate::descriptor::Descriptor;
use greenline::internals::with_blocking_disabled;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A process, this one or another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProcessId {
    number: u32,
    /// Start time in clock ticks since boot; 0 if it is not known, because there is no `/proc`.
    start_time: u64,
}

impl ProcessId {
    /// Returns this process. Only the first call in each process makes system calls.
    #[inline]
    pub(crate) fn current() -> ProcessId {
        static CACHED_IN: AtomicU64 = AtomicU64::new(0);
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static START_TIME: AtomicU64 = AtomicU64::new(0);
        let epoch = epoch().unwrap_or(0);
        if epoch == 0 || CACHED_IN.load(Acquire) != epoch {
            // If several OS threads come here, all of them find the same.
            let number = std::process::id();
            NUMBER.store(number, Relaxed);
            START_TIME.store(start_time(number), Relaxed);
            CACHED_IN.store(epoch, Release);
        }
        ProcessId { number: NUMBER.load(Relaxed), start_time: START_TIME.load(Relaxed) }
    }

    /// Opens a descriptor that is readable once the process has exited.
    ///
    /// Errors: no descriptor is left.
    fn exit_fd(self) -> io::Result<Descriptor> {
        match Descriptor::pidfd(self.number) {
            // Read after the descriptor was opened: if the number was reused before, this is the new process's start time.
            Ok(fd) if [0, self.start_time].contains(&start_time(self.number)) || self.start_time == 0 => {
                Ok(fd)
            }
            // There is no such process, or an OS thread has the number now.
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => Err(error),
            // It is readable now.
            _ => Descriptor::eventfd(1),
        }
    }
}

/// Watches for the exit of one other process at a time, while a condition is waited for:
/// [`Monitor::wait_watching`](super::Monitor::wait_watching).
#[derive(Default)]
pub(crate) struct ExitWatch {
    /// The process that this look at the condition has asked about.
    asked: Option<ProcessId>,
    /// The process that is watched. No descriptor: none was left.
    watched: Option<(ProcessId, Option<Descriptor>)>,
}

impl ExitWatch {
    /// Returns whether `process` has exited. If it is not watched yet, returns `None`; it is watched before the caller is
    /// called again.
    pub(crate) fn has_exited(&mut self, process: ProcessId) -> Option<bool> {
        self.asked = Some(process);
        let (_, fd) = self.watched.as_ref().filter(|(watched, _)| *watched == process)?;
        Some(fd.as_ref().is_some_and(Descriptor::is_readable))
    }

    /// Ends a look at the condition: from now on watches the process that was asked about, if any, and no other. Returns
    /// whether it was not watched before, so that another look is due.
    pub(super) fn end_look(&mut self) -> bool {
        let asked = self.asked.take();
        let before = self.watched.take().filter(|(watched, _)| Some(*watched) == asked);
        let is_new = asked.is_some() && before.is_none();
        let fd = before.and_then(|(_, fd)| fd);
        self.watched = asked.map(|asked| (asked, fd.or_else(|| asked.exit_fd().ok())));
        is_new
    }

    /// Returns the descriptor of the process that is watched.
    pub(super) fn as_raw_fd(&self) -> Option<RawFd> {
        Some(self.watched.as_ref()?.1.as_ref()?.as_fd().as_raw_fd())
    }
}

/// Returns the start time of the process with that number, or 0 if it cannot be known.
fn start_time(number: u32) -> u64 {
    // The caller waits for a lock and must not park for a file first, as a patched function may.
    let stat = with_blocking_disabled(|| std::fs::read(format!("/proc/{number}/stat")));
    stat.ok().and_then(|stat| field_22(&stat)).unwrap_or(0)
}

/// Returns field 22 of `stat`. Field 2, the name of the program, may have spaces and brackets in it.
fn field_22(stat: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(&stat[stat.iter().rposition(|&byte| byte == b')')? + 1..]).ok()?;
    text.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_has_the_start_time_and_has_not_exited() {
        let this = ProcessId::current();
        assert_eq!((this.number, this.start_time), (std::process::id(), start_time(std::process::id())));
        assert_ne!(this.start_time, 0);
        assert!(!this.exit_fd().unwrap().is_readable());
    }

    #[test]
    fn exit_fd_of_a_reused_number_is_readable() {
        let this = ProcessId::current();
        assert!(ProcessId { start_time: this.start_time + 1, ..this }.exit_fd().unwrap().is_readable());
        // The kernel gives out no number as large as this.
        assert!(ProcessId { number: 1 << 23, start_time: 1 }.exit_fd().unwrap().is_readable());
    }

    #[test]
    fn exit_watch_asked_about_another_process_watches_that_one() {
        let (this, mut watch) = (ProcessId::current(), ExitWatch::default());
        let exited = ProcessId { start_time: this.start_time + 1, ..this };
        for (process, has_exited) in [(this, false), (exited, true), (this, false)] {
            assert_eq!(watch.has_exited(process), None);
            assert!(watch.end_look());
            assert_eq!(watch.has_exited(process), Some(has_exited));
            assert!(!watch.end_look());
            assert!(watch.as_raw_fd().is_some());
        }
        assert!(!watch.end_look());
        assert_eq!(watch.as_raw_fd(), None);
    }

    #[test]
    fn field_22_bears_brackets_in_the_name() {
        let stat = b"7 (a) b 1 (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(field_22(stat), Some(4711));
    }
}
