//! A proxy: the client of a manager and the number of an object in it. All proxies are made of this.
//!
//! Next: `manager/server_process.rs`, the process on the other side.
//!
//! A proxy can be cloned, sent to another OS thread, captured by the closure of a
//! [`Process`](crate::Process), and serialised, as an argument of a task or through a queue. All copies name
//! the same object.

use super::client::Client;
use super::endpoint::Address;
use super::handshake::Key;
pub(super) use super::manager_error::ManagerError;
pub(super) use super::protocol::Bytes;
use super::protocol::{Kind, REGISTRY, RegistryRequest};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// An object in a manager, as a client sees it.
#[derive(Clone)]
pub struct Remote {
    pub(super) client: Arc<Client>,
    pub(super) object: u64,
}

impl Remote {
    /// Sends `request` to the object and returns the reply.
    pub(super) fn call<R: DeserializeOwned>(&self, request: &impl Serialize) -> Result<R, ManagerError> {
        self.client.call(self.object, request)
    }

    /// Sends a request whose reply is an encoded value, if there is one, and decodes it.
    pub(super) fn call_for_value<T>(&self, request: &impl Serialize) -> Result<Option<T>, ManagerError>
    where
        T: DeserializeOwned,
    {
        self.call::<Option<Bytes>>(request)?.map(|value| value.decode()).transpose()
    }

    /// Sends a request whose reply is encoded values, and decodes them.
    pub(super) fn call_for_values<T>(&self, request: &impl Serialize) -> Result<Vec<T>, ManagerError>
    where
        T: DeserializeOwned,
    {
        self.call::<Vec<Bytes>>(request)?.iter().map(Bytes::decode).collect()
    }

    /// Serialises the proxy as the address, the key, the object's number and its kind. The key of a Unix address is among
    /// them, because only processes of the same user can use that address. The key of a TCP address is not. The receiver
    /// knows that key if it has started the manager or connected to it.
    pub(super) fn serialize<S: Serializer>(&self, kind: Kind, serializer: S) -> Result<S::Ok, S::Error> {
        let Client { address, key, .. } = &*self.client;
        let key = matches!(address, Address::Unix(_)).then_some(&key.0);
        (address, key, self.object, kind).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        wanted: Kind,
        deserializer: D,
    ) -> Result<Remote, D::Error> {
        let (address, key, object, kind): (Address, Option<Vec<u8>>, u64, Kind) =
            Deserialize::deserialize(deserializer)?;
        kind.check(wanted).map_err(D::Error::custom)?;
        let client = key.map(|key| Client::of(address.clone(), Key(key)));
        let unknown =
            || D::Error::custom(format!("this process does not know the key of {address}: connect first"));
        let client = client.or_else(|| Client::known(&address)).ok_or_else(unknown)?;
        Ok(Remote { client, object })
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} of {}", self.object, self.client.address)
    }
}

/// A proxy of an object of a manager. It can be published, and looked up by its name.
pub trait Proxy: Sized + Sealed {
    /// Makes the manager drop the object. All later calls through any proxy of it, and those that wait, fail with
    /// [`ManagerError::NoSuchObject`]. An object that is never discarded lives as long as its manager.
    ///
    /// # Errors
    /// [`ManagerError`].
    fn discard(self) -> Result<(), ManagerError> {
        let Remote { client, object } = self.remote();
        client.call(REGISTRY, &RegistryRequest::Discard(*object))
    }
}

/// The functions by which managers make and use proxies. This file's module is private, so no other type can be a proxy.
pub trait Sealed {
    const KIND: Kind;
    fn new(remote: Remote) -> Self;
    fn remote(&self) -> &Remote;
}

/// Declares the type of a proxy, with type parameters for the values in the object. `#[derive]` would demand of the
/// values what it implements for the proxy, for example `T: Clone`.
macro_rules! proxy {
    ($(#[$meta:meta])* $name:ident $(<$($of:ident),*>)?) => {
        $(#[$meta])*
        pub struct $name $(<$($of),*>)? {
            remote: Remote,
            of: std::marker::PhantomData<fn($($($of),*)?) -> ($($($of,)*)?)>,
        }

        impl $(<$($of),*>)? super::proxy::Sealed for $name $(<$($of),*>)? {
            const KIND: super::protocol::Kind = super::protocol::Kind::$name;

            fn new(remote: Remote) -> Self {
                $name { remote, of: std::marker::PhantomData }
            }

            fn remote(&self) -> &Remote {
                &self.remote
            }
        }

        impl $(<$($of),*>)? super::proxy::Proxy for $name $(<$($of),*>)? {}

        impl $(<$($of),*>)? Clone for $name $(<$($of),*>)? {
            fn clone(&self) -> Self {
                super::proxy::Sealed::new(self.remote.clone())
            }
        }

        impl $(<$($of),*>)? std::fmt::Debug for $name $(<$($of),*>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.remote).finish()
            }
        }

        impl $(<$($of),*>)? serde::Serialize for $name $(<$($of),*>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.remote.serialize(super::protocol::Kind::$name, serializer)
            }
        }

        impl<'de $($(, $of)*)?> serde::Deserialize<'de> for $name $(<$($of),*>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let remote = Remote::deserialize(super::protocol::Kind::$name, deserializer)?;
                Ok(super::proxy::Sealed::new(remote))
            }
        }
    };
}
pub(super) use proxy;
