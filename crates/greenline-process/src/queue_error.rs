//! The errors of queues: why a value was not put, or none was got. The queue of a [manager](super::manager) has the same.
//!
//! Next: `shared/mod.rs`, on which the queue is built.

use super::codec::CodecError;
use std::fmt;

/// Why a value was not put. It has the value. For a queue of a manager, `E` is a
/// [`ManagerError`](super::manager::ManagerError).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutError<T, E = CodecError> {
    /// There is no room.
    Full(T),
    /// There was no room until the timeout.
    TimedOut(T),
    /// The queue is closed.
    Closed(T),
    /// The value cannot be encoded. For a queue of a manager, also: the call to the manager failed.
    Failed {
        /// The value.
        value: T,
        /// The reason.
        error: E,
    },
    /// The value does not fit into the queue even if that is empty.
    TooLarge {
        /// The value.
        value: T,
        /// Size of its encoding in bytes.
        size: usize,
        /// Largest possible size in bytes.
        limit: usize,
    },
}

impl PutError<()> {
    /// Gives the value back to the caller.
    pub(super) fn with<T>(self, value: T) -> PutError<T> {
        match self {
            PutError::Full(()) => PutError::Full(value),
            PutError::TimedOut(()) => PutError::TimedOut(value),
            PutError::Closed(()) => PutError::Closed(value),
            PutError::Failed { error, .. } => PutError::Failed { value, error },
            PutError::TooLarge { size, limit, .. } => PutError::TooLarge { value, size, limit },
        }
    }
}

impl<T, E> PutError<T, E> {
    /// Returns the value.
    pub fn into_inner(self) -> T {
        match self {
            PutError::Full(value) | PutError::TimedOut(value) | PutError::Closed(value) => value,
            PutError::Failed { value, .. } | PutError::TooLarge { value, .. } => value,
        }
    }
}

impl<T, E: fmt::Display> fmt::Display for PutError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PutError::Full(_) => f.write_str("the queue is full"),
            PutError::TimedOut(_) => f.write_str("the queue was full until the timeout"),
            PutError::Closed(_) => f.write_str("the queue is closed"),
            PutError::Failed { error, .. } => error.fmt(f),
            PutError::TooLarge { size, limit, .. } => {
                write!(f, "a message of {size} bytes is too large for a queue that takes up to {limit}")
            }
        }
    }
}

impl<T, E: fmt::Display> fmt::Debug for PutError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PutError({self})")
    }
}

impl<T, E: fmt::Display> std::error::Error for PutError<T, E> {}

/// Why no message was got.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError<E = CodecError> {
    /// There is no message.
    Empty,
    /// No message came until the timeout.
    TimedOut,
    /// There is no message, and none will come, because the queue is closed.
    Closed,
    /// A message was taken and cannot be decoded. It is lost. For a queue of a manager, also: the call to the manager failed.
    Failed(E),
}

impl<E> From<E> for GetError<E> {
    fn from(error: E) -> GetError<E> {
        GetError::Failed(error)
    }
}

impl<E: fmt::Display> fmt::Display for GetError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::Empty => f.write_str("the queue is empty"),
            GetError::TimedOut => f.write_str("the queue was empty until the timeout"),
            GetError::Closed => f.write_str("the queue is closed and empty"),
            GetError::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for GetError<E> {}
