//! A semaphore in a manager, and a lock, which is a semaphore of one permit whose holder learns whether the previous holder
//! died.
//!
//! Next: `manager/event.rs`, a flag.
//!
//! A permit belongs to the connection over which it was acquired. Its holder keeps that connection for itself until it
//! releases the permit. If the holder dies, the connection ends, and the server takes the permit back.

use super::client::Connection;
use super::object::{Limit, Object, Reply, Session, WaitQueue, decode};
use super::proxy::{ManagerError, Remote, proxy};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum SemaphoreRequest {
    /// Returns whether the last holder died, or `None` if the limit expired first.
    Acquire(Limit),
    Release,
    Available,
}

// ---- in the server

/// Shared with the sessions that hold a permit.
pub(super) struct SemaphoreObject {
    available: Cell<usize>,
    /// Whether a holder has died since the last permit was given out.
    abandoned: Cell<bool>,
    waiters: WaitQueue,
}

impl SemaphoreObject {
    pub(super) fn new(permits: usize) -> SemaphoreObject {
        let (available, abandoned) = (Cell::new(permits), Cell::new(false));
        SemaphoreObject { available, abandoned, waiters: WaitQueue::default() }
    }

    fn acquire(self: Rc<Self>, session: &Session, limit: Limit) -> Result<Reply, ManagerError> {
        let acquired = self.waiters.wait(session, limit, || {
            self.available.set(self.available.get().checked_sub(1)?);
            Some(self.abandoned.replace(false))
        })?;
        let Some(was_abandoned) = acquired else { return Reply::of(&acquired) };
        Reply::with_ack(&acquired, move |acknowledged| match acknowledged {
            Some(session) => session.track_held(&*self.clone(), move || self.give_back(true)),
            None => self.give_back(was_abandoned),
        })
    }

    fn give_back(&self, abandoned: bool) {
        self.abandoned.set(self.abandoned.get() || abandoned);
        self.available.set(self.available.get() + 1);
        self.waiters.wake();
    }
}

impl Object for SemaphoreObject {
    fn call(self: Rc<Self>, request: &[u8], session: &Session) -> Result<Reply, ManagerError> {
        match decode(request)? {
            SemaphoreRequest::Acquire(limit) => self.acquire(session, limit),
            SemaphoreRequest::Release if session.release(&*self) => Reply::of(&self.give_back(false)),
            SemaphoreRequest::Release => Err(ManagerError::codec("the client holds no permit to release")),
            SemaphoreRequest::Available => Reply::of(&self.available.get()),
        }
    }

    fn discard(&self) {
        self.waiters.close();
    }
}

// ---- the proxy

proxy! {
    /// A number of permits in a manager, for green threads of any process.
    ///
    /// A permit is given back when its [`Permit`] is dropped, and also when the process that holds it dies.
    ///
    /// Source: Python's `Manager().Semaphore()`, where a dead process keeps its permits.
    Semaphore
}

impl Semaphore {
    /// Waits for a permit.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn acquire(&self) -> Result<Permit, ManagerError> {
        Permit::acquire(&self.remote)
    }

    /// Returns a permit if one is available now.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn try_acquire(&self) -> Result<Option<Permit>, ManagerError> {
        self.acquire_timeout(Duration::ZERO)
    }

    /// Waits for a permit, at most for `timeout`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Permit>, ManagerError> {
        Permit::acquire_within(&self.remote, Some(timeout))
    }

    /// Returns the number of available permits.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn available(&self) -> Result<usize, ManagerError> {
        self.remote.call(&SemaphoreRequest::Available)
    }
}

/// A permit of a [`Semaphore`]. It is given back when it is dropped, or when its process dies.
///
/// It belongs to the process that acquired it. The copy in a forked child has no effect.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct Permit {
    remote: Remote,
    /// The connection over which it was acquired; `None` once it is given back.
    connection: Option<Connection>,
    was_abandoned: bool,
}

impl Permit {
    fn acquire(remote: &Remote) -> Result<Permit, ManagerError> {
        let permit = Permit::acquire_within(remote, None)?;
        Ok(permit.expect("a wait without a limit ends with a permit"))
    }

    fn acquire_within(remote: &Remote, limit: Limit) -> Result<Option<Permit>, ManagerError> {
        let Remote { client, object } = remote;
        let connection = client.connection()?;
        match client.call_over(&connection, *object, &SemaphoreRequest::Acquire(limit))? {
            Ok(Some(was_abandoned)) => {
                Ok(Some(Permit { remote: remote.clone(), connection: Some(connection), was_abandoned }))
            }
            not_acquired => {
                client.put_back(connection);
                not_acquired.map(|_| None)
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // If nothing can be sent any more, the end of the connection gives the permit back. So does a failed call.
        let Some(connection) = self.connection.take().filter(Connection::is_usable) else { return };
        let Remote { client, object } = &self.remote;
        if client.call_over::<()>(&connection, *object, &SemaphoreRequest::Release).is_ok() {
            client.put_back(connection);
        }
    }
}

// ---- the proxy of a lock

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
