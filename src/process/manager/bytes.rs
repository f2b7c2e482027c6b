//! A value of the user's, encoded by serde and postcard. The server stores, compares and returns the bytes, and never
//! decodes them.
//!
//! Next: `process/manager/protocol.rs`, the messages that carry them.

use super::error::ManagerError;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// An encoded value. In contrast to a `Vec<u8>`, serde copies it as a whole and not byte by byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    /// Encodes `value`.
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, ManagerError> {
        postcard::to_allocvec(value).map(Bytes).map_err(ManagerError::codec::<T>)
    }

    /// Decodes the value. If bytes are left over, they were encoded from another type, which is an error.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, ManagerError> {
        match postcard::take_from_bytes(&self.0).map_err(ManagerError::codec::<T>)? {
            (value, []) => Ok(value),
            (_, rest) => Err(ManagerError::codec::<T>(format_args!("{} bytes are left over", rest.len()))),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct CopyBytes;
        impl Visitor<'_> for CopyBytes {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(CopyBytes)
    }
}
