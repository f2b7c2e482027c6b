//! An event: a flag that can be waited for.

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
    Set,
    Clear,
    IsSet,
    /// Gives whether it was set in time.
    Wait(Limit),
}

// ---- in the server

#[derive(Default)]
pub(super) struct Server {
    is_set: Cell<bool>,
    /// How often it was set: who waits goes on, even if it is cleared before he comes to look.
    times: Cell<u64>,
    line: Line,
}

impl Object for Server {
    fn kind(&self) -> Kind {
        Kind::Event
    }

    fn call(&self, call: &[u8], session: &Session) -> Result<Answer, Stop> {
        Ok(match wire::call(call)? {
            Call::Set => {
                self.is_set.set(true);
                self.times.set(self.times.get() + 1);
                self.line.wake();
                Answer::of(&())
            }
            Call::Clear => Answer::of(&self.is_set.set(false)),
            Call::IsSet => Answer::of(&self.is_set.get()),
            Call::Wait(limit) => {
                let before = self.times.get();
                let is_over = || (self.is_set.get() || self.times.get() != before).then_some(());
                Answer::of(&self.line.wait(session, limit, is_over)?.is_some())
            }
        })
    }

    fn discard(&self) {
        self.line.close();
    }
}

// ---- the proxy

proxy! {
    /// A flag that a manager holds, and that can be waited for.
    ///
    /// Source: Python's `Manager().Event()`.
    Event, Kind::Event
}

impl Event {
    /// Sets it: all that wait go on.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn set(&self) -> Result<(), ManagerError> {
        self.remote.call(&Call::Set)
    }

    /// Takes it back: who comes now waits.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn clear(&self) -> Result<(), ManagerError> {
        self.remote.call(&Call::Clear)
    }

    /// Whether it is set.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_set(&self) -> Result<bool, ManagerError> {
        self.remote.call(&Call::IsSet)
    }

    /// Waits until it is set.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn wait(&self) -> Result<(), ManagerError> {
        self.remote.call::<bool>(&Call::Wait(None)).map(drop)
    }

    /// Waits until it is set, for no longer than `timeout`. Answers whether it was.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, ManagerError> {
        self.remote.call(&Call::Wait(Some(timeout)))
    }
}
