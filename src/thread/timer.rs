//! A function that an OS thread of its own calls some time from now.

use super::{JoinHandle, Thread};
use crate::green::JoinError;
use crate::sys::kernel_futex;
use crate::sys::quiescent::quiescent;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// `stage`: the time has not come; nobody has cancelled it.
const WAITS: u32 = 0;
const CANCELLED: u32 = 1;
const RUNS: u32 = 2;

/// A function that is to be called once, by a real OS thread, when some time has passed.
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
/// A green thread for the same is [`spawn_after`](crate::spawn_after). Source: Python's `threading.Timer`.
#[must_use = "it does nothing until it is started"]
pub struct Timer<F> {
    delay: Duration,
    f: F,
    name: Option<String>,
    daemon: bool,
}

impl<F, T> Timer<F>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    /// One that will call `f` when `delay` has passed since it was started.
    pub fn new(delay: Duration, f: F) -> Timer<F> {
        Timer { delay, f, name: None, daemon: false }
    }

    /// The name of its OS thread, as [`Thread::name`].
    pub fn name(mut self, name: impl Into<String>) -> Timer<F> {
        self.name = Some(name.into());
        self
    }

    /// Whether it is *not* waited for when `main` returns, as [`Thread::daemon`].
    pub fn daemon(mut self, daemon: bool) -> Timer<F> {
        self.daemon = daemon;
        self
    }

    /// Starts it. While it waits it does not keep [processes](crate::process) from being started.
    ///
    /// # Errors
    /// No OS thread can be made.
    ///
    /// # Panics
    /// When the name contains a 0.
    pub fn start(self) -> io::Result<TimerHandle<T>> {
        let stage = Arc::new(AtomicU32::new(WAITS));
        // `None`: beyond what clocks can say.
        let until = Instant::now().checked_add(self.delay);
        let f = self.f;
        let thread = Thread::new({
            let stage = stage.clone();
            move || wait(&stage, until).then(f)
        });
        let thread = match self.name {
            Some(name) => thread.name(name),
            None => thread,
        };
        Ok(TimerHandle { stage, thread: thread.daemon(self.daemon).start()? })
    }
}

/// Blocks the OS thread until the time has come, or somebody cancels it. Answers whether it is to run.
fn wait(stage: &AtomicU32, until: Option<Instant>) -> bool {
    /// Some time for the kernel to count.
    const LONG: Duration = Duration::from_secs(3600);
    while stage.load(SeqCst) == WAITS {
        let left = until.map_or(LONG, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return stage.compare_exchange(WAITS, RUNS, SeqCst, SeqCst).is_ok();
        }
        quiescent(|| kernel_futex::wait(stage, WAITS, Some(left.min(LONG))));
    }
    false
}

/// A timer that was started. Dropping it leaves the timer alone.
pub struct TimerHandle<T> {
    stage: Arc<AtomicU32>,
    thread: JoinHandle<Option<T>>,
}

impl<T> TimerHandle<T> {
    /// Has the function not be called. `false`: it has been already, or was cancelled before. Does not block.
    pub fn cancel(&self) -> bool {
        let cancelled = self.stage.compare_exchange(WAITS, CANCELLED, SeqCst, SeqCst).is_ok();
        if cancelled {
            kernel_futex::wake_one(&self.stage);
        }
        cancelled
    }

    /// Waits until the function was called and has returned: its value; `None` if it was cancelled. Blocks the current
    /// green thread and no other; where there is no hub, the OS thread.
    ///
    /// # Errors
    /// The function panicked: [`JoinError::Panicked`].
    #[track_caller]
    pub fn join(self) -> Result<Option<T>, JoinError> {
        self.thread.join()
    }

    /// Whether `join` would answer at once.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

impl<T> fmt::Debug for TimerHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage.load(SeqCst) {
            WAITS => "waits",
            CANCELLED => "cancelled",
            _ => "called",
        };
        f.debug_struct("TimerHandle").field("name", &self.thread.name()).field("stage", &stage).finish()
    }
}
