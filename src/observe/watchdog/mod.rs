//! A green thread that does not give way keeps all others of its OS thread from running, and nothing inside of
//! that OS thread can say so. The watchdog can: an OS thread of its own that looks at all hubs, and reports one
//! that has not switched for too long.
//!
//! ```
//! use std::time::Duration;
//!
//! greenline::watchdog::start(Duration::from_millis(100))?;
//! greenline::spawn(|| {
//!     // Not patched: the whole hub waits. Some 100 ms on, in the log or else on stderr:
//!     //     green thread 'green-1' has not given way for 100ms; spawned at src/main.rs:5:1; on OS thread 'main' (4711)
//!     //       in the system call poll
//!     unsafe { libc::poll(std::ptr::null_mut(), 0, 250) };
//! })
//! .join()
//! .unwrap();
//! greenline::watchdog::stop();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! In debug builds it starts by itself with the first hub of the process, with a limit of half a second. The
//! environment variable `GREENLINE_WATCHDOG` says otherwise, also in release builds: milliseconds, or `0` for none.
//! What the program itself asks for, by [`start`] or [`stop`], counts more.
//!
//! # What it says
//!
//! Who it is, where it was spawned, for how long already; and where it is: the system call that it waits in, by the
//! name of which one can tell what should have been patched, or else a backtrace. A hub is reported when the limit
//! is over, and again each time that has lasted twice as long. When it switches again, that is said as well.
//!
//! A backtrace is names and lines with the feature `backtrace`. Without it, it is offsets into the executable
//! and its libraries, as `addr2line -fie FILE OFFSET` takes them.
//!
//! # What it does not disturb
//!
//! A hub that waits for events is idle, not stuck. The root that computes while no green thread is alive keeps
//! nobody waiting. Both are left in peace. So is whoever waits in a system call: only an OS thread that was
//! seen computing three times in a row is sent a signal (`SIGURG`, with `SA_RESTART`), by which it writes down its
//! own backtrace. If the program has put a handler of its own in place of the watchdog's, none is sent.
//!
//! # Limits
//!
//! It does not see who hangs in the hub's own loop: a policy, an observer. Who computes for long and yet
//! makes short system calls may have one of them interrupted (`EINTR`) by the signal. Green threads that were spawned
//! before [`start`], by other OS threads, are reported without a name. After `fork` the child has no watchdog until it
//! calls [`start`]; a `process::Process` has one if its parent has.
//!
//! | file           | is about                                        |
//! |----------------|-------------------------------------------------|
//! | `watched.rs`   | when a hub is stuck, and when that is said        |
//! | `place.rs`     | the system call, or none                         |
//! | `backtrace.rs` | asking an OS thread for its backtrace, by a signal |
//!
//! Source: gevent's `GEVENT_MONITOR_THREAD_ENABLE`; Go's `sysmon`.
#![allow(unsafe_code)]

mod backtrace;
mod stall;
mod thread_state;

use crate::green::catch_body;
use crate::hub::status;
use crate::hub::status::HubStatus;
use crate::ids::GreenId;
use crate::observe::panic_hook::log_or_stderr;
use crate::sys::kernel_futex;
use crate::sys::os_thread::spawn_os_thread;
use crate::sys::quiescent::quiescent;
use crate::sys::signals_blocked::SignalsBlocked;
use stall::{Finding, Watched};
use std::fmt::Write;
use std::io;
use std::sync::Once;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};
use thread_state::Place;

/// Nanoseconds; 0: there is to be no watchdog.
static LIMIT: AtomicU64 = AtomicU64::new(0);
/// Whether there is one. Who changes it from `false` makes it.
static RUNNING: AtomicBool = AtomicBool::new(false);
/// Changes when `LIMIT` does: the futex that the watchdog sleeps on.
static BELL: AtomicU32 = AtomicU32::new(0);
/// Whether it was said already if there is to be one.
static DECIDED: AtomicBool = AtomicBool::new(false);

/// The limit that it starts with by itself.
const BY_ITSELF: Duration = Duration::from_millis(500);
/// In a forked child: what `LIMIT` was in its parent.
static INHERITED: AtomicU64 = AtomicU64::new(0);

/// Between two looks.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(100);

/// Watches all hubs of the process, from now on, for one that does not switch for `limit`. Called again, it changes
/// the limit. Less than a millisecond counts as one.
///
/// # Errors
/// The OS thread cannot be made.
pub fn start(limit: Duration) -> io::Result<()> {
    DECIDED.store(true, Relaxed);
    backtrace::install();
    static FORK: Once = Once::new();
    FORK.call_once(|| {
        // SAFETY: three functions that are always there. If there is no memory for them, a fork is as it was.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork_in_child)) };
    });
    let nanos = limit.max(SHORTEST).as_nanos();
    LIMIT.store(u64::try_from(nanos).unwrap_or(u64::MAX), SeqCst);
    status::want_labels(true);
    ring();
    if let Some(hub) = crate::hub::try_current() {
        hub.publish_labels();
    }
    if RUNNING.swap(true, SeqCst) {
        return Ok(());
    }
    let made = spawn_os_thread("greenline-watchdog", watch);
    match made {
        Ok(_) => {
            status::add_helper_threads(1);
            Ok(())
        }
        Err(error) => {
            LIMIT.store(0, SeqCst);
            status::want_labels(false);
            RUNNING.store(false, SeqCst);
            Err(error)
        }
    }
}

/// Ends the watch. A report that is on its way may still come.
pub fn stop() {
    DECIDED.store(true, Relaxed);
    LIMIT.store(0, SeqCst);
    status::want_labels(false);
    ring();
}

/// Starts it with the first hub of the process, if the build or the environment says so and the program has said
/// nothing. A program can do without: if the OS thread cannot be made, there is none.
pub(crate) fn start_by_itself() {
    if DECIDED.swap(true, Relaxed) {
        return;
    }
    let by_itself = cfg!(debug_assertions).then_some(BY_ITSELF);
    let limit = match std::env::var("GREENLINE_WATCHDOG") {
        Err(_) => by_itself,
        Ok(text) => match text.trim().parse() {
            Ok(0) => None,
            Ok(millis) => Some(Duration::from_millis(millis)),
            Err(_) => by_itself,
        },
    };
    if let Some(limit) = limit {
        let _ = start(limit);
    }
}

/// In a child, where it was not forked along: starts one if the parent has one. It can do without.
pub(crate) fn start_as_in_parent() {
    match INHERITED.swap(0, SeqCst) {
        0 => {}
        limit => _ = start(Duration::from_nanos(limit)),
    }
}

/// Wakes the watchdog.
fn ring() {
    BELL.fetch_add(1, SeqCst);
    kernel_futex::wake_one(&BELL);
}

extern "C" fn before_fork() {
    status::before_fork();
}

extern "C" fn after_fork() {
    // SAFETY: called after `before_fork`, on the same OS thread.
    unsafe { status::after_fork() };
}

extern "C" fn after_fork_in_child() {
    // SAFETY: as in `after_fork`.
    unsafe { status::after_fork_in_child(crate::hub::try_current().map(|hub| hub.status())) };
    backtrace::forget();
    INHERITED.store(LIMIT.swap(0, SeqCst), SeqCst);
    RUNNING.store(false, SeqCst);
}

/// The whole life of the watchdog.
fn watch() {
    SignalsBlocked::new();
    let mut hubs = Vec::new();
    let mut last = Instant::now();
    loop {
        let rung = BELL.load(SeqCst);
        let limit = match LIMIT.load(SeqCst) {
            0 if is_over() => return,
            0 => continue,
            nanos => Duration::from_nanos(nanos),
        };
        let period = (limit / 4).clamp(SHORTEST, LONGEST);
        // Until then, or until the bell has rung since.
        quiescent(|| kernel_futex::wait(&BELL, rung, Some(period)));
        // While the whole process was stopped, or the machine asleep, nobody could have switched.
        let passed = last.elapsed().min(2 * period);
        last = Instant::now();
        for report in look(&mut hubs, passed, limit) {
            report.make();
        }
    }
}

/// Whether this OS thread is to end: nobody has called `start` since `stop`.
fn is_over() -> bool {
    status::add_helper_threads(-1);
    RUNNING.store(false, SeqCst);
    // Whoever calls `start` from here on makes a new one; unless we are quicker, and stay.
    let stays = LIMIT.load(SeqCst) != 0 && !RUNNING.swap(true, SeqCst);
    if stays {
        status::add_helper_threads(1);
    }
    !stays
}

/// Looks at each hub once. What is to be reported is answered, for nothing may wait meanwhile.
fn look(hubs: &mut Vec<Watched>, passed: Duration, limit: Duration) -> Vec<Report> {
    let mut reports = Vec::new();
    let mut there = Vec::with_capacity(hubs.len());
    status::for_each_hub(|pulse| {
        let known = hubs.iter().position(|watched| watched.hub == pulse.number());
        let mut watched = known.map_or_else(|| Watched::new(pulse.number()), |at| hubs.swap_remove(at));
        let who = pulse.current();
        let keeps_somebody = match who {
            GreenId::HUB => false,
            GreenId::ROOT => pulse.alive() > 0,
            _ => true,
        };
        match watched.look(pulse.switches(), keeps_somebody, passed, limit) {
            Finding::Nothing => {}
            Finding::Stuck(time) => {
                watched.who = title(pulse, who);
                reports.push(Report::Stuck {
                    who: watched.who.clone(),
                    time,
                    besides: besides(pulse, who),
                    tid: pulse.tid(),
                    switches: pulse.switches(),
                });
            }
            Finding::Over(time) => reports.push(Report::Over { who: std::mem::take(&mut watched.who), time }),
        }
        there.push(watched);
    });
    *hubs = there;
    reports
}

/// Who keeps whom: the subject of a report's sentence.
fn title(pulse: &HubStatus, who: GreenId) -> String {
    match pulse.label(who).and_then(|label| label.name) {
        _ if who == GreenId::ROOT => "the root".into(),
        Some(name) => format!("green thread '{name}'"),
        None => format!("green thread 'green-{who}'"),
    }
}

/// What else is to be said of it: where it is from, whom it keeps.
fn besides(pulse: &HubStatus, who: GreenId) -> String {
    let mut text = String::new();
    if let Some(label) = pulse.label(who).filter(|_| who != GreenId::ROOT) {
        let _ = write!(text, "; spawned at {}", label.spawned_at);
    }
    let _ = write!(text, "; on OS thread '{}' ({})", pulse.os_thread(), pulse.tid());
    match pulse.alive().saturating_sub(u64::from(who != GreenId::ROOT)) {
        0 => {}
        1 => text += ", where another is alive",
        others => _ = write!(text, ", where {others} others are alive"),
    }
    text
}

/// What is to be said.
enum Report {
    Stuck { who: String, time: Duration, besides: String, tid: i32, switches: u64 },
    Over { who: String, time: Duration },
}

impl Report {
    /// Says it. Where the program's logger panics, it is not said.
    fn make(self) {
        let text = match self {
            Report::Over { who, time } => format!("{who} has given way, after {time:.0?}"),
            Report::Stuck { who, time, besides, tid, switches } => {
                let mut text = format!("{who} has not given way for {time:.0?}{besides}");
                describe_place(&mut text, tid, switches);
                text
            }
        };
        let _ = catch_body(|| log_or_stderr(log::Level::Warn, &text));
    }
}

fn describe_place(text: &mut String, tid: i32, switches: u64) {
    let said = match Place::of(tid) {
        Place::Call(number) => match thread_state::name(number) {
            Some(name) => write!(text, "\n  in the system call {name}"),
            None => write!(text, "\n  in the system call number {number}"),
        },
        Place::Asleep => write!(text, "\n  in the kernel"),
        Place::Unknown => Ok(()),
        Place::Computing => match backtrace::of(tid, switches) {
            Some(frames) if frames.is_empty() => write!(text, "\n  it has gone on just now"),
            Some(frames) => {
                let _ = write!(text, "\n  it computes:");
                frames.into_iter().try_for_each(|frame| write!(text, "\n    {frame}"))
            }
            None => {
                write!(text, "\n  it computes (no backtrace: it does not take signal {})", backtrace::SIGNAL)
            }
        },
    };
    let _ = said; // a String takes all
}
