//! The messages between a client and a server: frames of a length and a body, which postcard encodes.
//!
//! Next: `manager/session.rs`, the server's end of a connection.
//!
//! ```text
//!   request:          | length, 4 bytes | object number, request in the encoding of the object's file |
//!   reply:            | length, 4 bytes | whether the client has to acknowledge it, Ok(value) or Err(ManagerError) |
//!   acknowledgement:  | 0, 4 bytes      |
//! ```
//!
//! A frame longer than [`MAX_BODY`] is refused before any of it is stored, and memory is allocated only for bytes that
//! have arrived. So a wrong length costs nothing.

use super::endpoint::Stream;
use super::manager_error::ManagerError;
use crate::codec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::io::{self, Read, Write};

/// Largest body of a frame in bytes.
const MAX_BODY: usize = 1 << 28;
/// Size of the length before the body in bytes.
const LENGTH: usize = size_of::<u32>();

/// The frame by which a client acknowledges a reply. It has no body, so it is no request.
pub(super) const ACK: [u8; LENGTH] = [0; LENGTH];

/// The number of the registry, the object that creates, finds and discards the others.
pub(super) const REGISTRY: u64 = 0;

/// A request to the registry.
#[derive(Serialize, Deserialize)]
pub(super) enum RegistryRequest {
    /// Makes an object of that kind from its initial value, which only the object's file can decode. Returns its number.
    Create(Kind, Bytes),
    Discard(u64),
    Publish(String, u64),
    /// Returns the number of the object that was published by that name.
    Find(String, Kind),
}

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Queue,
    Event,
    Lock,
    Semaphore,
    Barrier,
    Dict,
    List,
    Value,
}

impl Kind {
    /// Checks whether an object of this kind is what the caller wants.
    pub(super) fn check(self, wanted: Kind) -> Result<(), ManagerError> {
        if self == wanted {
            return Ok(());
        }
        Err(ManagerError::WrongKind { is: format!("{self:?}"), wanted: format!("{wanted:?}") })
    }
}

/// A value of the user's, encoded by serde and postcard. The server stores, compares and returns the bytes, and never
/// decodes them. In contrast to a `Vec<u8>`, serde copies them as a whole and not byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    pub(super) const EMPTY: Bytes = Bytes(Vec::new());

    /// Encodes `value`.
    pub(super) fn of<T: Serialize>(value: &T) -> Result<Bytes, ManagerError> {
        codec::encode(value).map(|bytes| Bytes(bytes.into_vec())).map_err(ManagerError::codec)
    }

    /// Decodes the value. If bytes are left over, they were encoded from another type, which is an error.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, ManagerError> {
        codec::decode(&self.0).map_err(ManagerError::codec)
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

/// Encodes `message` as the body of a frame.
pub(super) fn frame(message: &impl Serialize) -> Result<Vec<u8>, ManagerError> {
    let mut frame = postcard::to_extend(message, vec![0; LENGTH]).map_err(ManagerError::codec)?;
    let length = frame.len() - LENGTH;
    if length > MAX_BODY {
        return Err(ManagerError::TooLarge { size: length as u64, limit: MAX_BODY as u64 });
    }
    frame[..LENGTH].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Decodes a body, or the part of a request after the object number.
pub(super) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ManagerError> {
    postcard::from_bytes(body).map_err(ManagerError::codec)
}

/// Sends a frame.
pub(super) fn send(mut stream: &Stream, frame: &[u8]) -> io::Result<()> {
    stream.write_all(frame)
}

/// Receives a frame and returns its body. Returns `None` if the other end has closed the connection between two frames.
pub(super) fn receive(mut stream: &Stream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; LENGTH];
    match stream.read(&mut length)? {
        0 => return Ok(None),
        got => stream.read_exact(&mut length[got..])?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_BODY {
        let error = format!("a frame of {length} bytes is too long: the limit is {MAX_BODY} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    let mut body = Vec::with_capacity(length.min(1 << 16));
    stream.take(length as u64).read_to_end(&mut body)?;
    if body.len() == length { Ok(Some(body)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
