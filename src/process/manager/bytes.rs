//! A value of the user's, encoded by serde and postcard. The server stores, compares and returns the bytes, and never
//! decodes them.
//!
//! Next: `process/manager/protocol.rs`, the messages that carry them.

use super::manager_error::ManagerError;
use crate::process::codec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An encoded value. In contrast to a `Vec<u8>`, serde copies it as a whole and not byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    pub(super) const EMPTY: Bytes = Bytes(Vec::new());

    /// Encodes `value`.
    pub(super) fn of<T: Serialize>(value: &T) -> Result<Bytes, ManagerError> {
        Ok(Bytes(codec::encode(value)?.into_vec()))
    }

    /// Decodes the value. If bytes are left over, they were encoded from another type, which is an error.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, ManagerError> {
        Ok(codec::decode(&self.0)?)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Bytes(bytes.to_vec()))
    }
}
