//! Real OS threads, also after [`patch::threads`](crate::patch::threads): for what has to run on another core, or
//! blocks where nothing can be patched.
//!
//! `std::thread::spawn` makes an OS thread, too, until it is patched, and from then on makes a green thread where
//! a hub is.
//!
//! | file        | is about                                          |
//! |-------------|---------------------------------------------------|
//! | `living.rs` | those that are waited for when the process ends   |
//! | `timer.rs`  | a function that is called some time from now      |
//! | `rest.rs`   | those that do not keep the process from forking   |
//! | `mask.rs`   | those that leave signals to others                |

mod non_daemon;
pub(crate) mod offload;
mod timer;

use crate::api::oneshot::{OneshotSender, RemoteJoinHandle, oneshot};
use crate::green::{JoinError, catch_body};
use crate::sys::os_thread::spawn_os_thread;
use non_daemon::NonDaemonGuard;
pub(crate) use non_daemon::wait_for_all;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
pub use timer::{Timer, TimerHandle};

/// An OS thread that is to be made.
///
/// ```
/// let doubled = greenline::thread::Thread::new(|| 21 * 2).name("doubler").start().unwrap();
/// // Others run here meanwhile.
/// assert_eq!(doubled.join().unwrap(), 42);
/// ```
///
/// When `main` returns, or `std::process::exit` is called, the process ends only when those OS threads have ended that
/// are not [daemons](Thread::daemon). (One that calls `exit` itself while `main` is over has ended by that; the exit code
/// is that of `main`.) Who waits there for a green thread of the main hub is told that this hub is gone. At the end of
/// std's own threads nobody waits.
///
/// Source: Python's `threading.Thread`, whose counterpart under gevent is `monkey.get_original`.
#[must_use = "it does nothing until it is started"]
pub struct Thread<F> {
    f: F,
    name: Option<String>,
    daemon: bool,
}

impl<F, T> Thread<F>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    /// One that will run `f`.
    pub fn new(f: F) -> Thread<F> {
        Thread { f, name: None, daemon: false }
    }

    /// The name, in panics and for debuggers; `Thread-N` if there is none. It must not contain a 0.
    pub fn name(mut self, name: impl Into<String>) -> Thread<F> {
        self.name = Some(name.into());
        self
    }

    /// Whether it is a daemon: the process ends without waiting for it. Not one, if not said, whoever starts it: unlike
    /// Python's, it does not inherit this.
    pub fn daemon(mut self, daemon: bool) -> Thread<F> {
        self.daemon = daemon;
        self
    }

    /// Makes the OS thread and has it run.
    ///
    /// When `f` has returned it can be joined. If green threads were made there by `std::thread::spawn`, the OS thread
    /// goes on for as long as they do, for threads outlive who has made them; others are abandoned, as the crate's
    /// front page says.
    ///
    /// # Errors
    /// There are too many already, or there is no memory for its stack.
    ///
    /// # Panics
    /// When the name contains a 0.
    pub fn start(self) -> io::Result<JoinHandle<T>> {
        let name: Arc<str> = self.name.unwrap_or_else(next_name).into();
        let (sender, handle) = oneshot();
        let awaited = (!self.daemon).then(NonDaemonGuard::new);
        let f = self.f;
        spawn_os_thread(&name, move || run(f, sender, awaited))?;
        Ok(JoinHandle { result: handle, name })
    }
}

/// The name of one that was given none.
fn next_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("Thread-{}", COUNT.fetch_add(1, Relaxed))
}

/// The whole life of the OS thread.
fn run<T>(f: impl FnOnce() -> T, sender: OneshotSender<T>, awaited: Option<NonDaemonGuard>) {
    if let Some(awaited) = awaited {
        awaited.begin();
    }
    sender.complete(catch_body(f));
    if let Some(hub) = crate::hub::try_current() {
        hub.wait_for_pthreads();
    }
}

/// An OS thread that was started, and the right to what it returns. Dropping it detaches.
pub struct JoinHandle<T> {
    result: RemoteJoinHandle<T>,
    name: Arc<str>,
}

impl<T> JoinHandle<T> {
    /// Waits for the OS thread to end. Blocks the current green thread and no other; where there is no hub, the
    /// OS thread.
    ///
    /// # Errors
    /// It panicked: [`JoinError::Panicked`].
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.result.join()
    }

    /// As [`join`](Self::join), for no longer than `timeout`. Zero only looks.
    ///
    /// # Errors
    /// The inner result is that of `join`. The outer error is this handle: the time is over, the OS thread runs on.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        let JoinHandle { result, name } = self;
        result.join_timeout(timeout).map_err(|result| JoinHandle { result, name })
    }

    /// Whether `join` would answer at once.
    pub fn is_finished(&self) -> bool {
        self.result.is_finished()
    }

    /// Whether what it was made to do goes on: the opposite of [`is_finished`](Self::is_finished), in Python's words.
    pub fn is_alive(&self) -> bool {
        !self.is_finished()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.is_finished();
        f.debug_struct("JoinHandle").field("name", &self.name).field("finished", &finished).finish()
    }
}
