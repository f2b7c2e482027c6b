//! A semaphore between processes.
//!
//! Next: `lock.rs`, a lock that survives its holder.

use super::shared::{Limit, Monitor, ProcessId};
use std::io;
use std::time::Duration;

/// A number of permits that processes share. It bounds how many users may go on at once.
///
/// Make it before the processes that use it, and give their closures a clone. Waiting for a permit parks the calling green
/// thread and no other. If there is a permit, no system call is made. A caller that comes just when a permit is given back
/// may take it before those that wait.
///
/// ```
/// use greenline_process::Semaphore;
///
/// let two = Semaphore::new(2).unwrap();
/// let (one, other) = (two.acquire(), two.acquire());
/// assert!(two.try_acquire().is_none());
/// drop(one);
/// assert!(two.try_acquire().is_some());
/// # drop(other);
/// ```
///
/// A process that is killed does not give its permits back, because they may have become another's. Where a permit must
/// survive its holder, use a [`Lock`](super::Lock).
///
/// Source: Python's `multiprocessing.Semaphore`.
#[derive(Clone, Debug)]
pub struct Semaphore {
    available: Monitor<usize>,
}

/// A permit, which is given back when this is dropped. Made by [`Semaphore::acquire`].
///
/// It belongs to the process that has taken it: a copy in a child does not give it back a second time.
#[derive(Debug)]
#[must_use = "dropped, it is given back"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    holder: ProcessId,
}

/// The condition variable of those that wait for a permit.
const AVAILABLE: usize = 0;

impl Semaphore {
    /// Returns a semaphore with that many permits.
    ///
    /// # Errors
    /// No memory, no descriptor left; or the kernel has no robust lists, without which it could not survive its users.
    pub fn new(permits: usize) -> io::Result<Semaphore> {
        Ok(Semaphore { available: Monitor::new(permits, 1)? })
    }

    /// Takes a permit. Waits while there is none.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; then no permit was taken.
    pub fn acquire(&self) -> Permit<'_> {
        self.acquire_within(Limit::Unlimited).expect("a wait without a limit ends with a permit")
    }

    /// Takes a permit as [`acquire`](Semaphore::acquire) does, but waits for at most `timeout`.
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
        self.acquire_within(Limit::timeout(timeout))
    }

    /// Takes a permit if there is one.
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.acquire_within(Limit::Nonblocking)
    }

    fn acquire_within(&self, limit: Limit) -> Option<Permit<'_>> {
        self.available.wait(AVAILABLE, limit, |count| {
            **count = count.checked_sub(1)?;
            Some(())
        })?;
        Some(Permit { semaphore: self, holder: ProcessId::current() })
    }

    /// Adds `permits`. There may be more afterwards than at first.
    pub fn release(&self, permits: usize) {
        self.available.change(|count| {
            count.notify_all(AVAILABLE);
            **count = count.saturating_add(permits);
        });
    }

    /// Returns the number of available permits. Another process may change it before the caller uses it.
    pub fn available(&self) -> usize {
        self.available.snapshot()
    }
}

impl Permit<'_> {
    /// Keeps it for good. A call of [`release`](Semaphore::release), perhaps in another process, gives it back.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.holder == ProcessId::current() {
            self.semaphore.release(1);
        }
    }
}
