//! Making an OS thread, and joining it.
//!
//! Next: `thread/non_daemon.rs`, the OS threads for which the process waits.

use super::non_daemon::NonDaemonGuard;
use crate::api::oneshot::{OneshotSender, RemoteJoinHandle, oneshot};
use crate::green::{JoinError, catch_body};
use crate::hub::try_current;
use crate::sys::os_thread::spawn_os_thread;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// An OS thread that has not been started.
///
/// ```
/// let doubled = greenline::thread::Thread::new(|| 21 * 2).name("doubler").start().unwrap();
/// // Other green threads run meanwhile.
/// assert_eq!(doubled.join().unwrap(), 42);
/// ```
///
/// When `main` returns, or `std::process::exit` is called, the process waits for all OS threads that are not
/// [daemons](Thread::daemon), and then ends. (An OS thread that itself calls `exit` after `main` has returned counts as
/// ended. The exit code is that of `main`.) If such an OS thread waits for a green thread of the main hub, the wait fails,
/// because that hub is gone. The process does not wait for std's own threads.
///
/// Source: Python's `threading.Thread`, whose counterpart under gevent is `monkey.get_original`.
#[must_use = "it does nothing until it is started"]
pub struct Thread<F> {
    pub(super) f: F,
    pub(super) name: Option<String>,
    pub(super) daemon: bool,
}

impl<F, T> Thread<F>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    /// Returns an OS thread that will run `f`.
    pub fn new(f: F) -> Thread<F> {
        Thread { f, name: None, daemon: false }
    }

    /// Sets the name, for panics and debuggers. The default is `Thread-N`. The name must not contain a 0.
    pub fn name(mut self, name: impl Into<String>) -> Thread<F> {
        self.name = Some(name.into());
        self
    }

    /// Sets whether the OS thread is a daemon: the process ends without waiting for it. The default is `false`, also if a
    /// daemon starts it. (In Python, a thread inherits this.)
    pub fn daemon(mut self, daemon: bool) -> Thread<F> {
        self.daemon = daemon;
        self
    }

    /// Makes the OS thread, which runs `f`.
    ///
    /// The OS thread can be joined as soon as `f` has returned. If `std::thread::spawn` has made green threads there, the OS
    /// thread goes on until they have ended, because threads outlive their makers. Other green threads are abandoned, as the
    /// crate's front page says.
    ///
    /// # Errors
    /// There are too many OS threads already, or there is no memory for the stack.
    ///
    /// # Panics
    /// If the name contains a 0.
    pub fn start(self) -> io::Result<JoinHandle<T>> {
        let Thread { f, name, daemon } = self;
        let name: Arc<str> = name.unwrap_or_else(next_name).into();
        let (sender, handle) = oneshot();
        let guard = (!daemon).then(NonDaemonGuard::new);
        spawn_os_thread(&name, move || run(f, sender, guard))?;
        Ok(JoinHandle { result: handle, name })
    }
}

/// Returns a name for an OS thread without one.
fn next_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("Thread-{}", COUNT.fetch_add(1, Relaxed))
}

/// Runs on the new OS thread.
fn run<T>(f: impl FnOnce() -> T, sender: OneshotSender<T>, guard: Option<NonDaemonGuard>) {
    if let Some(guard) = guard {
        guard.keep_until_exit();
    }
    sender.complete(catch_body(f));
    if let Some(hub) = try_current() {
        hub.wait_for_pthreads();
    }
}

/// An OS thread that was started, and the right to its result. Dropping the handle detaches.
pub struct JoinHandle<T> {
    result: RemoteJoinHandle<T>,
    name: Arc<str>,
}

impl<T> JoinHandle<T> {
    /// Waits until the OS thread's function has returned. Blocks only the calling green thread. Where there is no hub, blocks
    /// the calling OS thread.
    ///
    /// # Errors
    /// The function panicked: [`JoinError::Panicked`].
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.result.join()
    }

    /// Joins as [`join`](Self::join) does, for at most `timeout`. With a timeout of zero, only looks.
    ///
    /// # Errors
    /// The inner result is that of `join`. If the timeout has passed, the outer error is this handle, and the OS thread goes
    /// on.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        let JoinHandle { result, name } = self;
        result.join_timeout(timeout).map_err(|result| JoinHandle { result, name })
    }

    /// Returns whether `join` would return at once.
    pub fn is_finished(&self) -> bool {
        self.result.is_finished()
    }

    /// Returns whether the function still runs: the opposite of [`is_finished`](Self::is_finished), by Python's name.
    pub fn is_alive(&self) -> bool {
        !self.is_finished()
    }

    /// Returns the name.
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
