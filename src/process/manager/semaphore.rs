//! A semaphore; and a lock, which is one of a single permit (`lock.rs`).
//!
//! A permit belongs to the connection that it was acquired by, which its holder keeps to itself until it gives it back.
//! So a holder that dies gives it back, too: its connection ends.

use super::client::Connection;
use super::error::ManagerError;
use super::line::{Limit, Line};
use super::proxy::{Remote, proxy};
use super::session::{Answer, Session, Stop};
use super::store::Object;
use super::wire::{self, Fault, Kind};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    /// Gives whether the last one has died with it; nothing, if the limit was over first.
    Acquire(Limit),
    Release,
    Available,
}

// ---- in the server

pub(super) struct Server {
    kind: Kind,
    state: Rc<State>,
}

/// A semaphore, shared with who has a permit of it.
pub(super) struct State {
    free: Cell<u64>,
    /// A holder has died since the last one came.
    abandoned: Cell<bool>,
    line: Line,
}

/// A permit that was acquired.
pub(super) struct Held(Rc<State>);

impl Held {
    pub(super) fn is_of(&self, object: &Rc<State>) -> bool {
        Rc::ptr_eq(&self.0, object)
    }

    fn give_back(self) {
        self.0.free.set(self.0.free.get() + 1);
        self.0.line.wake();
    }

    /// Who had it has died.
    pub(super) fn abandon(self) {
        self.0.abandoned.set(true);
        self.give_back();
    }
}

impl Server {
    pub(super) fn new(kind: Kind, permits: u64) -> Server {
        let (free, abandoned) = (Cell::new(permits), Cell::new(false));
        Server { kind, state: Rc::new(State { free, abandoned, line: Line::default() }) }
    }

    fn acquire(&self, session: &Session, limit: Limit) -> Result<Answer, Stop> {
        let state = &self.state;
        let acquired = state.line.wait(session, limit, || {
            state.free.set(state.free.get().checked_sub(1)?);
            Some(state.abandoned.replace(false))
        })?;
        let answer = Answer::of(&acquired);
        let Some(was_abandoned) = acquired else { return Ok(answer) };
        let held = Held(state.clone());
        Ok(answer.settled_by(move |taken| match taken {
            Some(session) => session.hold(held),
            None => {
                held.0.abandoned.set(was_abandoned || held.0.abandoned.get());
                held.give_back();
            }
        }))
    }
}

impl Object for Server {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn call(&self, call: &[u8], session: &Session) -> Result<Answer, Stop> {
        match wire::call(call)? {
            Call::Acquire(limit) => self.acquire(session, limit),
            Call::Release => match session.let_go(&self.state) {
                Some(held) => Ok(Answer::of(&held.give_back())),
                None => Err(Fault::BadCall("what is not held cannot be released".into()).into()),
            },
            Call::Available => Ok(Answer::of(&self.state.free.get())),
        }
    }

    fn discard(&self) {
        self.state.line.close();
    }
}

// ---- the proxies

proxy! {
    /// A number of permits that a manager holds, for green threads of whatever process.
    ///
    /// A permit is given back when its [`Permit`] is dropped, and also when the process that has it dies.
    ///
    /// Source: Python's `Manager().Semaphore()`, where a dead process keeps it.
    Semaphore, Kind::Semaphore
}

impl Semaphore {
    /// Waits for a permit.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn acquire(&self) -> Result<Permit, ManagerError> {
        Ok(Permit { _grant: Grant::acquire_at_last(&self.remote)? })
    }

    /// A permit, if there is one now.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn try_acquire(&self) -> Result<Option<Permit>, ManagerError> {
        self.acquire_timeout(Duration::ZERO)
    }

    /// A permit, if there is one within `timeout`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Permit>, ManagerError> {
        let grant = Grant::acquire(&self.remote, Some(timeout))?;
        Ok(grant.map(|grant| Permit { _grant: grant }))
    }

    /// How many permits nobody has.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn available(&self) -> Result<usize, ManagerError> {
        self.remote.call(&Call::Available).map(|free: u64| free as usize)
    }
}

/// A permit of a [`Semaphore`], given back when it is dropped, or when its process dies.
///
/// It belongs to the process that has acquired it: the copy that a forked child has stands for nothing.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct Permit {
    _grant: Grant,
}

/// What a [`Permit`] is made of, and a [`LockGuard`](super::LockGuard).
#[derive(Debug)]
pub(super) struct Grant {
    remote: Remote,
    /// By which it was acquired. Taken when it is given back.
    connection: Option<Connection>,
    pub(super) was_abandoned: bool,
}

impl Grant {
    pub(super) fn acquire(remote: &Remote, limit: Limit) -> Result<Option<Grant>, ManagerError> {
        let is_granted = |granted: &Option<bool>| granted.is_some();
        let (granted, connection) =
            remote.client.converse(remote.object, &Call::Acquire(limit), is_granted)?;
        let Some(was_abandoned) = granted else {
            remote.client.keep(connection);
            return Ok(None);
        };
        Ok(Some(Grant { remote: remote.clone(), connection: Some(connection), was_abandoned }))
    }

    /// However long it takes.
    pub(super) fn acquire_at_last(remote: &Remote) -> Result<Grant, ManagerError> {
        let granted = Grant::acquire(remote, None)?;
        Ok(granted.expect("a wait without a limit ends with what was waited for"))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // Where nothing can be said any more, the end of the connection says it.
        if connection.is_usable() {
            self.remote.client.release(self.remote.object, connection);
        }
    }
}
