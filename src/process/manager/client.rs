//! A process's side of a manager: connections to its server, each for one call at a time.
//!
//! A call takes a connection that nobody uses, or makes one, sends the request, and waits for the answer; only the green
//! thread that calls waits. So a call that waits in the server for long has a connection to itself, and holds nobody up.
//! Then the connection is kept for the next call. Where the caller is unwound meanwhile, by a kill or a timeout, the
//! connection is closed, and the server sees by that that nobody waits any more.
//!
//! A forked child finds copies of its parent's connections. To use them would mix up their conversations, so each
//! connection knows whose it is, and the child makes its own. And since a copy keeps a connection open, who has made it
//! does not only close it but shuts it down.

use super::address::Address;
use super::error::ManagerError;
use super::handshake::{self, Key};
use super::store::{self, REGISTRY};
use super::stream::Stream;
use super::wire::{self, Fault};
use crate::hub::{current_or_init, with_blocking_disabled};
use crate::sys::raw_mutex::Lock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

/// How many connections that nobody uses are kept.
const IDLE: usize = 8;

/// The managers that somebody in this process has to do with, so that all their proxies share one pool. Under this lock,
/// and that of a pool, nobody runs: an allocator may have locks that are patched, and nobody must park there.
static KNOWN: Lock<Vec<Weak<Client>>> = Lock::new(Vec::new());

/// A manager, as seen from this process.
pub(super) struct Client {
    address: Address,
    key: Key,
    idle: Lock<Idle>,
}

/// The connections that nobody uses, and the process that has made them.
struct Idle {
    pid: u32,
    connections: Vec<Connection>,
}

/// A connection that both ends have agreed on.
pub(super) struct Connection {
    stream: Stream,
    pid: u32,
}

impl Client {
    /// The manager at `address`, whose key is `key`.
    pub(super) fn of(address: Address, key: Key) -> Arc<Client> {
        with_blocking_disabled(|| {
            let mut known = KNOWN.lock();
            known.retain(|client| client.strong_count() > 0);
            let same = |client: &Arc<Client>| client.address == address && client.key == key;
            if let Some(client) = known.iter().filter_map(Weak::upgrade).find(same) {
                return client;
            }
            let idle = Lock::new(Idle { pid: std::process::id(), connections: Vec::new() });
            let client = Arc::new(Client { address, key, idle });
            known.push(Arc::downgrade(&client));
            client
        })
    }

    /// The manager at `address`, if its key is known here.
    pub(super) fn known(address: &Address) -> Option<Arc<Client>> {
        with_blocking_disabled(|| {
            KNOWN.lock().iter().rev().filter_map(Weak::upgrade).find(|client| client.address == *address)
        })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Has `call` of `object` done, and answers what it gives.
    pub(super) fn call<R: DeserializeOwned>(
        &self,
        object: u64,
        call: &impl Serialize,
    ) -> Result<R, ManagerError> {
        self.take(object, call, |_| false)
    }

    /// As `call`; an answer that is `to_be_confirmed` is.
    pub(super) fn take<R: DeserializeOwned>(
        &self,
        object: u64,
        call: &impl Serialize,
        to_be_confirmed: impl Fn(&R) -> bool,
    ) -> Result<R, ManagerError> {
        let (answer, connection) = self.converse(object, call, to_be_confirmed)?;
        self.keep(connection);
        Ok(answer)
    }

    /// As `take`, with the connection it went by, which is the caller's from now on.
    pub(super) fn converse<R: DeserializeOwned>(
        &self,
        object: u64,
        call: &impl Serialize,
        to_be_confirmed: impl Fn(&R) -> bool,
    ) -> Result<(R, Connection), ManagerError> {
        let request = wire::request(object, call)?;
        let connection = self.connection()?;
        match self.exchange(&connection, request, to_be_confirmed)? {
            Ok(answer) => Ok((answer, connection)),
            Err(fault) => {
                self.keep(connection);
                Err(ManagerError::from_fault(fault, self.address.to_string()))
            }
        }
    }

    /// Sends a request and waits for the answer.
    ///
    /// Errors: the connection has ended.
    fn exchange<R: DeserializeOwned>(
        &self,
        connection: &Connection,
        request: Vec<u8>,
        to_be_confirmed: impl Fn(&R) -> bool,
    ) -> Result<Result<R, Fault>, ManagerError> {
        let gone = |error: io::Error| self.address.gone(&error);
        wire::send(&connection.stream, request).map_err(gone)?;
        let Some(answer) = wire::receive(&connection.stream).map_err(gone)? else {
            return Err(self.address.gone(&"it has closed the connection"));
        };
        let answer = postcard::from_bytes(&answer).map_err(|error| ManagerError::codec::<R>(&error))?;
        if matches!(&answer, Ok(answer) if to_be_confirmed(answer)) {
            wire::send(&connection.stream, wire::confirmation()).map_err(gone)?;
        }
        Ok(answer)
    }

    /// One that nobody uses, or a new one.
    fn connection(&self) -> Result<Connection, ManagerError> {
        let pid = std::process::id();
        let (found, inherited) = with_blocking_disabled(|| {
            let mut idle = self.idle.lock();
            if idle.pid == pid {
                return (idle.connections.pop(), Vec::new());
            }
            idle.pid = pid;
            (None, std::mem::take(&mut idle.connections))
        });
        drop(inherited);
        match found {
            Some(connection) => Ok(connection),
            None => self.connect(),
        }
    }

    /// Makes a connection, on which both ends have proved that they have the key.
    fn connect(&self) -> Result<Connection, ManagerError> {
        let connection = Connection { stream: self.address.connect()?, pid: std::process::id() };
        let refused = |cause: String| ManagerError::Refused { manager: self.address.to_string(), cause };
        match handshake::connect(&connection.stream, &self.key) {
            Ok(()) => Ok(connection),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(refused(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(refused(format!("no manager has answered within {:?}", handshake::PATIENCE)))
            }
            Err(error) => Err(self.address.gone(&error)),
        }
    }

    /// Has a new connection made, and kept: if there is none, the manager cannot be used.
    pub(super) fn try_out(&self) -> Result<(), ManagerError> {
        self.connect().map(|connection| self.keep(connection))
    }

    /// Nobody uses it any more.
    pub(super) fn keep(&self, connection: Connection) {
        let surplus = with_blocking_disabled(|| {
            let mut idle = self.idle.lock();
            if idle.pid != connection.pid || idle.connections.len() >= IDLE {
                return Some(connection);
            }
            idle.connections.push(connection);
            None
        });
        drop(surplus);
    }

    /// Gives back what was acquired by `connection`. If that fails, so has the connection, which does it as well.
    pub(super) fn release(&self, object: u64, connection: Connection) {
        let Ok(request) = wire::request(object, &super::semaphore::Call::Release) else { return };
        if let Ok(Ok(())) = self.exchange(&connection, request, |()| false) {
            self.keep(connection);
        }
    }

    /// Has the manager forget an object.
    pub(super) fn discard(&self, object: u64) -> Result<(), ManagerError> {
        self.call(REGISTRY, &store::Call::Discard(object))
    }
}

impl Connection {
    /// Whether this process has made it, and something can be said by it still: not so when its OS thread is ending.
    pub(super) fn is_usable(&self) -> bool {
        self.pid == std::process::id() && current_or_init().is_some_and(|hub| hub.can_block())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            self.stream.shut_down();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("stream", &self.stream).field("pid", &self.pid).finish()
    }
}
