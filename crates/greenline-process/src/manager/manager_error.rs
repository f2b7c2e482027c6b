//! The error of a call to a manager. The server sends it as the reply, and the client adds the name of the manager.
//!
//! Next: `manager/protocol.rs`, the messages between a client and a server.

use serde::{Deserialize, Serialize};
use std::{fmt, io};

/// The reason for which a call to an object of a manager failed.
#[derive(Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ManagerError {
    /// The manager was shut down, its server process died, or it cannot be reached any more. If a call was under way,
    /// the manager may or may not have executed it.
    Gone {
        /// The name and the address of the manager.
        manager: String,
        /// The event by which the caller noticed.
        cause: String,
    },
    /// The two ends did not authenticate each other: the keys differ, or the other end is not a manager.
    Refused {
        /// The name and the address of the manager.
        manager: String,
        /// The check that failed.
        cause: String,
    },
    /// The object was discarded.
    NoSuchObject {
        /// The manager that held the object.
        manager: String,
    },
    /// For a lookup: no object is published by that name. For a publication: another object has that name.
    Name {
        /// The manager that was asked.
        manager: String,
        /// The reason.
        cause: String,
    },
    /// The object with that name is of another kind.
    WrongKind {
        /// The kind of the object.
        is: String,
        /// The kind that the caller asked for.
        wanted: String,
    },
    /// A value could not be encoded, or the received bytes are not a value of the expected type.
    Codec(String),
    /// A request or a reply is larger than a connection carries.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The largest allowed size in bytes.
        limit: u64,
    },
    /// The operating system refused something that the call needs, for example a descriptor. No server sends it.
    #[serde(skip)]
    Io(io::Error),
}

impl ManagerError {
    /// Returns the error for a value that could not be encoded or decoded, for this reason.
    pub(super) fn codec(cause: impl fmt::Display) -> ManagerError {
        ManagerError::Codec(cause.to_string())
    }

    /// Adds the name and the address of the manager, which a server leaves empty.
    pub(super) fn with_manager(mut self, name: &impl fmt::Display) -> ManagerError {
        match &mut self {
            ManagerError::NoSuchObject { manager } | ManagerError::Name { manager, .. } => {
                *manager = name.to_string();
            }
            ManagerError::Codec(cause) => *cause = format!("a message of {name}: {cause}"),
            _ => {}
        }
        self
    }
}

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManagerError::Gone { manager, cause } => write!(f, "{manager} is gone: {cause}"),
            ManagerError::Refused { manager, cause } => write!(f, "{manager}: refused: {cause}"),
            ManagerError::NoSuchObject { manager } => write!(f, "{manager} has discarded that object"),
            ManagerError::Name { manager, cause } => write!(f, "{manager}: {cause}"),
            ManagerError::WrongKind { is, wanted } => {
                write!(f, "the caller asked for a {wanted}, but the object is a {is}")
            }
            ManagerError::Codec(cause) => write!(f, "a value could not be encoded or decoded: {cause}"),
            ManagerError::TooLarge { size, limit } => {
                write!(f, "a message of {size} bytes is too large: the limit is {limit} bytes")
            }
            ManagerError::Io(error) => write!(f, "the manager cannot be reached: {error}"),
        }
    }
}

impl std::error::Error for ManagerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let ManagerError::Io(error) = self else { return None };
        Some(error)
    }
}

impl From<ManagerError> for io::Error {
    fn from(error: ManagerError) -> io::Error {
        let kind = match &error {
            ManagerError::Gone { .. } => io::ErrorKind::BrokenPipe,
            ManagerError::Refused { .. } => io::ErrorKind::PermissionDenied,
            ManagerError::NoSuchObject { .. } | ManagerError::Name { .. } => io::ErrorKind::NotFound,
            ManagerError::Io(error) => error.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
