//! A single value in a manager: the proxy of a dictionary with one key.
//!
//! Next: `process/manager/list.rs`, a list of values.

use super::dict::{self, DictRequest};
use super::proxy::{Bytes, ManagerError, Remote, proxy};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;

/// The only key.
fn key() -> Bytes {
    Bytes::default()
}

pub(super) fn dict_of(value: Bytes) -> dict::DictObject {
    dict::DictObject(RefCell::new([(key(), value)].into()))
}

/// Nothing removes the value. A server that returns none is broken.
fn present<T>(value: Option<T>) -> Result<T, ManagerError> {
    value.ok_or_else(|| ManagerError::codec::<T>("the manager returned no value"))
}

proxy! {
    /// A value in a manager.
    ///
    /// A [`get`](Value::get) followed by a [`set`](Value::set) loses what other clients have changed in between.
    /// [`update`](Value::update) does not.
    ///
    /// Source: Python's `Manager().Value()`.
    Value<T>
}

impl<T: Serialize + DeserializeOwned> Value<T> {
    /// Returns a copy of the value.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn get(&self) -> Result<T, ManagerError> {
        present(self.remote.call_for_value(&DictRequest::Get(key()))?)
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn set(&self, value: &T) -> Result<(), ManagerError> {
        self.remote.call::<Option<Bytes>>(&DictRequest::Insert(key(), Bytes::of(value)?)).map(drop)
    }

    /// Replaces the value, and returns the previous one.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn replace(&self, value: &T) -> Result<T, ManagerError> {
        present(self.remote.call_for_value(&DictRequest::Insert(key(), Bytes::of(value)?))?)
    }

    /// Replaces the value by what `f` returns for it, and returns the new value.
    ///
    /// `f` runs in this process, not in the server. If another client has changed the value meanwhile, `f` runs again
    /// with the changed value.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn update(&self, mut f: impl FnMut(T) -> T) -> Result<T, ManagerError> {
        present(dict::update(&self.remote, &key(), |value| value.map(&mut f))?)
    }
}
