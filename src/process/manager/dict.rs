//! A dictionary. The server compares keys by their encoding, and knows no more of them.

use super::error::ManagerError;
use super::proxy::{Remote, proxy};
use super::session::{Answer, Session, Stop};
use super::store::Object;
use super::wire::{self, Bytes, Kind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Get(Bytes),
    /// Gives what was there before.
    Insert(Bytes, Bytes),
    Remove(Bytes),
    Contains(Bytes),
    Len,
    Keys,
    Values,
    Items,
    Clear,
    /// Puts `new` where `expected` is, either of which may be nothing. Gives whether it was.
    Exchange {
        key: Bytes,
        expected: Option<Bytes>,
        new: Option<Bytes>,
    },
}

// ---- in the server

#[derive(Default)]
pub(super) struct Server(RefCell<BTreeMap<Bytes, Bytes>>);

impl Object for Server {
    fn kind(&self) -> Kind {
        Kind::Dict
    }

    fn call(&self, call: &[u8], _: &Session) -> Result<Answer, Stop> {
        let mut map = self.0.borrow_mut();
        Ok(match wire::call(call)? {
            Call::Get(key) => Answer::of(&map.get(&key)),
            Call::Insert(key, value) => Answer::of(&map.insert(key, value)),
            Call::Remove(key) => Answer::of(&map.remove(&key)),
            Call::Contains(key) => Answer::of(&map.contains_key(&key)),
            Call::Len => Answer::of(&(map.len() as u64)),
            Call::Keys => Answer::of(&map.keys().collect::<Vec<_>>()),
            Call::Values => Answer::of(&map.values().collect::<Vec<_>>()),
            Call::Items => Answer::of(&map.iter().collect::<Vec<_>>()),
            Call::Clear => Answer::of(&map.clear()),
            Call::Exchange { key, expected, new } => {
                let is_expected = map.get(&key) == expected.as_ref();
                match new {
                    Some(new) if is_expected => drop(map.insert(key, new)),
                    None if is_expected => drop(map.remove(&key)),
                    _ => {}
                }
                Answer::of(&is_expected)
            }
        })
    }
}

// ---- the proxy

proxy! {
    /// A dictionary that a manager holds.
    ///
    /// A value that was got is a copy: to change it, insert it again, or use [`update`](Dict::update), which sees to it
    /// that nobody came in between. Keys are told apart by how they are encoded, so a key must be encoded in one way
    /// only: a `HashMap` in it is not.
    ///
    /// Source: Python's `Manager().dict()`.
    Dict<K, V>, Kind::Dict
}

impl<K, V> Dict<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    /// The value of `key`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn get(&self, key: &K) -> Result<Option<V>, ManagerError> {
        let value: Option<Bytes> = self.remote.call(&Call::Get(Bytes::of(key)?))?;
        value.map(|value| value.decode()).transpose()
    }

    /// Sets the value of `key`. Answers the one before.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn insert(&self, key: &K, value: &V) -> Result<Option<V>, ManagerError> {
        let before: Option<Bytes> = self.remote.call(&Call::Insert(Bytes::of(key)?, Bytes::of(value)?))?;
        before.map(|value| value.decode()).transpose()
    }

    /// Takes `key` out. Answers its value.
    ///
    /// # Errors
    /// [`ManagerError`].
    #[doc(alias = "pop")]
    pub fn remove(&self, key: &K) -> Result<Option<V>, ManagerError> {
        let before: Option<Bytes> = self.remote.call(&Call::Remove(Bytes::of(key)?))?;
        before.map(|value| value.decode()).transpose()
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn contains_key(&self, key: &K) -> Result<bool, ManagerError> {
        self.remote.call(&Call::Contains(Bytes::of(key)?))
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn len(&self) -> Result<usize, ManagerError> {
        self.remote.call(&Call::Len).map(|len: u64| len as usize)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_empty(&self) -> Result<bool, ManagerError> {
        Ok(self.len()? == 0)
    }

    /// All keys, as of one moment, in the order of their encodings.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn keys(&self) -> Result<Vec<K>, ManagerError> {
        let keys: Vec<Bytes> = self.remote.call(&Call::Keys)?;
        keys.iter().map(Bytes::decode).collect()
    }

    /// All values, in the order of [`keys`](Dict::keys).
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn values(&self) -> Result<Vec<V>, ManagerError> {
        let values: Vec<Bytes> = self.remote.call(&Call::Values)?;
        values.iter().map(Bytes::decode).collect()
    }

    /// All keys with their values, in the order of [`keys`](Dict::keys).
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn items(&self) -> Result<Vec<(K, V)>, ManagerError> {
        let items: Vec<(Bytes, Bytes)> = self.remote.call(&Call::Items)?;
        items.iter().map(|(key, value)| Ok((key.decode()?, value.decode()?))).collect()
    }

    /// Takes all out.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn clear(&self) -> Result<(), ManagerError> {
        self.remote.call(&Call::Clear)
    }

    /// Has `f` make the new value of `key` from the one it has; nothing stands for none, both ways. Answers the new one.
    ///
    /// `f` runs here, and not in the server. If another has changed the value meanwhile, `f` is called again with that.
    ///
    /// ```no_run
    /// # fn count(words: &greenline::process::manager::Dict<String, u32>) {
    /// words.update(&"and".into(), |count| Some(count.unwrap_or(0) + 1)).unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn update(
        &self,
        key: &K,
        mut f: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Option<V>, ManagerError> {
        let key = Bytes::of(key)?;
        loop {
            let expected: Option<Bytes> = self.remote.call(&Call::Get(key.clone()))?;
            let value = f(expected.as_ref().map(Bytes::decode).transpose()?);
            let new = value.as_ref().map(Bytes::of).transpose()?;
            if self.remote.call(&Call::Exchange { key: key.clone(), expected, new })? {
                return Ok(value);
            }
        }
    }
}
