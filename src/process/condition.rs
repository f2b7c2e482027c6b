//! A condition between processes: waiting, without a lock, for somebody to say that something has changed.
//!
//! A notification is for those who wait when it is given, and any of them may take it: so one that is killed before it takes
//! its own leaves it to another. Nobody can tell how many were killed, so now and then one goes on for nothing; that it has
//! to bear anyhow.

use super::lock::LockGuard;
use super::shared::Monitor;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one waits at, who has a [`Lock`](super::Lock), until another who has it says that something has changed.
///
/// Make it before the processes that use it, and let their closures have a clone. Who waits blocks the green thread that
/// calls and no other.
///
/// ```
/// use greenline::process::{Condition, Lock, Process, Value};
///
/// let (lock, changed, count) = (Lock::new().unwrap(), Condition::new().unwrap(), Value::new(0).unwrap());
/// let inside = (lock.clone(), changed.clone(), count.clone());
/// let child = Process::new(move || {
///     let (lock, changed, count) = inside;
///     for _ in 0..3 {
///         let guard = lock.lock();
///         count.update(|count| *count += 1);
///         changed.notify_all();
///         drop(guard);
///     }
/// });
/// let child = child.start().unwrap();
/// let guard = changed.wait_for(lock.lock(), || count.get() == 3);
/// drop(guard);
/// child.join().unwrap();
/// ```
///
/// Source: Python's `multiprocessing.Condition`; the way of its locks is that of std's `Condvar`.
#[derive(Clone)]
pub struct Condition {
    monitor: Arc<Monitor<State>>,
}

#[derive(Clone, Copy)]
struct State {
    /// How many wait, and how many have been killed while they did.
    waiting: u64,
    /// How many of them may go on.
    notified: u64,
    /// How often there was a notification: who has begun to wait after the last one is not meant.
    times: u64,
}

const GATE: usize = 0;

impl Condition {
    /// One at which nobody waits.
    ///
    /// # Errors
    /// No memory, no descriptor left; or the kernel has no robust lists, which it needs to bear the death of its users.
    pub fn new() -> io::Result<Condition> {
        let state = State { waiting: 0, notified: 0, times: 0 };
        Ok(Condition { monitor: Arc::new(Monitor::new(state, 1)?) })
    }

    /// Releases the lock, waits for a notification, and takes the lock again. May return without one.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; then the lock is not held.
    pub fn wait<'a>(&self, guard: LockGuard<'a>) -> LockGuard<'a> {
        self.wait_until(guard, None).0
    }

    /// As [`wait`](Condition::wait), for no longer than `timeout`; how long the lock takes is not counted. Answers whether
    /// there was a notification, too.
    pub fn wait_timeout<'a>(&self, guard: LockGuard<'a>, timeout: Duration) -> (LockGuard<'a>, bool) {
        self.wait_until(guard, Instant::now().checked_add(timeout))
    }

    /// Waits until `holds`, which is asked with the lock held.
    ///
    /// # Panics
    /// As for [`wait`](Condition::wait).
    pub fn wait_for<'a>(&self, mut guard: LockGuard<'a>, mut holds: impl FnMut() -> bool) -> LockGuard<'a> {
        while !holds() {
            guard = self.wait(guard);
        }
        guard
    }

    /// As [`wait_for`](Condition::wait_for), for no longer than `timeout`. Answers what `holds` last answered, too.
    pub fn wait_for_timeout<'a>(
        &self,
        mut guard: LockGuard<'a>,
        timeout: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> (LockGuard<'a>, bool) {
        let deadline = Instant::now().checked_add(timeout);
        let mut notified = true;
        loop {
            let answer = holds();
            if answer || !notified {
                return (guard, answer);
            }
            (guard, notified) = self.wait_until(guard, deadline);
        }
    }

    /// Has one go on that waits, if somebody does.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Has `most` go on, or as many as wait.
    pub fn notify(&self, most: usize) {
        self.monitor.change(|state| {
            if state.waiting > 0 {
                state.notify_all(GATE);
                state.notified = state.notified.saturating_add(most as u64).min(state.waiting);
                state.times += 1;
            }
        });
    }

    /// Has all go on who wait.
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    fn wait_until<'a>(&self, guard: LockGuard<'a>, deadline: Option<Instant>) -> (LockGuard<'a>, bool) {
        let lock = guard.lock();
        let begun = self.monitor.change(|state| {
            state.waiting += 1;
            state.times
        });
        let waiter = Waiter { at: &self.monitor };
        drop(guard);
        let notified = self.monitor.wait(GATE, deadline, |state| {
            if state.notified == 0 || state.times == begun {
                return None;
            }
            state.notified -= 1;
            state.waiting -= 1;
            Some(())
        });
        match notified {
            Some(()) => std::mem::forget(waiter),
            None => drop(waiter),
        }
        (lock.lock(), notified.is_some())
    }
}

/// One that waits, and was not notified when this is dropped.
struct Waiter<'a> {
    at: &'a Monitor<State>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.at.change(|state| {
            state.waiting -= 1;
            state.notified = state.notified.min(state.waiting);
        });
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("waiting", &self.monitor.snapshot().waiting).finish()
    }
}
