//! The messages between a client and a server: frames of a length and a body, which postcard encodes.
//!
//! Next: `process/manager/session.rs`, the server's end of a connection.
//!
//! ```text
//!   request:          | length, 4 bytes | object number, request in the encoding of the object's file |
//!   reply:            | length, 4 bytes | whether the client has to acknowledge it, Ok(value) or Err(ManagerError) |
//!   acknowledgement:  | 0, 4 bytes      |
//! ```
//!
//! A frame longer than [`MAX_BODY`] is refused before any of it is stored, and memory is allocated only for bytes that
//! have arrived. So a wrong length costs nothing.

use super::bytes::Bytes;
use super::endpoint::Stream;
use super::manager_error::ManagerError;
use serde::{Deserialize, Serialize};
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

impl From<postcard::Error> for ManagerError {
    fn from(error: postcard::Error) -> ManagerError {
        ManagerError::Codec(error.to_string())
    }
}

/// Encodes `message` as the body of a frame.
pub(super) fn frame(message: &impl Serialize) -> Result<Vec<u8>, ManagerError> {
    let mut frame = postcard::to_extend(message, vec![0; LENGTH])?;
    let length = frame.len() - LENGTH;
    if length > MAX_BODY {
        return Err(ManagerError::TooLarge { size: length as u64, limit: MAX_BODY as u64 });
    }
    frame[..LENGTH].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Decodes a body, or the part of a request after the object number.
pub(super) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ManagerError> {
    Ok(postcard::from_bytes(body)?)
}

/// Splits the body of a request into the object number and the rest.
pub(super) fn split_request(body: &[u8]) -> Result<(u64, &[u8]), ManagerError> {
    Ok(postcard::take_from_bytes(body)?)
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
