//! An event between processes: a flag, and a gate for those who wait until it is set.

use super::shared::Monitor;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A flag that processes share, and wait for.
///
/// Make it before the processes that use it, and let their closures have a clone. Who waits blocks the green thread that
/// calls and no other.
///
/// ```
/// use greenline::process::{Event, Process};
///
/// let ready = Event::new().unwrap();
/// let inside = ready.clone();
/// let child = Process::new(move || inside.set()).start().unwrap();
/// ready.wait();
/// assert!(ready.is_set());
/// child.join().unwrap();
/// ```
///
/// Source: Python's `multiprocessing.Event`.
#[derive(Clone)]
pub struct Event {
    monitor: Arc<Monitor<State>>,
}

#[derive(Clone, Copy)]
struct State {
    set: bool,
    /// How often it was set: so that who waits sees it even when it was cleared at once.
    times: u64,
}

const GATE: usize = 0;

impl Event {
    /// One that is not set.
    ///
    /// # Errors
    /// No memory, no descriptor left; or the kernel has no robust lists, which it needs to bear the death of its users.
    pub fn new() -> io::Result<Event> {
        Ok(Event { monitor: Arc::new(Monitor::new(State { set: false, times: 0 }, 1)?) })
    }

    /// Sets it; all who wait now go on, even if it is cleared before they run.
    pub fn set(&self) {
        self.monitor.change(|state| {
            if !state.set {
                state.notify_all(GATE);
                state.set = true;
                state.times += 1;
            }
        });
    }

    /// Who waits from now on waits until it is set again.
    pub fn clear(&self) {
        self.monitor.change(|state| state.set = false);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.monitor.snapshot().set
    }

    /// Waits until it is set.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Event::wait), for no longer than `timeout`. Answers whether it was set.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let mut times = None;
        let set = self.monitor.wait(GATE, deadline, |state| {
            let was_set = state.set || state.times != *times.get_or_insert(state.times);
            was_set.then_some(())
        });
        set.is_some()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).finish()
    }
}
