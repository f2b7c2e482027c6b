//! A single value.

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
    Get,
    /// Gives what was there before.
    Replace(Bytes),
    /// Gives whether `expected` was there.
    Exchange {
        expected: Bytes,
        new: Bytes,
    },
}

// ---- in the server

pub(super) struct Server(RefCell<Bytes>);

impl Server {
    pub(super) fn new(initial: Bytes) -> Server {
        Server(RefCell::new(initial))
    }
}

impl Object for Server {
    fn kind(&self) -> Kind {
        Kind::Value
    }

    fn call(&self, call: &[u8], _: &Session) -> Result<Answer, Stop> {
        let mut value = self.0.borrow_mut();
        Ok(match wire::call(call)? {
            Call::Get => Answer::of(&*value),
            Call::Replace(new) => Answer::of(&std::mem::replace(&mut *value, new)),
            Call::Exchange { expected, new } => {
                let is_expected = *value == expected;
                if is_expected {
                    *value = new;
                }
                Answer::of(&is_expected)
            }
        })
    }
}

// ---- the proxy

proxy! {
    /// A value that a manager holds.
    ///
    /// To add one to what [`get`](Value::get) answers and [`set`](Value::set) that loses what others have added in
    /// between; [`update`](Value::update) does not.
    ///
    /// Source: Python's `Manager().Value()`.
    Value<T>, Kind::Value
}

impl<T: Serialize + DeserializeOwned> Value<T> {
    /// A copy of it.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn get(&self) -> Result<T, ManagerError> {
        self.remote.call::<Bytes>(&Call::Get)?.decode()
    }

    /// Has `value` in its place.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn set(&self, value: &T) -> Result<(), ManagerError> {
        self.remote.call::<Bytes>(&Call::Replace(Bytes::of(value)?)).map(drop)
    }

    /// Has `value` in its place. Answers the one before.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn replace(&self, value: &T) -> Result<T, ManagerError> {
        self.remote.call::<Bytes>(&Call::Replace(Bytes::of(value)?))?.decode()
    }

    /// Has `f` make a new value of it, and answers that.
    ///
    /// `f` runs here, and not in the server. If another has changed the value meanwhile, `f` is called again with that.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn update(&self, mut f: impl FnMut(T) -> T) -> Result<T, ManagerError> {
        loop {
            let expected: Bytes = self.remote.call(&Call::Get)?;
            let value = f(expected.decode()?);
            let new = Bytes::of(&value)?;
            if self.remote.call(&Call::Exchange { expected, new })? {
                return Ok(value);
            }
        }
    }
}
