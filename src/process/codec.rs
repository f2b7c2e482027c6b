//! From values to bytes and back: by postcard, a compact format without names and without types, so both sides have to
//! mean the same type. They do: they are the same program.

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;

/// A value could not be made into bytes, or bytes not into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError {
    text: String,
}

impl CodecError {
    fn new(what: &str, type_name: &str, error: impl fmt::Display) -> CodecError {
        CodecError { text: format!("{what} {type_name}: {error}") }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CodecError {}

/// How many bytes need no allocation.
const SMALL: usize = 256;

/// Bytes: few of them in place, many in a vector.
pub(super) struct Bytes {
    small: [u8; SMALL],
    /// Of `small`; not used once `large` is.
    length: usize,
    large: Vec<u8>,
}

impl Bytes {
    #[inline]
    pub(super) fn new() -> Bytes {
        Bytes { small: [0; SMALL], length: 0, large: Vec::new() }
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        if self.large.is_empty() { &self.small[..self.length] } else { &self.large }
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        if self.large.is_empty() { self.small[..self.length].to_vec() } else { self.large }
    }

    /// Makes it `length` bytes long, with anything in them; `None`: that would take an allocation.
    #[inline]
    pub(super) fn resize_in_place(&mut self, length: usize) -> Option<&mut [u8]> {
        if length <= SMALL {
            self.large.clear();
            self.length = length;
            return Some(&mut self.small[..length]);
        }
        (self.large.len() == length).then_some(&mut self.large)
    }

    /// Has `resize_in_place` work for that length.
    pub(super) fn reserve(&mut self, length: usize) {
        if length > SMALL {
            self.large = vec![0; length];
        }
    }
}

impl Flavor for Bytes {
    type Output = Bytes;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let end = self.length + bytes.len();
        if self.large.is_empty() && end <= SMALL {
            self.small[self.length..end].copy_from_slice(bytes);
            self.length = end;
        } else {
            if self.large.is_empty() {
                self.large.extend_from_slice(&self.small[..self.length]);
            }
            self.large.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Bytes> {
        Ok(self)
    }
}

/// Errors: its `Serialize` fails, or is of a kind that this format does not have.
#[inline]
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes, CodecError> {
    postcard::serialize_with_flavor(value, Bytes::new())
        .map_err(|error| CodecError::new("cannot encode a value of type", std::any::type_name::<T>(), error))
}

/// Errors: that is not what a value of this type was made into.
#[inline]
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let failed = |error: &dyn fmt::Display| {
        CodecError::new("cannot decode a value of type", std::any::type_name::<T>(), error)
    };
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(failed(&format_args!("{} bytes too many", rest.len()))),
        Err(error) => Err(failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_of_any_length() {
        for length in [0, 1, SMALL - 3, SMALL - 2, SMALL - 1, SMALL, SMALL + 1, 100_000] {
            let text = "x".repeat(length);
            let bytes = encode(&(length, &text)).unwrap();
            assert_eq!(decode::<(usize, String)>(bytes.as_slice()), Ok((length, text)));
        }
    }

    #[test]
    fn what_does_not_fit_the_type_is_an_error_that_names_it() {
        let bytes = encode(&(1u8, 2u8)).unwrap();
        let error = decode::<u8>(bytes.as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "cannot decode a value of type u8: 1 bytes too many");
        assert!(decode::<(u8, u8, u8)>(bytes.as_slice()).is_err());
    }
}
