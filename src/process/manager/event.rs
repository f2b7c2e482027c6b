//! An event in a manager: a flag that green threads wait for.
//!
//! Next: `process/manager/barrier.rs`, where green threads wait for each other.

use super::object::{Limit, Object, Reply, Session, WaitQueue, decode};
use super::proxy::{ManagerError, Remote, proxy};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum EventRequest {
    Set,
    Clear,
    IsSet,
    /// Returns whether the event was set in time.
    Wait(Limit),
}

// ---- in the server

#[derive(Default)]
pub(super) struct EventObject {
    is_set: Cell<bool>,
    /// Number of calls of `set`. A waiter goes on even if the event is cleared before the waiter runs.
    times_set: Cell<u64>,
    waiters: WaitQueue,
}

impl Object for EventObject {
    fn call(self: Rc<Self>, request: &[u8], session: &Session) -> Result<Reply, ManagerError> {
        match decode(request)? {
            EventRequest::Set => {
                self.is_set.set(true);
                self.times_set.set(self.times_set.get() + 1);
                Reply::of(&self.waiters.wake())
            }
            EventRequest::Clear => Reply::of(&self.is_set.set(false)),
            EventRequest::IsSet => Reply::of(&self.is_set.get()),
            EventRequest::Wait(limit) => {
                let before = self.times_set.get();
                let is_over = || (self.is_set.get() || self.times_set.get() != before).then_some(());
                Reply::of(&self.waiters.wait(session, limit, is_over)?.is_some())
            }
        }
    }

    fn discard(&self) {
        self.waiters.close();
    }
}

// ---- the proxy

proxy! {
    /// A flag in a manager that green threads of any process wait for.
    ///
    /// Source: Python's `Manager().Event()`.
    Event
}

impl Event {
    /// Sets the event and wakes all waiters.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn set(&self) -> Result<(), ManagerError> {
        self.remote.call(&EventRequest::Set)
    }

    /// Clears the event: later calls of `wait` wait again.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn clear(&self) -> Result<(), ManagerError> {
        self.remote.call(&EventRequest::Clear)
    }

    /// Returns whether the event is set.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_set(&self) -> Result<bool, ManagerError> {
        self.remote.call(&EventRequest::IsSet)
    }

    /// Waits until the event is set.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn wait(&self) -> Result<(), ManagerError> {
        self.remote.call::<bool>(&EventRequest::Wait(None)).map(drop)
    }

    /// Waits until the event is set, at most for `timeout`. Returns whether it was set.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, ManagerError> {
        self.remote.call(&EventRequest::Wait(Some(timeout)))
    }
}
