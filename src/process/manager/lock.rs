//! A lock: a semaphore of one permit, of which it is known whether the last one who had it has died.

use super::error::ManagerError;
use super::proxy::{Remote, proxy};
use super::semaphore::Grant;
use super::wire::Kind;
use std::time::Duration;

proxy! {
    /// A lock that a manager holds, for green threads of whatever process. It guards nothing but what its users agree on.
    ///
    /// When the process that has it dies, the next one gets it, and can tell: [`LockGuard::was_abandoned`]. It is not
    /// reentrant: who locks it twice waits for himself.
    ///
    /// Source: Python's `Manager().Lock()`, which a dead process keeps for ever.
    Lock, Kind::Lock
}

impl Lock {
    /// Waits until nobody else has it.
    ///
    /// # Errors
    /// [`ManagerError`].
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<LockGuard, ManagerError> {
        Ok(LockGuard { grant: Grant::acquire_at_last(&self.remote)? })
    }

    /// Takes it, if nobody has it now.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn try_lock(&self) -> Result<Option<LockGuard>, ManagerError> {
        self.lock_timeout(Duration::ZERO)
    }

    /// Takes it, if that can be had within `timeout`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<LockGuard>, ManagerError> {
        Ok(Grant::acquire(&self.remote, Some(timeout))?.map(|grant| LockGuard { grant }))
    }
}

/// The right to what a [`Lock`] guards, given back when it is dropped, or when its process dies.
///
/// It belongs to the process that has locked it: the copy that a forked child has stands for nothing.
#[derive(Debug)]
#[must_use = "a guard that is dropped unlocks"]
pub struct LockGuard {
    grant: Grant,
}

impl LockGuard {
    /// Whether who had it before has died with it, so that what it guards may be half done.
    pub fn was_abandoned(&self) -> bool {
        self.grant.was_abandoned
    }
}
