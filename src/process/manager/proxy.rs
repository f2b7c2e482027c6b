//! What all proxies are: the manager they belong to, and the number of an object there.
//!
//! A proxy can be cloned, sent to another OS thread, captured by what a [`Process`](crate::process::Process) runs, and
//! serialised: as an argument of a task, or through a queue. All name the same object.

use super::address::Address;
use super::client::Client;
use super::error::ManagerError;
use super::handshake::Key;
use super::wire::Kind;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// An object of a manager, as seen from outside.
#[derive(Clone)]
pub struct Remote {
    pub(super) client: Arc<Client>,
    pub(super) object: u64,
}

impl Remote {
    /// Has `call` done, and answers what it gives.
    pub(super) fn call<R: DeserializeOwned>(&self, call: &impl Serialize) -> Result<R, ManagerError> {
        self.client.call(self.object, call)
    }

    /// As `call`, and the server is told that the answer has come, where it wants to know.
    pub(super) fn take<R: DeserializeOwned>(
        &self,
        call: &impl Serialize,
        to_be_confirmed: impl Fn(&R) -> bool,
    ) -> Result<R, ManagerError> {
        self.client.take(self.object, call, to_be_confirmed)
    }
}

/// A proxy on its way. The key of a Unix address goes with it, since one has to be of the same user to use it; that of a
/// TCP address does not, and is known where that manager was started or connected to.
#[derive(Serialize, Deserialize)]
struct Packed {
    address: Address,
    key: Option<Vec<u8>>,
    object: u64,
    kind: Kind,
}

impl Remote {
    pub(super) fn serialize<S: Serializer>(&self, kind: Kind, serializer: S) -> Result<S::Ok, S::Error> {
        let address = self.client.address().clone();
        let key = match address {
            Address::Unix(_) => Some(self.client.key().0.clone()),
            Address::Tcp(_) => None,
        };
        Packed { address, key, object: self.object, kind }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        kind: Kind,
        deserializer: D,
    ) -> Result<Remote, D::Error> {
        let packed = Packed::deserialize(deserializer)?;
        if packed.kind != kind {
            return Err(D::Error::custom(ManagerError::wrong_kind(packed.kind, kind)));
        }
        let client = match packed.key {
            Some(key) => Some(Client::of(packed.address.clone(), Key(key))),
            None => Client::known(&packed.address),
        };
        let unknown = || {
            D::Error::custom(format!("the key of {} is not known here: connect to it first", packed.address))
        };
        Ok(Remote { client: client.ok_or_else(unknown)?, object: packed.object })
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} of {}", self.object, self.client.address())
    }
}

/// A proxy of a manager's object: something that can be published, and looked up.
pub trait Proxy: Sized + sealed::Sealed {
    /// Has the manager forget the object, and free what it holds. Every later call of it, by whatever proxy, fails with
    /// [`ManagerError::NoSuchObject`], and so do those that wait. Objects that are not discarded live for as long as
    /// their manager.
    ///
    /// # Errors
    /// [`ManagerError`].
    fn discard(self) -> Result<(), ManagerError>;
}

pub(super) mod sealed {
    use super::{Kind, Remote};

    /// How a manager makes one. Named by nobody outside.
    pub trait Sealed {
        const KIND: Kind;
        fn new(remote: Remote) -> Self;
        fn remote(&self) -> &Remote;
    }
}

/// Declares a proxy's type, of so many parameters: those of the values in it.
macro_rules! proxy {
    ($(#[$meta:meta])* $name:ident $(<$($of:ident),*>)?, $kind:expr) => {
        $(#[$meta])*
        pub struct $name $(<$($of),*>)? {
            remote: Remote,
            of: std::marker::PhantomData<fn($($($of),*)?) -> ($($($of,)*)?)>,
        }

        impl $(<$($of),*>)? $crate::process::manager::proxy::sealed::Sealed for $name $(<$($of),*>)? {
            const KIND: Kind = $kind;

            fn new(remote: Remote) -> Self {
                $name { remote, of: std::marker::PhantomData }
            }

            fn remote(&self) -> &Remote {
                &self.remote
            }
        }

        impl $(<$($of),*>)? $crate::process::manager::Proxy for $name $(<$($of),*>)? {
            fn discard(self) -> Result<(), ManagerError> {
                self.remote.client.discard(self.remote.object)
            }
        }

        impl $(<$($of),*>)? Clone for $name $(<$($of),*>)? {
            fn clone(&self) -> Self {
                $name { remote: self.remote.clone(), of: std::marker::PhantomData }
            }
        }

        impl $(<$($of),*>)? std::fmt::Debug for $name $(<$($of),*>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.remote).finish()
            }
        }

        impl $(<$($of),*>)? serde::Serialize for $name $(<$($of),*>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.remote.serialize($kind, serializer)
            }
        }

        impl<'de $($(, $of)*)?> serde::Deserialize<'de> for $name $(<$($of),*>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let remote = Remote::deserialize($kind, deserializer)?;
                Ok($name { remote, of: std::marker::PhantomData })
            }
        }
    };
}
pub(super) use proxy;
