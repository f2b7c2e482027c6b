//! A dictionary in a manager, and a single value, which is a dictionary with one key. The server compares the encodings
//! of the keys, and knows nothing else of keys and values.
//!
//! Next: `manager/list.rs`, a list of values.

use super::object::{Object, Reply, Session, decode};
use super::proxy::{Bytes, ManagerError, Remote, proxy};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The only key of a [`Value`].
const VALUE_KEY: Bytes = Bytes::EMPTY;

#[derive(Serialize, Deserialize)]
enum DictRequest {
    Get(Bytes),
    /// Replaces the value of a key. `None` means no value. Returns the previous one.
    Replace(Bytes, Option<Bytes>),
    Contains(Bytes),
    Len,
    Keys,
    Values,
    Items,
    Clear,
    /// As `Replace`, if the value of `key` is `expected` (compare and swap). Returns whether it was.
    CompareAndSwap {
        key: Bytes,
        expected: Option<Bytes>,
        new: Option<Bytes>,
    },
}

// ---- in the server

#[derive(Default)]
pub(super) struct DictObject(RefCell<BTreeMap<Bytes, Bytes>>);

impl DictObject {
    /// Returns the object behind a [`Value`].
    pub(super) fn of_value(value: Bytes) -> DictObject {
        DictObject(RefCell::new([(VALUE_KEY, value)].into()))
    }
}

impl Object for DictObject {
    fn call(self: Rc<Self>, request: &[u8], _: &Session) -> Result<Reply, ManagerError> {
        let mut map = self.0.borrow_mut();
        match decode(request)? {
            DictRequest::Get(key) => Reply::of(&map.get(&key)),
            DictRequest::Replace(key, new) => Reply::of(&replace(&mut map, key, new)),
            DictRequest::Contains(key) => Reply::of(&map.contains_key(&key)),
            DictRequest::Len => Reply::of(&map.len()),
            DictRequest::Keys => Reply::of(&map.keys().collect::<Vec<_>>()),
            DictRequest::Values => Reply::of(&map.values().collect::<Vec<_>>()),
            DictRequest::Items => Reply::of(&map.iter().collect::<Vec<_>>()),
            DictRequest::Clear => Reply::of(&map.clear()),
            DictRequest::CompareAndSwap { key, expected, new } => {
                let is_expected = map.get(&key) == expected.as_ref();
                if is_expected {
                    replace(&mut map, key, new);
                }
                Reply::of(&is_expected)
            }
        }
    }
}

fn replace(map: &mut BTreeMap<Bytes, Bytes>, key: Bytes, new: Option<Bytes>) -> Option<Bytes> {
    match new {
        Some(new) => map.insert(key, new),
        None => map.remove(&key),
    }
}

// ---- the proxy

proxy! {
    /// A dictionary in a manager.
    ///
    /// A value that [`get`](Dict::get) returns is a copy. To change it, insert it again, or use
    /// [`update`](Dict::update), which loses no change of others. Keys are compared by their encodings, so equal keys
    /// must have the same encoding. For a key that contains a `HashMap` that is not so.
    ///
    /// Source: Python's `Manager().dict()`.
    Dict<K, V>
}

impl<K, V> Dict<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    /// Returns the value of `key`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn get(&self, key: &K) -> Result<Option<V>, ManagerError> {
        self.remote.call_for_value(&DictRequest::Get(Bytes::of(key)?))
    }

    /// Sets the value of `key`, and returns the previous one.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn insert(&self, key: &K, value: &V) -> Result<Option<V>, ManagerError> {
        self.remote.call_for_value(&DictRequest::Replace(Bytes::of(key)?, Some(Bytes::of(value)?)))
    }

    /// Removes `key`, and returns its value.
    ///
    /// # Errors
    /// [`ManagerError`].
    #[doc(alias = "pop")]
    pub fn remove(&self, key: &K) -> Result<Option<V>, ManagerError> {
        self.remote.call_for_value(&DictRequest::Replace(Bytes::of(key)?, None))
    }

    /// Returns whether `key` has a value.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn contains_key(&self, key: &K) -> Result<bool, ManagerError> {
        self.remote.call(&DictRequest::Contains(Bytes::of(key)?))
    }

    /// Returns the number of keys.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn len(&self) -> Result<usize, ManagerError> {
        self.remote.call(&DictRequest::Len)
    }

    /// Returns whether the dictionary has no keys.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_empty(&self) -> Result<bool, ManagerError> {
        Ok(self.len()? == 0)
    }

    /// Returns all keys at one moment, in the order of their encodings.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn keys(&self) -> Result<Vec<K>, ManagerError> {
        self.remote.call_for_values(&DictRequest::Keys)
    }

    /// Returns all values at one moment, in the order of [`keys`](Dict::keys).
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn values(&self) -> Result<Vec<V>, ManagerError> {
        self.remote.call_for_values(&DictRequest::Values)
    }

    /// Returns all keys with their values at one moment, in the order of [`keys`](Dict::keys).
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn items(&self) -> Result<Vec<(K, V)>, ManagerError> {
        let items: Vec<(Bytes, Bytes)> = self.remote.call(&DictRequest::Items)?;
        items.iter().map(|(key, value)| Ok((key.decode()?, value.decode()?))).collect()
    }

    /// Removes all keys.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn clear(&self) -> Result<(), ManagerError> {
        self.remote.call(&DictRequest::Clear)
    }

    /// Replaces the value of `key` by what `f` returns for it, and returns the new value. `None` means no value, both as
    /// the argument and as the result of `f`.
    ///
    /// `f` runs in this process, not in the server. If another client has changed the value meanwhile, `f` runs again
    /// with the changed value.
    ///
    /// ```no_run
    /// # fn count(words: &greenline_process::manager::Dict<String, u32>) {
    /// words.update(&"and".into(), |count| Some(count.unwrap_or(0) + 1)).unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn update(&self, key: &K, f: impl FnMut(Option<V>) -> Option<V>) -> Result<Option<V>, ManagerError> {
        update(&self.remote, &Bytes::of(key)?, f)
    }
}

/// Replaces the value of `key` by what `f` returns for it: repeats until no other client changed it meanwhile.
fn update<V: Serialize + DeserializeOwned>(
    remote: &Remote,
    key: &Bytes,
    mut f: impl FnMut(Option<V>) -> Option<V>,
) -> Result<Option<V>, ManagerError> {
    loop {
        let expected: Option<Bytes> = remote.call(&DictRequest::Get(key.clone()))?;
        let value = f(expected.as_ref().map(Bytes::decode).transpose()?);
        let new = value.as_ref().map(Bytes::of).transpose()?;
        if remote.call(&DictRequest::CompareAndSwap { key: key.clone(), expected, new })? {
            return Ok(value);
        }
    }
}

// ---- the proxy of a single value

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
        present(self.remote.call_for_value(&DictRequest::Get(VALUE_KEY))?)
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn set(&self, value: &T) -> Result<(), ManagerError> {
        self.remote.call::<Option<Bytes>>(&DictRequest::Replace(VALUE_KEY, Some(Bytes::of(value)?))).map(drop)
    }

    /// Replaces the value, and returns the previous one.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn replace(&self, value: &T) -> Result<T, ManagerError> {
        present(self.remote.call_for_value(&DictRequest::Replace(VALUE_KEY, Some(Bytes::of(value)?)))?)
    }

    /// Replaces the value by what `f` returns for it, and returns the new value.
    ///
    /// `f` runs in this process, not in the server. If another client has changed the value meanwhile, `f` runs again
    /// with the changed value.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn update(&self, mut f: impl FnMut(T) -> T) -> Result<T, ManagerError> {
        present(update(&self.remote, &VALUE_KEY, |value| value.map(&mut f))?)
    }
}

/// Nothing removes the value. A server that returns none is broken.
fn present<T>(value: Option<T>) -> Result<T, ManagerError> {
    value.ok_or_else(|| ManagerError::codec("the manager returned no value"))
}
