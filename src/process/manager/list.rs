//! A list.

use super::error::ManagerError;
use super::proxy::{Remote, proxy};
use super::session::{Answer, Session, Stop};
use super::store::Object;
use super::wire::{self, Bytes, Kind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    /// At the end.
    Extend(Vec<Bytes>),
    Pop,
    Get(u64),
    /// Gives what was there before; nothing, if there is no such place.
    Set(u64, Bytes),
    /// Before that place, or at the end. Gives whether there is such a place.
    Insert(u64, Bytes),
    Remove(u64),
    Len,
    Snapshot,
    Clear,
}

// ---- in the server

#[derive(Default)]
pub(super) struct Server(RefCell<Vec<Bytes>>);

/// No list is so long that it does not fit into the address space.
fn place(index: u64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl Object for Server {
    fn kind(&self) -> Kind {
        Kind::List
    }

    fn call(&self, call: &[u8], _: &Session) -> Result<Answer, Stop> {
        let mut list = self.0.borrow_mut();
        Ok(match wire::call(call)? {
            Call::Extend(values) => Answer::of(&list.extend(values)),
            Call::Pop => Answer::of(&list.pop()),
            Call::Get(index) => Answer::of(&list.get(place(index))),
            Call::Set(index, value) => {
                Answer::of(&list.get_mut(place(index)).map(|old| std::mem::replace(old, value)))
            }
            Call::Insert(index, value) => {
                let exists = place(index) <= list.len();
                if exists {
                    list.insert(place(index), value);
                }
                Answer::of(&exists)
            }
            Call::Remove(index) => {
                Answer::of(&(place(index) < list.len()).then(|| list.remove(place(index))))
            }
            Call::Len => Answer::of(&(list.len() as u64)),
            Call::Snapshot => Answer::of(&*list),
            Call::Clear => Answer::of(&list.clear()),
        })
    }
}

// ---- the proxy

proxy! {
    /// A list that a manager holds.
    ///
    /// A value that was got is a copy: to change it, [`set`](List::set) it. Where several do so, agree on a
    /// [`Lock`](super::Lock).
    ///
    /// Source: Python's `Manager().list()`.
    List<T>, Kind::List
}

impl<T: Serialize + DeserializeOwned> List<T> {
    /// Adds `value` at the end.
    ///
    /// # Errors
    /// [`ManagerError`].
    #[doc(alias = "append")]
    pub fn push(&self, value: &T) -> Result<(), ManagerError> {
        self.remote.call(&Call::Extend(vec![Bytes::of(value)?]))
    }

    /// Adds `values` at the end, with nothing of anybody else's in between.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn extend<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<(), ManagerError>
    where
        T: 'a,
    {
        let values: Result<Vec<Bytes>, ManagerError> = values.into_iter().map(Bytes::of).collect();
        self.remote.call(&Call::Extend(values?))
    }

    /// Takes the last value. `None`: there is none.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn pop(&self) -> Result<Option<T>, ManagerError> {
        self.one(&Call::Pop)
    }

    /// A copy of the value at `index`. `None`: there is none.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn get(&self, index: usize) -> Result<Option<T>, ManagerError> {
        self.one(&Call::Get(index as u64))
    }

    /// Has `value` at `index`, and answers the one before. `None`: there was none, and nothing was done.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn set(&self, index: usize, value: &T) -> Result<Option<T>, ManagerError> {
        self.one(&Call::Set(index as u64, Bytes::of(value)?))
    }

    /// Puts `value` before the one at `index`, or at the end. `false`: the list is shorter, and nothing was done.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn insert(&self, index: usize, value: &T) -> Result<bool, ManagerError> {
        self.remote.call(&Call::Insert(index as u64, Bytes::of(value)?))
    }

    /// Takes out the value at `index`. `None`: there is none.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn remove(&self, index: usize) -> Result<Option<T>, ManagerError> {
        self.one(&Call::Remove(index as u64))
    }

    fn one(&self, call: &Call) -> Result<Option<T>, ManagerError> {
        let value: Option<Bytes> = self.remote.call(call)?;
        value.map(|value| value.decode()).transpose()
    }

    /// How many values there are.
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

    /// A copy of all, as of one moment.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn snapshot(&self) -> Result<Vec<T>, ManagerError> {
        let values: Vec<Bytes> = self.remote.call(&Call::Snapshot)?;
        values.iter().map(Bytes::decode).collect()
    }

    /// Takes all out.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn clear(&self) -> Result<(), ManagerError> {
        self.remote.call(&Call::Clear)
    }
}
