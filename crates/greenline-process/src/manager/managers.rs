//! A manager, as the process that started it and its server sees it, and as any other process does that connects by TCP.
//!
//! Next: `manager/client.rs`, the connections to the server.

use super::client::Client;
use super::dict::{Dict, Value};
use super::endpoint::{Address, from_tcp};
use super::event::{Barrier, Event};
use super::handshake::Key;
use super::list::List;
use super::protocol::{REGISTRY, RegistryRequest};
use super::proxy::{Bytes, ManagerError, Proxy, Remote};
use super::queue::Queue;
use super::semaphore::{Lock, Semaphore};
use super::{server_process, sys};
use crate::child::Child;
use greenline::net::TcpListener;
use serde::Serialize;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// Time between SIGTERM and SIGKILL when the server is shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// A server process that holds objects. The process ends when this is dropped.
///
/// See [the module](super). Source: Python's `multiprocessing.Manager`.
#[derive(Debug)]
pub struct Manager {
    client: Arc<Client>,
    server: Child,
    /// Id of the process that started the server. The copy in a forked child does not end it.
    owner: u32,
}

/// Sets the name of a manager, its address and its key.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is started"]
pub struct Builder {
    name: String,
    tcp: Option<Vec<SocketAddr>>,
    key: Option<Key>,
}

impl Manager {
    /// Starts a manager for the processes of this user on this machine.
    ///
    /// # Errors
    /// The errors of [`Process::start`](crate::Process::start); no descriptor is left.
    pub fn start() -> io::Result<Manager> {
        Manager::builder().start()
    }

    /// Returns a builder, which starts a manager with a name, or one that listens on TCP.
    pub fn builder() -> Builder {
        Builder { name: "manager".into(), tcp: None, key: None }
    }

    /// Creates a queue for at most `max_len` messages; 0: no limit.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn queue<T>(&self, max_len: usize) -> Result<Queue<T>, ManagerError> {
        self.create(&max_len)
    }

    /// Creates an event that is not set.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn event(&self) -> Result<Event, ManagerError> {
        self.create(&0usize)
    }

    /// Creates a lock that is not locked.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn lock(&self) -> Result<Lock, ManagerError> {
        self.create(&1usize)
    }

    /// Creates a semaphore of `permits` permits.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn semaphore(&self, permits: usize) -> Result<Semaphore, ManagerError> {
        self.create(&permits)
    }

    /// Creates a barrier for `parties` green threads.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn barrier(&self, parties: usize) -> Result<Barrier, ManagerError> {
        self.create(&parties)
    }

    /// Creates an empty dictionary.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn dict<K, V>(&self) -> Result<Dict<K, V>, ManagerError> {
        self.create(&())
    }

    /// Creates an empty list.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn list<T>(&self) -> Result<List<T>, ManagerError> {
        self.create(&())
    }

    /// Creates a value.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn value<T: Serialize>(&self, initial: &T) -> Result<Value<T>, ManagerError> {
        self.create(initial)
    }

    fn create<P: Proxy>(&self, initial: &impl Serialize) -> Result<P, ManagerError> {
        let object = self.client.call(REGISTRY, &RegistryRequest::Create(P::KIND, Bytes::of(initial)?))?;
        Ok(P::new(Remote { client: self.client.clone(), object }))
    }

    /// Gives an object of this manager a name, by which a [`RemoteManager`] finds it.
    ///
    /// # Errors
    /// [`ManagerError::Name`] if another object has that name, or `proxy` belongs to another manager; any other
    /// [`ManagerError`].
    pub fn publish(&self, name: &str, proxy: &impl Proxy) -> Result<(), ManagerError> {
        let remote = proxy.remote();
        if remote.client.address != self.client.address {
            let (manager, cause) = (self.client.address.to_string(), format!("{remote:?} is not its own"));
            return Err(ManagerError::Name { manager, cause });
        }
        self.client.call(REGISTRY, &RegistryRequest::Publish(name.into(), remote.object))
    }

    /// Returns the address of the manager if it listens on TCP.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        let Address::Tcp(address) = &self.client.address else { return None };
        Some(*address)
    }

    /// Returns the process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Blocks until the server ends. The server does not end by itself, so this is for a process whose only purpose is
    /// to run a manager for other processes.
    ///
    /// # Errors
    /// The errors of [`Child::join`].
    ///
    /// Source: Python's `get_server().serve_forever()`.
    pub fn serve_forever(self) -> io::Result<()> {
        self.server.join().map(drop)
    }

    /// Ends the server by SIGTERM, and after a second by SIGKILL, and waits for its end. All its objects are lost.
    ///
    /// # Errors
    /// The server cannot be signalled or waited for.
    pub fn shutdown(self) -> io::Result<()> {
        self.end()
    }

    fn end(&self) -> io::Result<()> {
        if self.owner != std::process::id() || !self.server.is_alive() {
            return Ok(());
        }
        self.server.terminate()?;
        if self.server.join_timeout(SHUTDOWN_TIMEOUT)?.is_none() {
            self.server.kill()?;
            self.server.join()?;
        }
        Ok(())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::error!("the server of {} could not be ended: {error}", self.client.address);
        }
    }
}

impl Builder {
    /// Sets the name, which errors mention and which is the name of the server process.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = name.into();
        self
    }

    /// Makes the manager listen on TCP at `address`. Port 0 stands for any free port. A manager on TCP needs a
    /// [`key`](Builder::key).
    ///
    /// On other machines, look objects up by a [`RemoteManager`]. A proxy that was created here
    /// and sent to another machine contains the address that is used here.
    ///
    /// # Errors
    /// The address cannot be resolved.
    pub fn tcp(mut self, address: impl ToSocketAddrs) -> io::Result<Builder> {
        self.tcp = Some(address.to_socket_addrs()?.collect());
        Ok(self)
    }

    /// Sets the key that clients must have. If the manager serves only this machine and no key is set, it uses a random
    /// one.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Builder {
        self.key = Some(Key(key.as_ref().to_vec()));
        self
    }

    /// Starts the server.
    ///
    /// # Errors
    /// The errors of [`Process::start`](crate::Process::start); the address is not available; `InvalidInput`
    /// if the key is empty, or the manager is to listen on TCP and has no key.
    pub fn start(self) -> io::Result<Manager> {
        let key = match self.key {
            Some(key) if !key.0.is_empty() => key,
            None if self.tcp.is_none() => Key::random()?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "a manager on TCP needs a key")),
        };
        let (address, server) = match &self.tcp {
            Some(addresses) => {
                let listener = TcpListener::bind(&addresses[..])?;
                let address = Address::of_listener(listener.local_addr()?);
                let admit = |stream| Ok((from_tcp(stream)?, None));
                (address, server_process::start(self.name, listener, key.clone(), admit)?)
            }
            None => {
                let (listener, address) = Address::listen(&self.name)?;
                let admit = |stream| sys::check_peer(&stream).map(|pid| (stream, Some(pid)));
                (address, server_process::start(self.name, listener, key.clone(), admit)?)
            }
        };
        Ok(Manager { client: Client::of(address, key), server, owner: std::process::id() })
    }
}

/// A manager elsewhere, whose published objects can be looked up by name.
///
/// ```no_run
/// use greenline_process::manager::{Queue, RemoteManager};
///
/// let manager = RemoteManager::connect("10.0.0.1:5000", "a long and secret key")?;
/// let jobs: Queue<String> = manager.find("jobs")?;
/// while let Ok(job) = jobs.get() {
///     println!("{job}");
/// }
/// # Ok::<(), greenline_process::manager::ManagerError>(())
/// ```
///
/// Source: Python's `BaseManager.connect`.
#[derive(Clone, Debug)]
pub struct RemoteManager(Arc<Client>);

impl RemoteManager {
    /// Connects to the manager at `address`. If that stands for several addresses, connects to the first manager that
    /// accepts. Both ends prove that they have the key.
    ///
    /// # Errors
    /// [`ManagerError::Refused`] if the keys differ, or the other end is no manager; [`ManagerError::Gone`] if no
    /// process listens there; [`ManagerError::Io`] if the address cannot be resolved.
    pub fn connect(
        address: impl ToSocketAddrs,
        key: impl AsRef<[u8]>,
    ) -> Result<RemoteManager, ManagerError> {
        let unresolved = "the address could not be resolved";
        let mut connected = Err(ManagerError::Io(io::Error::new(io::ErrorKind::InvalidInput, unresolved)));
        for address in address.to_socket_addrs().map_err(ManagerError::Io)? {
            let client = Client::of(Address::Tcp(address), Key(key.as_ref().to_vec()));
            connected = client
                .connect()
                .map(|connection| client.put_back(connection))
                .map(|()| RemoteManager(client));
            if connected.is_ok() {
                break;
            }
        }
        connected
    }

    /// Returns the object that was published by that name.
    ///
    /// # Errors
    /// [`ManagerError::Name`] if nothing was published by that name; [`ManagerError::WrongKind`] if the object is of another
    /// kind; any other [`ManagerError`].
    pub fn find<P: Proxy>(&self, name: &str) -> Result<P, ManagerError> {
        let object = self.0.call(REGISTRY, &RegistryRequest::Find(name.into(), P::KIND))?;
        Ok(P::new(Remote { client: self.0.clone(), object }))
    }
}
