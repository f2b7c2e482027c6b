//! The watchdog: an OS thread of its own that reports each hub that has not switched for too long.
//!
//! A green thread that does not block keeps all other green threads of its OS thread from running, and no code on that OS
//! thread can report it. The watchdog looks at all hubs from outside.
//!
//! ```
//! use std::time::Duration;
//!
//! greenline::watchdog::start(Duration::from_millis(100))?;
//! greenline::spawn(|| {
//!     // Not patched, so the whole hub waits. After some 100 ms, in the log or else on stderr:
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
//! In debug builds the watchdog starts by itself with the first hub of the process, with a limit of half a second. The
//! environment variable `GREENLINE_WATCHDOG` sets another limit in milliseconds, also in release builds; `0` means no
//! watchdog. [`start`] and [`stop`] take precedence over both.
//!
//! # Reports
//!
//! A report names the green thread, where it was spawned, and for how long it has run. It also says where the OS thread is.
//! If it waits in a system call, the report names the call, which tells what should have been patched. Otherwise it has a
//! backtrace. A hub is reported when the limit has passed, and again each time the duration has doubled. When it switches
//! again, that is reported as well.
//!
//! With the feature `backtrace`, a backtrace has names and lines. Without it, it has offsets into the executable and its
//! libraries, as `addr2line -fie FILE OFFSET` takes them.
//!
//! # What the watchdog leaves alone
//!
//! A hub that waits for events is idle, not stalled. A root that computes while no green thread is alive keeps none from
//! running. Neither is reported. An OS thread that waits in a system call is not disturbed. The watchdog sends a signal
//! (`SIGURG`, with `SA_RESTART`) only to an OS thread that it has seen computing three times in a row. The handler of that
//! signal stores the backtrace. If the program has replaced the watchdog's handler by its own, no signal is sent.
//!
//! # Limits
//!
//! The watchdog does not see a hang in the hub's own loop, in a policy or an observer. The signal may interrupt a short
//! system call (`EINTR`) of code that computes for long. Green threads that other OS threads spawned before [`start`] are
//! reported without a name. After `fork` the child has no watchdog until it calls [`start`]. A `greenline_process::Process` has one if
//! its parent has.
//!
//! | file              | concept                                            |
//! |-------------------|----------------------------------------------------|
//! | `control.rs`      | starting and stopping the watchdog; its loop       |
//! | `stall.rs`        | when a hub counts as stalled, and when to report   |
//! | `report.rs`       | the examination of all hubs, and the text          |
//! | `thread_state.rs` | the system call in which an OS thread waits        |
//! | `backtrace.rs`    | asking an OS thread for its backtrace, by a signal |
//!
//! Next: `observe/watchdog/control.rs`.
//!
//! Source: gevent's `GEVENT_MONITOR_THREAD_ENABLE`; Go's `sysmon`.

mod backtrace;
mod control;
mod report;
mod stall;
mod thread_state;

pub use control::{start, stop};
pub(crate) use control::{start_as_in_parent, start_by_itself};
