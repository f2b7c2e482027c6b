//! A manager that another process has started, on this machine or another, reached by TCP.

use super::address::Address;
use super::client::Client;
use super::handshake::Key;
use super::proxy::{Proxy, Remote};
use super::store::{Call, REGISTRY};
use super::{Barrier, Dict, Event, List, Lock, ManagerError, Queue, Semaphore, Value};
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;

/// A manager offload_blocking, whose published objects can be looked up.
///
/// ```no_run
/// use greenline::process::manager::RemoteManager;
///
/// let manager = RemoteManager::connect("10.0.0.1:5000", "a long and secret key")?;
/// let jobs = manager.queue::<String>("jobs")?;
/// while let Ok(job) = jobs.get() {
///     println!("{job}");
/// }
/// # Ok::<(), greenline::process::manager::ManagerError>(())
/// ```
///
/// Source: Python's `BaseManager.connect`.
#[derive(Clone)]
pub struct RemoteManager(Arc<Client>);

impl RemoteManager {
    /// Connects to the manager at `address`, of several to the first that answers; both ends prove that they have the
    /// key.
    ///
    /// # Errors
    /// [`ManagerError::Refused`]: the keys differ, or who is there is no manager; [`ManagerError::Gone`]: nobody is there;
    /// [`ManagerError::Io`]: it cannot be resolved.
    pub fn connect(
        address: impl ToSocketAddrs,
        key: impl AsRef<[u8]>,
    ) -> Result<RemoteManager, ManagerError> {
        let nowhere = || io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any addresses");
        let mut failed = ManagerError::Io(nowhere());
        for address in address.to_socket_addrs().map_err(ManagerError::Io)? {
            let client = Client::of(Address::Tcp(address), Key(key.as_ref().to_vec()));
            match client.try_out() {
                Ok(()) => return Ok(RemoteManager(client)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn find<P: Proxy>(&self, name: &str) -> Result<P, ManagerError> {
        let object = self.0.call(REGISTRY, &Call::Find(name.into(), P::KIND))?;
        Ok(P::new(Remote { client: self.0.clone(), object }))
    }
}

macro_rules! find {
    ($($(#[$meta:meta])* $name:ident $(<$($of:ident),*>)? -> $proxy:ty;)*) => {
        impl RemoteManager {
            $(
                $(#[$meta])*
                ///
                /// # Errors
                /// [`ManagerError::Name`]: nothing was; [`ManagerError::WrongKind`]: something else was; and the others.
                pub fn $name $(<$($of),*>)? (&self, name: &str) -> Result<$proxy, ManagerError> {
                    self.find(name)
                }
            )*
        }
    };
}

find! {
    /// The queue that was published by that name.
    queue<T> -> Queue<T>;
    /// The event that was published by that name.
    event -> Event;
    /// The lock that was published by that name.
    lock -> Lock;
    /// The semaphore that was published by that name.
    semaphore -> Semaphore;
    /// The barrier that was published by that name.
    barrier -> Barrier;
    /// The dictionary that was published by that name.
    dict<K, V> -> Dict<K, V>;
    /// The list that was published by that name.
    list<T> -> List<T>;
    /// The value that was published by that name.
    value<T> -> Value<T>;
}

impl std::fmt::Debug for RemoteManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RemoteManager").field(self.0.address()).finish()
    }
}
