//! An event in a manager, a flag that green threads wait for; and a barrier, whose waiters the last party to arrive wakes
//! as the event does when it is set and cleared at once.
//!
//! Next: `manager/dict.rs`, an object that stores values.

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
    /// Waits for the other parties of a barrier. Returns whether this party was the last to arrive, or `None` if the limit
    /// expired first.
    Arrive(Limit),
}

// ---- in the server

#[derive(Default)]
pub(super) struct EventObject {
    is_set: Cell<bool>,
    /// Number of times that the waiters were woken. They go on even if the event is cleared before they run.
    times_set: Cell<u64>,
    waiters: WaitQueue,
    /// Number of parties of a barrier; 0: an event.
    parties: usize,
    /// Number of parties that wait for the others.
    arrived: Cell<usize>,
}

impl EventObject {
    /// Returns the object behind a [`Barrier`], or, with no parties, behind an [`Event`].
    pub(super) fn new(parties: usize) -> EventObject {
        EventObject { parties, ..EventObject::default() }
    }

    fn wake_all(&self) {
        self.times_set.set(self.times_set.get() + 1);
        self.waiters.wake();
    }

    fn wait(&self, session: &Session, limit: Limit) -> Result<bool, ManagerError> {
        let before = self.times_set.get();
        let is_over = || (self.is_set.get() || self.times_set.get() != before).then_some(());
        Ok(self.waiters.wait(session, limit, is_over)?.is_some())
    }

    fn arrive(&self, session: &Session, limit: Limit) -> Result<Option<bool>, ManagerError> {
        self.arrived.set(self.arrived.get() + 1);
        if self.arrived.get() >= self.parties {
            self.arrived.set(0);
            self.wake_all();
            return Ok(Some(true));
        }
        let before = self.times_set.get();
        let opened = self.wait(session, limit);
        if self.times_set.get() == before {
            // A party that gives up does not count.
            self.arrived.set(self.arrived.get() - 1);
        }
        Ok(opened?.then_some(false))
    }
}

impl Object for EventObject {
    fn call(self: Rc<Self>, request: &[u8], session: &Session) -> Result<Reply, ManagerError> {
        match decode(request)? {
            EventRequest::Set => {
                self.is_set.set(true);
                Reply::of(&self.wake_all())
            }
            EventRequest::Clear => Reply::of(&self.is_set.set(false)),
            EventRequest::IsSet => Reply::of(&self.is_set.get()),
            EventRequest::Wait(limit) => Reply::of(&self.wait(session, limit)?),
            EventRequest::Arrive(limit) => Reply::of(&self.arrive(session, limit)?),
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

// ---- the proxy of a barrier

proxy! {
    /// A meeting point for a number of green threads of any process. They wait until all have arrived. Then the barrier
    /// can be used again.
    ///
    /// If a party gives up or dies, it counts as not arrived, and the others wait on. Source: Python's
    /// `Manager().Barrier()`, which is broken then.
    Barrier
}

impl Barrier {
    /// Waits for the other parties. Returns `true` to the last one to arrive, and `false` to the others.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn wait(&self) -> Result<bool, ManagerError> {
        let opened: Option<bool> = self.remote.call(&EventRequest::Arrive(None))?;
        Ok(opened.expect("a wait without a limit ends when the barrier opens"))
    }

    /// Waits as [`wait`](Self::wait) does, at most for `timeout`. Returns `None` if the timeout expired first.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<bool>, ManagerError> {
        self.remote.call(&EventRequest::Arrive(Some(timeout)))
    }
}
