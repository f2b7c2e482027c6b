//! Managers: a server process that holds objects, and proxies by which other processes use them.
//!
//! What processes share by way of a manager they need not have been forked with: a proxy is a small value that can be
//! sent to wherever it is wanted, as an argument of a task or through a queue, and, where the manager listens on TCP, be
//! looked up from another machine. The price is a message there and one back for each call.
//!
//! ```no_run
//! use greenline::process::{Manager, Process};
//!
//! let manager = Manager::start()?;
//! let squares = manager.queue::<u64>(0)?;
//! let worker = squares.clone();
//! let child = Process::new(move || (1..=3u64).for_each(|n| worker.put(n * n).unwrap())).start()?;
//! child.join()?;
//! assert_eq!((0..3).map(|_| squares.get()).collect::<Result<Vec<_>, _>>()?, [1, 4, 9]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file           | is about                                                         |
//! |----------------|------------------------------------------------------------------|
//! | `server.rs`, `session.rs` | the server process, and its side of one connection    |
//! | `store.rs`     | the objects in it, by number and by name                          |
//! | `line.rs`      | where calls wait there                                            |
//! | `peers.rs`     | clients that die                                                  |
//! | `queue.rs`, `semaphore.rs`, `lock.rs`, `event.rs`, `barrier.rs`, `dict.rs`, `list.rs`, `value.rs` | an object each: its calls, the server's half, the proxy |
//! | `proxy.rs`     | what all proxies are                                              |
//! | `client.rs`    | the other processes' side: connections, and calls by them         |
//! | `address.rs`, `stream.rs`, `wire.rs`, `handshake.rs` | what a connection is, and what goes over it |
//! | `remote.rs`    | managers on other machines                                        |
//! | `sys.rs`       | what the kernel is asked: who the other end is, what is inherited |
//! | `error.rs`     | why a call has no answer                                          |
//!
//! # Life and death
//!
//! An object lives until it is [discarded](Proxy::discard), or as long as its manager: it does not matter who has a proxy of
//! it, so that one that is on its way, in a queue or a task, is as good as any other. The server ends when the
//! [`Manager`] is dropped or shut down, and when the process that has started it ends, however it does. After that
//! every call, also one that was waiting, fails with [`ManagerError::Gone`].
//!
//! A client may die, or be killed or timed out in the middle of a call. A message that it did not get any more is the
//! next one's, in its old place; what it had locked is unlocked, and the next one is told so. Of a call that changes
//! something without waiting it is not known whether it was done.
//!
//! # Values
//!
//! A value is encoded by serde and postcard where it is put in, and decoded where it is taken out; the server never
//! looks into it. The encoding does not say of which type it is: ends that disagree see a [`ManagerError::Codec`] at
//! best.
//!
//! # Who may connect
//!
//! On one machine: processes of the same user, as the kernel knows them, that have the manager's key, which is random
//! and goes with the proxies. Over TCP: who has the key that the manager was given. Both ends prove that they have it,
//! without showing it. TCP connections are not encrypted, and somebody in between could change what is said: use them in
//! networks that are trusted, or through a tunnel.
//!
//! Source: Python's `multiprocessing.Manager` and `multiprocessing.managers`.
#![deny(unsafe_code)]

mod address;
mod barrier;
mod client;
mod dict;
mod error;
mod event;
mod handshake;
mod line;
mod list;
mod lock;
mod peers;
mod proxy;
mod queue;
mod remote;
mod semaphore;
mod server;
mod session;
mod store;
mod stream;
mod sys;
mod value;
mod wire;

pub use barrier::Barrier;
pub use dict::Dict;
pub use error::ManagerError;
pub use event::Event;
pub use list::List;
pub use lock::{Lock, LockGuard};
pub use proxy::Proxy;
pub use queue::{GetError, PutError, Queue};
pub use remote::RemoteManager;
pub use semaphore::{Permit, Semaphore};
pub use value::Value;

use super::{Child, Process};
use crate::net::{TcpListener, UnixListener};
use address::Address;
use client::Client;
use handshake::Key;
use proxy::Remote;
use serde::Serialize;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use store::{Blueprint, Call, REGISTRY};
use stream::Listener;
use wire::Bytes;

/// How long a server may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(1);

/// A server process that holds objects, and the right to end it: which is done when it is dropped.
///
/// See [the module](self). Source: Python's `multiprocessing.Manager`.
pub struct Manager {
    client: Arc<Client>,
    server: Child,
    /// Which process has started it. A copy in a forked child ends nothing.
    owner: u32,
}

/// Chooses the name of a manager, where it listens, and its key.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is started"]
pub struct Builder {
    name: String,
    tcp: Option<Vec<SocketAddr>>,
    key: Option<Vec<u8>>,
}

impl Manager {
    /// Starts one, to be used on this machine by processes of this user.
    ///
    /// # Errors
    /// Those of [`Process::start`]; no descriptor is left.
    pub fn start() -> io::Result<Manager> {
        Manager::builder().start()
    }

    /// To start one that has a name, or listens on TCP.
    pub fn builder() -> Builder {
        Builder { name: "manager".into(), tcp: None, key: None }
    }

    /// A queue with room for `max_len` messages; 0: any number.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn queue<T>(&self, max_len: usize) -> Result<Queue<T>, ManagerError> {
        self.make(Blueprint::Queue(max_len as u64))
    }

    /// An event that is not set.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn event(&self) -> Result<Event, ManagerError> {
        self.make(Blueprint::Event)
    }

    /// A lock that nobody has.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn lock(&self) -> Result<Lock, ManagerError> {
        self.make(Blueprint::Lock)
    }

    /// A semaphore of so many permits.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn semaphore(&self, permits: usize) -> Result<Semaphore, ManagerError> {
        self.make(Blueprint::Semaphore(permits as u64))
    }

    /// A barrier for so many.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn barrier(&self, parties: usize) -> Result<Barrier, ManagerError> {
        self.make(Blueprint::Barrier(parties as u64))
    }

    /// An empty dictionary.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn dict<K, V>(&self) -> Result<Dict<K, V>, ManagerError> {
        self.make(Blueprint::Dict)
    }

    /// An empty list.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn list<T>(&self) -> Result<List<T>, ManagerError> {
        self.make(Blueprint::List)
    }

    /// A value.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn value<T: Serialize>(&self, initial: &T) -> Result<Value<T>, ManagerError> {
        self.make(Blueprint::Value(Bytes::of(initial)?))
    }

    fn make<P: Proxy>(&self, blueprint: Blueprint) -> Result<P, ManagerError> {
        let object = self.client.call(REGISTRY, &Call::Make(blueprint))?;
        Ok(P::new(Remote { client: self.client.clone(), object }))
    }

    /// Gives an object of this manager a name, for a [`RemoteManager`] to look it up by.
    ///
    /// # Errors
    /// [`ManagerError::Name`]: something else has that name; `proxy` is another manager's; and the others.
    pub fn publish(&self, name: &str, proxy: &impl Proxy) -> Result<(), ManagerError> {
        let remote = proxy.remote();
        if remote.client.address() != self.client.address() {
            let (manager, cause) = (self.client.address().to_string(), format!("{remote:?} is not its own"));
            return Err(ManagerError::Name { manager, cause });
        }
        self.client.call(REGISTRY, &Call::Publish(name.into(), remote.object))
    }

    /// Where it listens, if that is on TCP.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        match self.client.address() {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// TcbPool until the server has ended, which it does not do by itself: for a process that does nothing but have a
    /// manager for others.
    ///
    /// # Errors
    /// Those of [`Child::join`].
    ///
    /// Source: Python's `get_server().serve_forever()`.
    pub fn serve_forever(self) -> io::Result<()> {
        self.server.join().map(drop)
    }

    /// Ends the server, and waits until it has ended: by SIGTERM, and a second later by SIGKILL. All objects are gone.
    ///
    /// # Errors
    /// It could not be waited for.
    pub fn shutdown(self) -> io::Result<()> {
        self.end()
    }

    fn end(&self) -> io::Result<()> {
        if self.owner != std::process::id() || !self.server.is_alive() {
            return Ok(());
        }
        self.server.terminate()?;
        if self.server.join_timeout(GRACE)?.is_none() {
            self.server.kill()?;
            self.server.join()?;
        }
        Ok(())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::error!("the server of {} could not be ended: {error}", self.client.address());
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("address", self.client.address())
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// The name, in errors and of the server process.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = name.into();
        self
    }

    /// Listens on TCP, at `address`: port 0 stands for any that is free. It needs a [`key`](Builder::key).
    ///
    /// On other machines, look objects up by a [`RemoteManager`]. A proxy that is sent there names the address by which
    /// it was made here.
    ///
    /// # Errors
    /// It cannot be resolved.
    pub fn tcp(mut self, address: impl ToSocketAddrs) -> io::Result<Builder> {
        self.tcp = Some(address.to_socket_addrs()?.collect());
        Ok(self)
    }

    /// What clients have to know to be served. On this machine alone a random one will do, which is used if none is
    /// given.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Builder {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// Starts the server.
    ///
    /// # Errors
    /// Those of [`Process::start`]; the address cannot be had; `InvalidInput`: on TCP, there is no key, or an empty one.
    pub fn start(self) -> io::Result<Manager> {
        let key = match self.key {
            Some(key) if !key.is_empty() => Key(key),
            None if self.tcp.is_none() => Key::random()?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "a manager on TCP needs a key")),
        };
        let (listener, address) = match &self.tcp {
            Some(addresses) => {
                let listener = TcpListener::bind(&addresses[..])?;
                let address = Address::of_listener(listener.local_addr()?);
                (Listener::Tcp(listener), address)
            }
            None => {
                let address = Address::fresh(&self.name)?;
                (Listener::Unix(UnixListener::bind_addr(&address.to_unix()?)?), address)
            }
        };
        let inside = key.clone();
        let server = Process::new(move || server::run(listener, inside)).name(&*self.name).daemon(true);
        // What was bound here is closed here when the closure is: whoever connects finds the server, or nobody.
        let server = sys::uninterrupted(|| server.start())?;
        Ok(Manager { client: Client::of(address, key), server, owner: std::process::id() })
    }
}
