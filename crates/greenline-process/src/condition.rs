//! A condition variable between processes: waiting, without a lock, until a process notifies.
//!
//! A notification is for those that wait when it is given, and any of them may take it. A waiter that is killed before it
//! takes one leaves it to another. The number of killed waiters cannot be known, so now and then a waiter wakes up in vain,
//! which its caller must bear in any case.
//!
//! Next: `barrier.rs`, waiting for each other.

use super::lock::LockGuard;
use super::shared::{Limit, Monitor};
use std::io;
use std::time::Duration;

/// A condition variable. A caller that holds a [`Lock`](super::Lock) waits until another holder of it notifies.
///
/// Make it before the processes that use it, and give their closures a clone. Waiting parks the calling green thread and no
/// other.
///
/// ```
/// use greenline_process::{Condition, Lock, Process, Value};
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
/// Source: Python's `multiprocessing.Condition`. It takes and returns lock guards as std's `Condvar` does.
#[derive(Clone, Debug)]
pub struct Condition {
    monitor: Monitor<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// Number of waiters, including those that were killed while they waited.
    waiting: u64,
    /// Number of waiters that may go on.
    notified: u64,
    /// Number of notifications so far. One is not for those that have begun to wait after it.
    times: u64,
}

/// The condition variable of the monitor: there was a notification.
const NOTIFIED: usize = 0;

impl Condition {
    /// Returns a condition without waiters.
    ///
    /// # Errors
    /// No memory, no descriptor left; or the kernel has no robust lists, without which it could not survive its users.
    pub fn new() -> io::Result<Condition> {
        Ok(Condition { monitor: Monitor::new(State { waiting: 0, notified: 0, times: 0 }, 1)? })
    }

    /// Releases the lock, waits for a notification, and takes the lock again. It may return without a notification.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; then the lock is not held.
    pub fn wait<'a>(&self, guard: LockGuard<'a>) -> LockGuard<'a> {
        self.wait_within(guard, Limit::Unlimited).0
    }

    /// Waits as [`wait`](Condition::wait) does, for at most `timeout`. The time that taking the lock takes is not counted.
    /// Also returns whether there was a notification.
    pub fn wait_timeout<'a>(&self, guard: LockGuard<'a>, timeout: Duration) -> (LockGuard<'a>, bool) {
        self.wait_within(guard, Limit::timeout(timeout))
    }

    /// Waits until `holds`, which is called with the lock held.
    ///
    /// # Panics
    /// As in [`wait`](Condition::wait): unwinds when the green thread is killed or a timeout around it fires.
    pub fn wait_for<'a>(&self, mut guard: LockGuard<'a>, mut holds: impl FnMut() -> bool) -> LockGuard<'a> {
        while !holds() {
            guard = self.wait(guard);
        }
        guard
    }

    /// Waits as [`wait_for`](Condition::wait_for) does, for at most `timeout`. Also returns the last result of `holds`.
    pub fn wait_for_timeout<'a>(
        &self,
        mut guard: LockGuard<'a>,
        timeout: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> (LockGuard<'a>, bool) {
        let limit = Limit::timeout(timeout);
        let mut notified = true;
        loop {
            let result = holds();
            if result || !notified {
                return (guard, result);
            }
            (guard, notified) = self.wait_within(guard, limit);
        }
    }

    /// Lets one waiter go on, if there is one.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Lets up to `most` waiters go on.
    pub fn notify(&self, most: usize) {
        self.monitor.change(|state| {
            if state.waiting > 0 {
                state.notify_all(NOTIFIED);
                state.notified = state.notified.saturating_add(most as u64).min(state.waiting);
                state.times += 1;
            }
        });
    }

    /// Lets all waiters go on.
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    fn wait_within<'a>(&self, guard: LockGuard<'a>, limit: Limit) -> (LockGuard<'a>, bool) {
        let lock = guard.lock;
        let begun = self.monitor.change(|state| {
            state.waiting += 1;
            state.times
        });
        let waiter = Waiter { condition: self };
        drop(guard);
        let notified = self.monitor.wait(NOTIFIED, limit, |state| {
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

/// A waiter. If it is dropped, it has taken no notification.
struct Waiter<'a> {
    condition: &'a Condition,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.condition.monitor.change(|state| {
            state.waiting -= 1;
            state.notified = state.notified.min(state.waiting);
        });
    }
}
