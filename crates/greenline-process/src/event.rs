//! An event between processes: a flag to wait for.
//!
//! Next: `semaphore.rs`, a counter to wait for.

use super::shared::{Limit, Monitor};
use std::io;
use std::time::Duration;

/// A flag that processes share, and wait for.
///
/// Make it before the processes that use it, and give their closures a clone. Waiting parks the calling green thread and no
/// other.
///
/// ```
/// use greenline_process::{Event, Process};
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
#[derive(Clone, Debug)]
pub struct Event {
    monitor: Monitor<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    set: bool,
    /// Number of times it was set. By it, a waiter goes on even if the event was cleared at once (an eventcount).
    times: u64,
}

/// The condition variable of those that wait.
const SET: usize = 0;

impl Event {
    /// Returns an event that is not set.
    ///
    /// # Errors
    /// No memory, no descriptor left; or the kernel has no robust lists, without which it could not survive its users.
    pub fn new() -> io::Result<Event> {
        Ok(Event { monitor: Monitor::new(State { set: false, times: 0 }, 1)? })
    }

    /// Sets it. All current waiters go on, even if it is cleared before they run.
    pub fn set(&self) {
        self.monitor.change(|state| {
            if !state.set {
                state.notify_all(SET);
                state.set = true;
                state.times += 1;
            }
        });
    }

    /// Clears it. Later waiters wait until it is set again.
    pub fn clear(&self) {
        self.monitor.change(|state| state.set = false);
    }

    /// Returns whether it is set.
    pub fn is_set(&self) -> bool {
        self.monitor.snapshot().set
    }

    /// Waits until it is set.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires.
    pub fn wait(&self) {
        self.wait_within(Limit::Unlimited);
    }

    /// Waits as [`wait`](Event::wait) does, for at most `timeout`. Returns whether it was set.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_within(Limit::timeout(timeout))
    }

    fn wait_within(&self, limit: Limit) -> bool {
        let mut times = None;
        let set = self.monitor.wait(SET, limit, |state| {
            let was_set = state.set || state.times != *times.get_or_insert(state.times);
            was_set.then_some(())
        });
        set.is_some()
    }
}
