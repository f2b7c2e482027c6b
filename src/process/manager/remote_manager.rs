//! A manager that another process started, on this machine or another one, reached over TCP.
//!
//! Next: `process/mod.rs`, the other means of processes.

use super::client::Client;
use super::endpoint::Address;
use super::handshake::Key;
use super::protocol::{REGISTRY, RegistryRequest};
use super::proxy::{ManagerError, Proxy, Remote};
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;

/// A manager elsewhere, whose published objects can be looked up by name.
///
/// ```no_run
/// use greenline::process::manager::{Queue, RemoteManager};
///
/// let manager = RemoteManager::connect("10.0.0.1:5000", "a long and secret key")?;
/// let jobs: Queue<String> = manager.find("jobs")?;
/// while let Ok(job) = jobs.get() {
///     println!("{job}");
/// }
/// # Ok::<(), greenline::process::manager::ManagerError>(())
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
    /// [`ManagerError::Refused`] if the keys differ, or the other end is no manager; [`ManagerError::Gone`] if nobody
    /// listens there; [`ManagerError::Io`] if the address cannot be resolved.
    pub fn connect(
        address: impl ToSocketAddrs,
        key: impl AsRef<[u8]>,
    ) -> Result<RemoteManager, ManagerError> {
        let unresolved = "the address could not be resolved";
        let mut failed = ManagerError::Io(io::Error::new(io::ErrorKind::InvalidInput, unresolved));
        for address in address.to_socket_addrs().map_err(ManagerError::Io)? {
            let client = Client::of(Address::Tcp(address), Key(key.as_ref().to_vec()));
            match client.connect() {
                Ok(connection) => {
                    client.put_back(connection);
                    return Ok(RemoteManager(client));
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
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
