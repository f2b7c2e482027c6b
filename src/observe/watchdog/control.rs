//! Starting and stopping the watchdog, and its loop.
//!
//! Next: `observe/watchdog/report.rs`, what the loop reports.
#![allow(unsafe_code)]

use super::{backtrace, report};
use crate::hub::{status, try_current};
use crate::sys::kernel_futex;
use crate::sys::os_thread::spawn_os_thread;
use crate::sys::quiescent::quiescent;
use crate::sys::sigset::Signals;
use std::collections::HashMap;
use std::io;
use std::sync::Once;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

/// The limit in nanoseconds. 0: the watchdog is off.
static LIMIT: AtomicU64 = AtomicU64::new(0);
/// Whether the watchdog's OS thread exists. The caller that changes this from `false` makes the OS thread.
static RUNNING: AtomicBool = AtomicBool::new(false);
/// Number of changes of `LIMIT`. The watchdog sleeps on this futex.
static CHANGES: AtomicU32 = AtomicU32::new(0);
/// Whether the program or the first hub has decided if there is a watchdog.
static DECIDED: AtomicBool = AtomicBool::new(false);
/// In a forked child: the value of `LIMIT` in its parent.
static INHERITED: AtomicU64 = AtomicU64::new(0);

/// The limit with which the watchdog starts by itself.
const DEFAULT_LIMIT: Duration = Duration::from_millis(500);

/// Shortest and longest time between two examinations.
const PERIODS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// Reports, from now on, each hub of the process that does not switch for `limit`. A later call changes the limit. A limit of
/// less than a millisecond counts as one millisecond.
///
/// # Errors
/// The OS thread cannot be made.
pub fn start(limit: Duration) -> io::Result<()> {
    DECIDED.store(true, Relaxed);
    backtrace::install();
    static FORK: Once = Once::new();
    FORK.call_once(|| {
        let (before, after) = (Some(status::before_fork as _), Some(status::after_fork as _));
        // SAFETY: these functions exist as long as the process, and the C library calls the first before the others, on the
        // same OS thread. If there is no memory to register them, a fork does nothing for the watchdog.
        unsafe { libc::pthread_atfork(before, after, Some(after_fork_in_child)) };
    });
    let nanos = limit.max(PERIODS.0).as_nanos();
    set_limit(u64::try_from(nanos).unwrap_or(u64::MAX));
    if let Some(hub) = try_current() {
        hub.publish_labels();
    }
    if !RUNNING.swap(true, SeqCst) {
        if let Err(error) = spawn_os_thread("greenline-watchdog", run) {
            set_limit(0);
            RUNNING.store(false, SeqCst);
            return Err(error);
        }
        status::add_helper_threads(1);
    }
    Ok(())
}

/// Ends the watchdog. A report that is being made may still appear.
pub fn stop() {
    DECIDED.store(true, Relaxed);
    set_limit(0);
}

/// Starts the watchdog with the first hub of the process, if this is a debug build or the environment asks for it. Nothing
/// happens if the OS thread cannot be made, or if the program has decided before.
pub(crate) fn start_by_itself() {
    if DECIDED.swap(true, Relaxed) {
        return;
    }
    let default = cfg!(debug_assertions).then_some(DEFAULT_LIMIT);
    let millis = std::env::var("GREENLINE_WATCHDOG").ok().and_then(|text| text.trim().parse().ok());
    let limit = millis.map(Duration::from_millis).or(default);
    if let Some(limit) = limit.filter(|limit| !limit.is_zero()) {
        let _ = start(limit);
    }
}

/// In a child that has the parent's memory but not its watchdog: starts one if the parent has one. Failures are ignored.
pub(crate) fn start_as_in_parent() {
    match INHERITED.swap(0, SeqCst) {
        0 => {}
        limit => _ = start(Duration::from_nanos(limit)),
    }
}

fn set_limit(nanos: u64) {
    LIMIT.store(nanos, SeqCst);
    status::want_labels(nanos != 0);
    CHANGES.fetch_add(1, SeqCst);
    kernel_futex::wake_one(&CHANGES);
}

extern "C" fn after_fork_in_child() {
    // SAFETY: the C library calls this after `status::before_fork`, on the same OS thread.
    unsafe { status::after_fork_in_child(try_current().map(|hub| hub.status())) };
    backtrace::reset_after_fork();
    INHERITED.store(LIMIT.swap(0, SeqCst), SeqCst);
    RUNNING.store(false, SeqCst);
}

/// The watchdog's OS thread: examines all hubs, until the watchdog is stopped.
fn run() {
    Signals::block_all();
    let mut detectors = HashMap::new();
    let mut last = Instant::now();
    loop {
        let changes = CHANGES.load(SeqCst);
        let limit = match LIMIT.load(SeqCst) {
            0 if has_ended() => return,
            0 => continue,
            nanos => Duration::from_nanos(nanos),
        };
        let period = (limit / 4).clamp(PERIODS.0, PERIODS.1);
        // Returns earlier if the limit has changed since `changes` was read.
        quiescent(|| kernel_futex::wait(&CHANGES, changes, Some(period)));
        // While the whole process was stopped, or the machine asleep, no hub could switch.
        let passed = last.elapsed().min(2 * period);
        last = Instant::now();
        for report in report::examine(&mut detectors, passed, limit) {
            report.write();
        }
    }
}

/// Returns whether this OS thread ends, because `start` was not called since `stop`.
fn has_ended() -> bool {
    RUNNING.store(false, SeqCst);
    // A later call of `start` makes another OS thread. If the call has come by now and this OS thread is quicker, it stays.
    let ends = LIMIT.load(SeqCst) == 0 || RUNNING.swap(true, SeqCst);
    if ends {
        status::add_helper_threads(-1);
    }
    ends
}
