//! A barrier in a manager: a number of green threads wait for each other.
//!
//! Next: `process/manager/dict.rs`, an object that stores values.

use super::object::{Limit, Object, Reply, Session, WaitQueue, decode};
use super::proxy::{ManagerError, Remote, proxy};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum BarrierRequest {
    /// Returns whether this party was the last to arrive, or `None` if the limit expired first.
    Wait(Limit),
}

// ---- in the server

#[derive(Default)]
pub(super) struct BarrierObject {
    parties: usize,
    arrived: Cell<usize>,
    /// Number of times the barrier has opened.
    times_opened: Cell<u64>,
    waiters: WaitQueue,
}

impl BarrierObject {
    pub(super) fn new(parties: usize) -> BarrierObject {
        BarrierObject { parties, ..BarrierObject::default() }
    }

    fn wait(&self, session: &Session, limit: Limit) -> Result<Option<bool>, ManagerError> {
        let before = self.times_opened.get();
        self.arrived.set(self.arrived.get() + 1);
        if self.arrived.get() >= self.parties {
            self.arrived.set(0);
            self.times_opened.set(before + 1);
            self.waiters.wake();
            return Ok(Some(true));
        }
        let opened = || (self.times_opened.get() != before).then_some(false);
        let waited = self.waiters.wait(session, limit, opened);
        if !matches!(waited, Ok(Some(_))) && self.times_opened.get() == before {
            // A party that gives up does not count.
            self.arrived.set(self.arrived.get() - 1);
        }
        waited
    }
}

impl Object for BarrierObject {
    fn call(self: Rc<Self>, request: &[u8], session: &Session) -> Result<Reply, ManagerError> {
        let BarrierRequest::Wait(limit) = decode(request)?;
        Reply::of(&self.wait(session, limit)?)
    }

    fn discard(&self) {
        self.waiters.close();
    }
}

// ---- the proxy

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
        let opened: Option<bool> = self.remote.call(&BarrierRequest::Wait(None))?;
        Ok(opened.expect("a wait without a limit ends when the barrier opens"))
    }

    /// Waits as [`wait`](Self::wait) does, at most for `timeout`. Returns `None` if the timeout expired first.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<bool>, ManagerError> {
        self.remote.call(&BarrierRequest::Wait(Some(timeout)))
    }
}
