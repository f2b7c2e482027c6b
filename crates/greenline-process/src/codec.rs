//! From values to bytes and back, by postcard. That is a compact format without names and types, so both sides must mean
//! the same type. They do, because they are the same program.
//!
//! Next: `pipe.rs`, messages over a socket.

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};
use smallvec::SmallVec;
use std::fmt;

/// A value cannot be encoded, or bytes cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError {
    text: String,
}

impl CodecError {
    fn new<T>(verb: &str, error: &dyn fmt::Display) -> CodecError {
        let type_name = std::any::type_name::<T>();
        CodecError { text: format!("cannot {verb} a value of type {type_name}: {error}") }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CodecError {}

/// Number of bytes that need no allocation.
const SMALL: usize = 256;

/// An encoded value: few bytes lie in place, many on the heap.
pub(super) type Bytes = SmallVec<[u8; SMALL]>;

/// The buffer to which postcard encodes a value.
struct Encoder<'a>(&'a mut Bytes);

impl Flavor for Encoder<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends the encoded value to `bytes`.
///
/// Errors: the value's `Serialize` fails, or uses something that the format does not have.
#[inline]
pub(super) fn encode_into<T: Serialize>(value: &T, bytes: &mut Bytes) -> Result<(), CodecError> {
    postcard::serialize_with_flavor(value, Encoder(bytes))
        .map_err(|error| CodecError::new::<T>("encode", &error))
}

/// Returns the encoded value. A hot path calls `encode_into` instead, which does not move the bytes.
///
/// Errors: those of `encode_into`.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes, CodecError> {
    let mut bytes = Bytes::new();
    encode_into(value, &mut bytes)?;
    Ok(bytes)
}

/// Errors: the bytes are no encoded value of this type.
#[inline]
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(CodecError::new::<T>("decode", &format_args!("{} bytes too many", rest.len()))),
        Err(error) => Err(CodecError::new::<T>("decode", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_returns_what_encode_was_given_for_any_length() {
        for length in [0, 1, SMALL - 3, SMALL - 2, SMALL - 1, SMALL, SMALL + 1, 100_000] {
            let text = "x".repeat(length);
            let bytes = encode(&(length, &text)).unwrap();
            assert_eq!(decode::<(usize, String)>(bytes.as_slice()), Ok((length, text)));
        }
    }

    #[test]
    fn decode_of_another_type_is_an_error_that_names_the_type() {
        let bytes = encode(&(1u8, 2u8)).unwrap();
        let error = decode::<u8>(bytes.as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "cannot decode a value of type u8: 1 bytes too many");
        assert!(decode::<(u8, u8, u8)>(bytes.as_slice()).is_err());
    }
}
