//! A semaphore in a manager, and the object behind a lock, which is a semaphore of one permit (`lock.rs`).
//!
//! Next: `process/manager/lock.rs`, the proxy of a lock.
//!
//! A permit belongs to the connection over which it was acquired. Its holder keeps that connection for itself until it
//! releases the permit. If the holder dies, the connection ends, and the server takes the permit back.

use super::client::Connection;
use super::object::{Fault, Limit, Object, Reply, Session, WaitQueue, decode};
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

pub(super) struct SemaphoreObject(Rc<State>);

/// Shared with the sessions that hold a permit.
struct State {
    available: Cell<usize>,
    /// Whether a holder has died since the last permit was given out.
    abandoned: Cell<bool>,
    waiters: WaitQueue,
}

impl State {
    fn give_back(&self, abandoned: bool) {
        self.abandoned.set(self.abandoned.get() || abandoned);
        self.available.set(self.available.get() + 1);
        self.waiters.wake();
    }
}

impl SemaphoreObject {
    pub(super) fn new(permits: usize) -> SemaphoreObject {
        let (available, abandoned) = (Cell::new(permits), Cell::new(false));
        SemaphoreObject(Rc::new(State { available, abandoned, waiters: WaitQueue::default() }))
    }

    fn acquire(&self, session: &Session, limit: Limit) -> Result<Reply, Fault> {
        let state = self.0.clone();
        let acquired = state.waiters.wait(session, limit, || {
            state.available.set(state.available.get().checked_sub(1)?);
            Some(state.abandoned.replace(false))
        })?;
        let Some(was_abandoned) = acquired else { return Reply::of(&acquired) };
        Reply::with_ack(&acquired, move |acknowledged| match acknowledged {
            Some(session) => session.track_held(&*state.clone(), move || state.give_back(true)),
            None => state.give_back(was_abandoned),
        })
    }
}

impl Object for SemaphoreObject {
    fn call(&self, request: &[u8], session: &Session) -> Result<Reply, Fault> {
        match decode(request)? {
            SemaphoreRequest::Acquire(limit) => self.acquire(session, limit),
            SemaphoreRequest::Release if session.release(&*self.0) => Reply::of(&self.0.give_back(false)),
            SemaphoreRequest::Release => {
                Err(Fault::BadRequest("the client holds no permit to release".into()))
            }
            SemaphoreRequest::Available => Reply::of(&self.0.available.get()),
        }
    }

    fn discard(&self) {
        self.0.waiters.close();
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
    pub(super) was_abandoned: bool,
}

impl Permit {
    pub(super) fn acquire(remote: &Remote) -> Result<Permit, ManagerError> {
        let permit = Permit::acquire_within(remote, None)?;
        Ok(permit.expect("a wait without a limit ends with a permit"))
    }

    pub(super) fn acquire_within(remote: &Remote, limit: Limit) -> Result<Option<Permit>, ManagerError> {
        let Remote { client, object } = remote;
        let request = SemaphoreRequest::Acquire(limit);
        match client.call_over(client.connection()?, *object, &request)? {
            (Some(was_abandoned), connection) => {
                Ok(Some(Permit { remote: remote.clone(), connection: Some(connection), was_abandoned }))
            }
            (None, connection) => {
                client.put_back(connection);
                Ok(None)
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // If nothing can be sent any more, the end of the connection gives the permit back. So does a failed call.
        if connection.is_usable() {
            let Remote { client, object } = &self.remote;
            if let Ok(((), connection)) = client.call_over(connection, *object, &SemaphoreRequest::Release) {
                client.put_back(connection);
            }
        }
    }
}
