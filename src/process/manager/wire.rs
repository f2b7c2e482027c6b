//! What goes over a connection: frames of a length and so many bytes, in which values are encoded by postcard.
//!
//! A request is the number of an object and a call of it; the answer is what the call gives, or a [`Fault`]. A value of
//! the user's is bytes to the server, which never decodes one.
//!
//! ```text
//!   request:  | length, 4 bytes | object | call, as the object's file has it |
//!   answer:   | length, 4 bytes | Ok(what the call gives) or Err(Fault)      |
//! ```
//!
//! Called by `client.rs` at one end and by `session.rs` at the other. A frame longer than [`LARGEST`] is refused before
//! any of it is kept, and room is made only for what has come, so a wrong length costs nothing.

use super::error::ManagerError;
use super::stream::Stream;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io::{self, Read, Write};

/// How long a frame may be.
pub(super) const LARGEST: usize = 1 << 28;

const LENGTH: usize = size_of::<u32>();

/// What a call cannot be answered for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Fault {
    NoSuchObject,
    NoSuchName,
    NameTaken,
    WrongKind {
        is: Kind,
        wanted: Kind,
    },
    /// It could not be decoded, or must not be made now.
    BadCall(String),
    TooLarge(u64),
}

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Registry,
    Queue,
    Event,
    Lock,
    Semaphore,
    Barrier,
    Dict,
    List,
    Value,
}

/// A value of the user's, encoded. As `Vec<u8>`, but written and read at once and not byte by byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct AnyBytes;
        impl Visitor<'_> for AnyBytes {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(AnyBytes)
    }
}

impl Bytes {
    /// A value of the user's.
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, ManagerError> {
        postcard::to_allocvec(value).map(Bytes).map_err(|error| ManagerError::codec::<T>(&error))
    }

    /// The value back. Bytes that are left over mean that it was another type's.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, ManagerError> {
        match postcard::take_from_bytes(&self.0) {
            Ok((value, [])) => Ok(value),
            Ok((_, left)) => {
                Err(ManagerError::codec::<T>(&format_args!("{} bytes are left over", left.len())))
            }
            Err(error) => Err(ManagerError::codec::<T>(&error)),
        }
    }
}

/// `value`, with room for the length before it.
fn frame(value: &impl Serialize) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(value, vec![0; LENGTH])
}

/// A request, to be sent.
pub(super) fn request(object: u64, call: &impl Serialize) -> Result<Vec<u8>, ManagerError> {
    let frame = frame(&(object, call)).map_err(|error| ManagerError::codec::<u64>(&error))?;
    match frame.len() - LENGTH {
        size if size > LARGEST => Err(ManagerError::TooLarge { size: size as u64, limit: LARGEST as u64 }),
        _ => Ok(frame),
    }
}

/// An answer, to be sent.
pub(super) fn answer(answer: &Result<impl Serialize, Fault>) -> Vec<u8> {
    let or_why = |fault: Fault| {
        let nothing: Result<(), Fault> = Err(fault);
        frame(&nothing).expect("a fault can be encoded")
    };
    match frame(answer) {
        Ok(frame) if frame.len() - LENGTH > LARGEST => or_why(Fault::TooLarge((frame.len() - LENGTH) as u64)),
        Ok(frame) => frame,
        Err(error) => or_why(Fault::BadCall(error.to_string())),
    }
}

/// The number of the object, and the call of it.
pub(super) fn open(request: &[u8]) -> Result<(u64, &[u8]), Fault> {
    postcard::take_from_bytes(request).map_err(bad_call)
}

/// A call, as the object has it.
pub(super) fn call<'a, C: Deserialize<'a>>(call: &'a [u8]) -> Result<C, Fault> {
    postcard::from_bytes(call).map_err(bad_call)
}

fn bad_call(error: postcard::Error) -> Fault {
    Fault::BadCall(error.to_string())
}

/// What confirms an answer: a frame of nothing, which no request is.
pub(super) fn confirmation() -> Vec<u8> {
    vec![0; LENGTH]
}

/// Sends a frame, which `request` or `answer` has made.
pub(super) fn send(mut stream: &Stream, mut frame: Vec<u8>) -> io::Result<()> {
    let length = u32::try_from(frame.len() - LENGTH).expect("a frame is no longer than the limit");
    frame[..LENGTH].copy_from_slice(&length.to_le_bytes());
    stream.write_all(&frame)
}

/// Receives what a frame holds. `None`: the other end has closed the connection, between two frames.
pub(super) fn receive(stream: &Stream) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = receive_length(stream)? else { return Ok(None) };
    if length > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes is too long"),
        ));
    }
    let mut frame = Vec::with_capacity(length.min(1 << 16));
    stream.take(length as u64).read_to_end(&mut frame)?;
    match frame.len() == length {
        true => Ok(Some(frame)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn receive_length(mut stream: &Stream) -> io::Result<Option<usize>> {
    let mut length = [0; LENGTH];
    if stream.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..])?;
    Ok(Some(u32::from_le_bytes(length) as usize))
}
