//! What can go wrong between a proxy and its manager.

use super::wire::{Fault, Kind};
use std::{fmt, io};

/// Why a call of a manager's object has failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ManagerError {
    /// The manager was shut down, or its server has died, or it cannot be reached any more. A call that was under way
    /// may have been done or not.
    Gone {
        /// Which one: its name and its address.
        manager: String,
        /// What was noticed.
        cause: String,
    },
    /// The two ends have not come to trust each other: the keys differ, or who answers is not a manager.
    Refused {
        /// Which one.
        manager: String,
        /// What was wrong.
        cause: String,
    },
    /// The object was discarded.
    NoSuchObject {
        /// Of which manager.
        manager: String,
    },
    /// Nothing was published by that name; or, when publishing, something was already.
    Name {
        /// Of which manager.
        manager: String,
        /// What was wrong.
        cause: String,
    },
    /// What goes by that name is another kind of object.
    WrongKind {
        /// What it is.
        is: String,
        /// What was asked for.
        wanted: String,
    },
    /// A value could not be encoded; or what came is no value of the type it was to be.
    Codec(String),
    /// A value, or an answer, is larger than what a connection carries, in bytes.
    TooLarge {
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The system refuses something that is needed: a descriptor, say.
    Io(io::Error),
}

impl ManagerError {
    pub(super) fn codec<T: ?Sized>(cause: &dyn fmt::Display) -> ManagerError {
        ManagerError::Codec(format!("{}: {cause}", std::any::type_name::<T>()))
    }

    /// What the server has answered in the place of an answer.
    pub(super) fn from_fault(fault: Fault, manager: String) -> ManagerError {
        let name = |cause: &str| ManagerError::Name { manager: manager.clone(), cause: cause.into() };
        match fault {
            Fault::NoSuchObject => ManagerError::NoSuchObject { manager },
            Fault::NoSuchName => name("nothing was published by that name"),
            Fault::NameTaken => name("another object was published by that name"),
            Fault::WrongKind { is, wanted } => ManagerError::wrong_kind(is, wanted),
            Fault::BadCall(cause) => {
                ManagerError::Codec(format!("{manager} does not understand a call: {cause}"))
            }
            Fault::TooLarge(size) => ManagerError::TooLarge { size, limit: super::wire::LARGEST as u64 },
        }
    }

    pub(super) fn wrong_kind(is: Kind, wanted: Kind) -> ManagerError {
        ManagerError::WrongKind { is: format!("{is:?}"), wanted: format!("{wanted:?}") }
    }
}

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManagerError::Gone { manager, cause } => write!(f, "{manager} is gone: {cause}"),
            ManagerError::Refused { manager, cause } => write!(f, "{manager}: refused: {cause}"),
            ManagerError::NoSuchObject { manager } => write!(f, "{manager} has discarded that object"),
            ManagerError::Name { manager, cause } => write!(f, "{manager}: {cause}"),
            ManagerError::WrongKind { is, wanted } => write!(f, "a {wanted} was asked for, and it is a {is}"),
            ManagerError::Codec(cause) => write!(f, "a value could not be encoded or decoded: {cause}"),
            ManagerError::TooLarge { size, limit } => {
                write!(f, "{size} bytes are too many for one message: the limit is {limit}")
            }
            ManagerError::Io(error) => write!(f, "a manager cannot be reached: {error}"),
        }
    }
}

impl std::error::Error for ManagerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ManagerError::Io(error) => Some(error),
            _ => None,
        }
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
