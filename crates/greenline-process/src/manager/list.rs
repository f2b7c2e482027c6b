//! A list in a manager.
//!
//! Next: `manager/proxy.rs`, what all proxies are made of.

use super::object::{Object, Reply, Session, decode};
use super::proxy::{Bytes, ManagerError, Remote, proxy};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::rc::Rc;

#[derive(Serialize, Deserialize)]
enum ListRequest {
    /// Appends the values.
    Extend(Vec<Bytes>),
    Pop,
    Get(usize),
    /// Returns the previous value, or `None` if the index is out of bounds.
    Set(usize, Bytes),
    /// Inserts before that index. Returns `false` if the list is shorter.
    Insert(usize, Bytes),
    Remove(usize),
    Len,
    Snapshot,
    Clear,
}

// ---- in the server

#[derive(Default)]
pub(super) struct ListObject(RefCell<Vec<Bytes>>);

impl Object for ListObject {
    fn call(self: Rc<Self>, request: &[u8], _: &Session) -> Result<Reply, ManagerError> {
        let mut list = self.0.borrow_mut();
        let len = list.len();
        match decode(request)? {
            ListRequest::Extend(values) => Reply::of(&list.extend(values)),
            ListRequest::Pop => Reply::of(&list.pop()),
            ListRequest::Get(index) => Reply::of(&list.get(index)),
            ListRequest::Set(index, value) => {
                Reply::of(&list.get_mut(index).map(|old| std::mem::replace(old, value)))
            }
            ListRequest::Insert(index, value) => {
                Reply::of(&(index <= len).then(|| list.insert(index, value)).is_some())
            }
            ListRequest::Remove(index) => Reply::of(&(index < len).then(|| list.remove(index))),
            ListRequest::Len => Reply::of(&len),
            ListRequest::Snapshot => Reply::of(&*list),
            ListRequest::Clear => Reply::of(&list.clear()),
        }
    }
}

// ---- the proxy

proxy! {
    /// A list in a manager.
    ///
    /// A value that [`get`](List::get) returns is a copy. To change it, [`set`](List::set) it. If several green threads
    /// do so, they need a [`Lock`](super::Lock).
    ///
    /// Source: Python's `Manager().list()`.
    List<T>
}

impl<T: Serialize + DeserializeOwned> List<T> {
    /// Appends `value`.
    ///
    /// # Errors
    /// [`ManagerError`].
    #[doc(alias = "append")]
    pub fn push(&self, value: &T) -> Result<(), ManagerError> {
        self.extend([value])
    }

    /// Appends `values`, with no value of another client in between.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn extend<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<(), ManagerError>
    where
        T: 'a,
    {
        let values: Result<_, ManagerError> = values.into_iter().map(Bytes::of).collect();
        self.remote.call(&ListRequest::Extend(values?))
    }

    /// Removes and returns the last value. Returns `None` if the list is empty.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn pop(&self) -> Result<Option<T>, ManagerError> {
        self.remote.call_for_value(&ListRequest::Pop)
    }

    /// Returns a copy of the value at `index`, or `None` if the list is shorter.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn get(&self, index: usize) -> Result<Option<T>, ManagerError> {
        self.remote.call_for_value(&ListRequest::Get(index))
    }

    /// Replaces the value at `index`, and returns the previous one. If the list is shorter, returns `None` and changes
    /// nothing.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn set(&self, index: usize, value: &T) -> Result<Option<T>, ManagerError> {
        self.remote.call_for_value(&ListRequest::Set(index, Bytes::of(value)?))
    }

    /// Inserts `value` before the one at `index`, or at the end. If the list is shorter, returns `false` and changes
    /// nothing.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn insert(&self, index: usize, value: &T) -> Result<bool, ManagerError> {
        self.remote.call(&ListRequest::Insert(index, Bytes::of(value)?))
    }

    /// Removes and returns the value at `index`. Returns `None` if the list is shorter.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn remove(&self, index: usize) -> Result<Option<T>, ManagerError> {
        self.remote.call_for_value(&ListRequest::Remove(index))
    }

    /// Returns the number of values.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn len(&self) -> Result<usize, ManagerError> {
        self.remote.call(&ListRequest::Len)
    }

    /// Returns whether the list is empty.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn is_empty(&self) -> Result<bool, ManagerError> {
        Ok(self.len()? == 0)
    }

    /// Returns a copy of all values at one moment.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn snapshot(&self) -> Result<Vec<T>, ManagerError> {
        self.remote.call_for_values(&ListRequest::Snapshot)
    }

    /// Removes all values.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn clear(&self) -> Result<(), ManagerError> {
        self.remote.call(&ListRequest::Clear)
    }
}
