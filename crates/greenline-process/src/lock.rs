//! A lock between processes that survives its holder.
//!
//! Next: `condition.rs`, waiting with such a lock.

use super::shared::{Limit, Monitor, ProcessId};
use std::io;
use std::time::Duration;

/// A lock that processes share. One green thread at a time holds it, for as long as it likes.
///
/// Make it before the processes that use it, and give their closures a clone. Waiting for it parks the calling green thread
/// and no other. If it is free, no system call is made. A green thread that holds it and takes it again waits forever.
///
/// ```
/// use greenline_process::{Lock, Process};
///
/// let lock = Lock::new().unwrap();
/// let inside = lock.clone();
/// let child = Process::new(move || {
///     std::mem::forget(inside.lock()); // and dies with it
/// });
/// child.start().unwrap().join().unwrap();
/// assert!(lock.lock().was_abandoned());
/// assert!(!lock.lock().was_abandoned());
/// ```
///
/// When the process that holds it ends, for whatever reason, one that waits takes it over. It sees that by
/// [`was_abandoned`](LockGuard::was_abandoned): a change of what the lock guards may be half done.
///
/// Source: Python's `multiprocessing.Lock`, which stays locked when its holder is killed.
#[derive(Clone, Debug)]
pub struct Lock {
    holder: Monitor<Option<ProcessId>>,
}

/// The condition variable of those that wait for the lock.
const RELEASED: usize = 0;

/// Holds the lock until it is dropped. Made by [`Lock::lock`].
#[derive(Debug)]
#[must_use = "dropped, it is released"]
pub struct LockGuard<'a> {
    pub(super) lock: &'a Lock,
    holder: ProcessId,
    was_abandoned: bool,
}

impl Lock {
    /// Returns a lock that is free.
    ///
    /// # Errors
    /// No memory, no descriptor left; or the kernel has no robust lists, without which it could not survive its users.
    pub fn new() -> io::Result<Lock> {
        Ok(Lock { holder: Monitor::new(None, 1)? })
    }

    /// Takes it. Waits while another holds it.
    ///
    /// While this process has no descriptor left to watch the holder by, it does not notice that the holder was killed.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; then it was not taken.
    pub fn lock(&self) -> LockGuard<'_> {
        self.lock_within(Limit::Unlimited).expect("a wait without a limit ends with the lock")
    }

    /// Takes it as [`lock`](Lock::lock) does, but waits for at most `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> Option<LockGuard<'_>> {
        self.lock_within(Limit::timeout(timeout))
    }

    /// Takes it if it is free, or if its holder has ended.
    pub fn try_lock(&self) -> Option<LockGuard<'_>> {
        self.lock_within(Limit::Nonblocking)
    }

    fn lock_within(&self, limit: Limit) -> Option<LockGuard<'_>> {
        let this = ProcessId::current();
        let was_abandoned = self.holder.wait_watching(RELEASED, limit, |holder, watch| {
            if let Some(other) = **holder {
                (other != this && watch.has_exited(other)?).then_some(())?;
            }
            Some(holder.replace(this).is_some())
        })?;
        Some(LockGuard { lock: self, holder: this, was_abandoned })
    }

    /// Returns whether it is held.
    pub fn is_locked(&self) -> bool {
        self.holder.snapshot().is_some()
    }
}

impl LockGuard<'_> {
    /// Returns whether the process that held it before has ended without releasing it.
    pub fn was_abandoned(&self) -> bool {
        self.was_abandoned
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // In a child that was forked meanwhile, this is a copy, and the lock is its parent's.
        if self.holder == ProcessId::current() {
            self.lock.holder.change(|holder| {
                holder.notify_all(RELEASED);
                **holder = None;
            });
        }
    }
}
