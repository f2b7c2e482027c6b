//! A semaphore between processes: a count, and a gate for those who find it at 0.

use super::shared::{Monitor, ProcessId, Transaction};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A number of permits that processes share: so many may be in at once.
///
/// Make it before the processes that use it, and let their closures have a clone. Who waits for a permit blocks the green
/// thread that calls and no other; if there is one, no system call is made. Who comes just when one is given back may have
/// it before those who wait.
///
/// ```
/// use greenline::process::Semaphore;
///
/// let two = Semaphore::new(2).unwrap();
/// let (one, other) = (two.acquire(), two.acquire());
/// assert!(two.try_acquire().is_none());
/// drop(one);
/// assert!(two.try_acquire().is_some());
/// # drop(other);
/// ```
///
/// A process that is killed does not give its permits back: nobody can know whether they have not become another's. Use a
/// [`Lock`](super::Lock) where one is to survive its holder.
///
/// Source: Python's `multiprocessing.Semaphore`.
#[derive(Clone)]
pub struct Semaphore {
    permits: Arc<Monitor<usize>>,
}

/// A permit, which is given back when this is dropped. Made by [`Semaphore::acquire`].
///
/// It is the process's that has taken it: a copy that a child has does not give it back a second time.
#[derive(Debug)]
#[must_use = "dropped, it is given back"]
pub struct Permit<'a> {
    of: &'a Semaphore,
    by: ProcessId,
}

const GATE: usize = 0;

impl Semaphore {
    /// One with that many permits.
    ///
    /// # Errors
    /// No memory, no descriptor left; or the kernel has no robust lists, which it needs to bear the death of its users.
    pub fn new(permits: usize) -> io::Result<Semaphore> {
        Ok(Semaphore { permits: Arc::new(Monitor::new(permits, 1)?) })
    }

    /// Takes a permit; waits while there is none.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; then none was taken.
    pub fn acquire(&self) -> Permit<'_> {
        self.acquire_until(None).expect("there is no deadline")
    }

    /// As [`acquire`](Semaphore::acquire), for no longer than `timeout`.
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
        self.acquire_until(Instant::now().checked_add(timeout))
    }

    /// Takes a permit if there is one.
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.permits.try_change(take).map(|()| self.permit())
    }

    fn acquire_until(&self, deadline: Option<Instant>) -> Option<Permit<'_>> {
        self.permits.wait(GATE, deadline, take).map(|()| self.permit())
    }

    fn permit(&self) -> Permit<'_> {
        Permit { of: self, by: ProcessId::current() }
    }

    /// Adds `permits`; more than there were at first, too.
    pub fn release(&self, permits: usize) {
        self.permits.change(|count| {
            count.notify_all(GATE);
            **count = count.saturating_add(permits);
        });
    }

    /// How many there are to be taken. Another process may change that before this one has looked.
    pub fn available(&self) -> usize {
        self.permits.snapshot()
    }
}

fn take(count: &mut Transaction<'_, usize>) -> Option<()> {
    **count = count.checked_sub(1)?;
    Some(())
}

impl Permit<'_> {
    /// Keeps it for good: whoever [releases](Semaphore::release) one gives it back, in another process, perhaps.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.by == ProcessId::current() {
            self.of.release(1);
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("available", &self.available()).finish()
    }
}
