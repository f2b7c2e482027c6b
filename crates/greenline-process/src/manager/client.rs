//! A manager as its clients see it: a pool of connections to the server, each of which carries one call at a time.
//!
//! Next: `manager/protocol.rs`, the messages on a connection.
//!
//! A call takes an idle connection, or makes one, sends the request and waits for the reply. Only the calling green
//! thread waits. A call that waits in the server for a long time has a connection of its own, so it delays no other
//! call. After the reply the connection becomes idle. If the caller is unwound during the call, by a kill or a timeout,
//! the connection is closed, and by that the server notices that no caller waits any more.
//!
//! **Fork.** A forked child has copies of its parent's connections. If both used them, requests and replies would mix.
//! So each connection stores the id of the process that made it, and the child makes its own. A copy would also keep a
//! connection open. Therefore the process that made it does not only close it, but shuts it down.

use super::endpoint::{Address, Stream, shut_down};
use super::handshake::{self, Key};
use super::manager_error::ManagerError;
use super::protocol;
use greenline::internals::RawMutex;
use greenline::internals::can_block_here;
use greenline::internals::with_blocking_disabled;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

/// Largest number of idle connections to a manager.
const MAX_IDLE: usize = 8;

/// All managers that this process uses, so that all proxies of a manager share one pool. No green thread may park while
/// it holds this lock or the lock of a pool. The allocator may take a patched lock there, so the code between runs under
/// `with_blocking_disabled`.
static CLIENTS: RawMutex<Vec<Weak<Client>>> = RawMutex::new(Vec::new());

/// The client of one manager.
pub(super) struct Client {
    pub(super) address: Address,
    pub(super) key: Key,
    /// The connections without a call. In a forked child the parent's are among them.
    idle: RawMutex<Vec<Connection>>,
}

/// A connection after the handshake.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    pid: u32,
}

impl Client {
    /// Returns the client of the manager at `address` with that key.
    pub(super) fn of(address: Address, key: Key) -> Arc<Client> {
        with_blocking_disabled(|| {
            let mut clients = CLIENTS.lock();
            clients.retain(|client| client.strong_count() > 0);
            let same = |client: &Arc<Client>| client.address == address && client.key == key;
            if let Some(client) = clients.iter().filter_map(Weak::upgrade).find(same) {
                return client;
            }
            let client = Arc::new(Client { address, key, idle: RawMutex::new(Vec::new()) });
            clients.push(Arc::downgrade(&client));
            client
        })
    }

    /// Returns the client of the manager at `address`, if this process knows the key.
    pub(super) fn known(address: &Address) -> Option<Arc<Client>> {
        with_blocking_disabled(|| {
            CLIENTS.lock().iter().rev().filter_map(Weak::upgrade).find(|client| client.address == *address)
        })
    }

    /// Sends `request` to an object and returns the reply.
    pub(super) fn call<R: DeserializeOwned>(
        &self,
        object: u64,
        request: &impl Serialize,
    ) -> Result<R, ManagerError> {
        let connection = self.connection()?;
        let reply = self.call_over(&connection, object, request)?;
        self.put_back(connection);
        reply
    }

    /// Sends `request` over `connection` and returns the reply, which may be an error. The outer error: the connection
    /// cannot be used any more.
    pub(super) fn call_over<R: DeserializeOwned>(
        &self,
        connection: &Connection,
        object: u64,
        request: &impl Serialize,
    ) -> Result<Result<R, ManagerError>, ManagerError> {
        let failed = |error: ManagerError| error.with_manager(&self.address);
        let gone = |error: io::Error| self.address.gone(error);
        let stream = &connection.stream;
        protocol::send(stream, &protocol::frame(&(object, request)).map_err(failed)?).map_err(gone)?;
        let reply = protocol::receive(stream).map_err(gone)?;
        let reply = reply.ok_or_else(|| self.address.gone("the server closed the connection"))?;
        let (wants_ack, reply): (bool, Result<R, ManagerError>) = protocol::decode(&reply).map_err(failed)?;
        if wants_ack {
            protocol::send(stream, &protocol::ACK).map_err(gone)?;
        }
        Ok(reply.map_err(failed))
    }

    /// Returns an idle connection that this process made, or a new one.
    pub(super) fn connection(&self) -> Result<Connection, ManagerError> {
        loop {
            match with_blocking_disabled(|| self.idle.lock().pop()) {
                Some(connection) if connection.pid == std::process::id() => return Ok(connection),
                Some(inherited) => drop(inherited),
                None => return self.connect(),
            }
        }
    }

    /// Makes a connection and runs the handshake on it.
    pub(super) fn connect(&self) -> Result<Connection, ManagerError> {
        let connect = || {
            let connection = Connection { stream: self.address.connect()?, pid: std::process::id() };
            handshake::connect(&connection.stream, &self.key).map(|()| connection)
        };
        connect().map_err(|error| self.address.unreached(error))
    }

    /// Makes `connection` idle. If there are too many idle ones, closes the oldest.
    pub(super) fn put_back(&self, connection: Connection) {
        // A surplus connection is dropped after the lock is released.
        let _surplus = with_blocking_disabled(|| {
            let mut idle = self.idle.lock();
            idle.push(connection);
            (idle.len() > MAX_IDLE).then(|| idle.remove(0))
        });
    }
}

impl Connection {
    /// Returns whether the caller can send on this connection: this process made it, and the OS thread is not exiting.
    pub(super) fn is_usable(&self) -> bool {
        self.pid == std::process::id() && can_block_here()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            shut_down(&self.stream);
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
