//! A function that an OS thread of its own calls after a delay.
//!
//! Next: `thread/offload/mod.rs`.

use super::start::{JoinHandle, Thread};
use crate::green::JoinError;
use crate::sys::kernel_futex;
use crate::sys::quiescent::quiescent;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// The states of a timer: waiting, cancelled, or past the point where it can be cancelled.
const WAITING: u32 = 0;
const CANCELLED: u32 = 1;
const CALLED: u32 = 2;

/// A function that an OS thread calls once, after a delay.
///
/// ```
/// use greenline::thread::Timer;
/// use std::time::Duration;
///
/// let soon = Timer::new(Duration::from_millis(1), || 42).start().unwrap();
/// let late = Timer::new(Duration::from_secs(3600), || 42).start().unwrap();
/// assert!(late.cancel());
/// assert_eq!(soon.join().unwrap(), Some(42));
/// assert_eq!(late.join().unwrap(), None);
/// ```
///
/// [`spawn_after`](crate::spawn_after) does the same with a green thread. Source: Python's `threading.Timer`.
#[must_use = "it does nothing until it is started"]
pub struct Timer<F> {
    delay: Duration,
    thread: Thread<F>,
}

impl<F, T> Timer<F>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    /// Returns a timer that will call `f` when `delay` has passed since its start.
    pub fn new(delay: Duration, f: F) -> Timer<F> {
        Timer { delay, thread: Thread::new(f) }
    }

    /// Sets the name of the OS thread, as [`Thread::name`] does.
    pub fn name(mut self, name: impl Into<String>) -> Timer<F> {
        self.thread = self.thread.name(name);
        self
    }

    /// Sets whether the process ends without waiting for the timer, as [`Thread::daemon`] does.
    pub fn daemon(mut self, daemon: bool) -> Timer<F> {
        self.thread = self.thread.daemon(daemon);
        self
    }

    /// Starts the timer. While it waits, processes can be started.
    ///
    /// # Errors
    /// No OS thread can be made.
    ///
    /// # Panics
    /// If the name contains a 0.
    pub fn start(self) -> io::Result<TimerHandle<T>> {
        let state = Arc::new(AtomicU32::new(WAITING));
        // `None`: the clock cannot represent the time.
        let deadline = Instant::now().checked_add(self.delay);
        let (waited, Thread { f, name, daemon }) = (state.clone(), self.thread);
        let thread = Thread { f: move || wait(&waited, deadline).then(f), name, daemon };
        Ok(TimerHandle { state, thread: thread.start()? })
    }
}

/// Blocks the OS thread until `deadline`, or until the timer is cancelled. Returns `false` if it is cancelled.
fn wait(state: &AtomicU32, deadline: Option<Instant>) -> bool {
    /// The longest wait in one system call.
    const MAX_WAIT: Duration = Duration::from_secs(3600);
    while state.load(SeqCst) == WAITING {
        let left = deadline.map_or(MAX_WAIT, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return state.compare_exchange(WAITING, CALLED, SeqCst, SeqCst).is_ok();
        }
        quiescent(|| kernel_futex::wait(state, WAITING, Some(left.min(MAX_WAIT))));
    }
    false
}

/// A timer that was started. Dropping the handle does not cancel it.
pub struct TimerHandle<T> {
    state: Arc<AtomicU32>,
    thread: JoinHandle<Option<T>>,
}

impl<T> TimerHandle<T> {
    /// Cancels the call. Returns `false` if the function was called already, or the timer was cancelled before. Does not
    /// block.
    pub fn cancel(&self) -> bool {
        let cancelled = self.state.compare_exchange(WAITING, CANCELLED, SeqCst, SeqCst).is_ok();
        if cancelled {
            kernel_futex::wake_one(&self.state);
        }
        cancelled
    }

    /// Waits until the function has returned, and returns its value. If the timer was cancelled, returns `None`. Blocks only
    /// the calling green thread. Where there is no hub, blocks the calling OS thread.
    ///
    /// # Errors
    /// The function panicked: [`JoinError::Panicked`].
    #[track_caller]
    pub fn join(self) -> Result<Option<T>, JoinError> {
        self.thread.join()
    }

    /// Returns whether `join` would return at once.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

impl<T> fmt::Debug for TimerHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state.load(SeqCst) {
            WAITING => "waiting",
            CANCELLED => "cancelled",
            _ => "called",
        };
        f.debug_struct("TimerHandle").field("name", &self.thread.name()).field("state", &state).finish()
    }
}
