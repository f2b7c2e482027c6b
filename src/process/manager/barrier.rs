//! A barrier: so many wait for each other.

use super::error::ManagerError;
use super::line::{Limit, Line};
use super::proxy::{Remote, proxy};
use super::session::{Answer, Session, Stop};
use super::store::Object;
use super::wire::{self, Kind};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    /// Gives whether it was the last to come; nothing, if the limit was over first.
    Wait(Limit),
}

// ---- in the server

pub(super) struct Server {
    parties: u64,
    arrived: Cell<u64>,
    /// How often it has opened.
    times: Cell<u64>,
    line: Line,
}

impl Server {
    pub(super) fn new(parties: u64) -> Server {
        Server { parties, arrived: Cell::new(0), times: Cell::new(0), line: Line::default() }
    }

    fn wait(&self, session: &Session, limit: Limit) -> Result<Option<bool>, Stop> {
        let before = self.times.get();
        self.arrived.set(self.arrived.get() + 1);
        if self.arrived.get() >= self.parties {
            self.arrived.set(0);
            self.times.set(before + 1);
            self.line.wake();
            return Ok(Some(true));
        }
        let opened = || (self.times.get() != before).then_some(false);
        let waited = self.line.wait(session, limit, opened);
        if !matches!(waited, Ok(Some(_))) && self.times.get() == before {
            // Who gives up does not count.
            self.arrived.set(self.arrived.get() - 1);
        }
        waited
    }
}

impl Object for Server {
    fn kind(&self) -> Kind {
        Kind::Barrier
    }

    fn call(&self, call: &[u8], session: &Session) -> Result<Answer, Stop> {
        let Call::Wait(limit) = wire::call(call)?;
        Ok(Answer::of(&self.wait(session, limit)?))
    }

    fn discard(&self) {
        self.line.close();
    }
}

// ---- the proxy

proxy! {
    /// Where so many green threads, of whatever processes, wait until all have come. Then it is as new.
    ///
    /// One that gives up, or dies, is as if it had not come, and the others wait on. Source: Python's
    /// `Manager().Barrier()`, which is broken then.
    Barrier, Kind::Barrier
}

impl Barrier {
    /// Waits for the others. Answers `true` to one of them: the last to come.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn wait(&self) -> Result<bool, ManagerError> {
        let opened: Option<bool> = self.remote.call(&Call::Wait(None))?;
        Ok(opened.expect("a wait without a limit ends with what was waited for"))
    }

    /// As [`wait`](Self::wait), for no longer than `timeout`: nothing, if that was over first.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<bool>, ManagerError> {
        self.remote.call(&Call::Wait(Some(timeout)))
    }
}
