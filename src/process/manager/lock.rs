//! A lock in a manager: the proxy of a semaphore of one permit. Its holder learns whether the previous holder died.
//!
//! Next: `process/manager/event.rs`, a flag.

use super::proxy::{ManagerError, Remote, proxy};
use super::semaphore::Permit;
use std::time::Duration;

proxy! {
    /// A lock in a manager, for green threads of any process. Its users agree on what it guards.
    ///
    /// If the process that holds the lock dies, the next one gets it, and [`LockGuard::was_abandoned`] returns `true`
    /// there. The lock is not reentrant: a green thread that locks it twice deadlocks.
    ///
    /// Source: Python's `Manager().Lock()`, which a dead process keeps for ever.
    Lock
}

impl Lock {
    /// Locks. Waits while another green thread or process holds the lock.
    ///
    /// # Errors
    /// [`ManagerError`].
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<LockGuard, ManagerError> {
        Permit::acquire(&self.remote).map(LockGuard)
    }

    /// Locks if the lock is free now.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn try_lock(&self) -> Result<Option<LockGuard>, ManagerError> {
        self.lock_timeout(Duration::ZERO)
    }

    /// Locks. Waits at most for `timeout`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<LockGuard>, ManagerError> {
        Ok(Permit::acquire_within(&self.remote, Some(timeout))?.map(LockGuard))
    }
}

/// The right to use what a [`Lock`] guards. It unlocks when it is dropped, or when its process dies.
///
/// It belongs to the process that locked. The copy in a forked child has no effect.
#[derive(Debug)]
#[must_use = "a guard that is dropped unlocks"]
pub struct LockGuard(Permit);

impl LockGuard {
    /// Returns whether the previous holder died while it held the lock. Then what the lock guards may be half changed.
    pub fn was_abandoned(&self) -> bool {
        self.0.was_abandoned
    }
}
