//! How a green thread ended: inside the crate, and in the public error.
//!
//! Next: `green/interrupt.rs`.

use super::interrupt::{Interrupt, carried_by};
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The result of a body.
pub(crate) type Outcome = Result<Box<dyn Any>, JoinError>;

/// Calls `f`. Returns its panic, or the kill that ended it, as an error.
#[inline]
pub fn catch_body<T>(f: impl FnOnce() -> T) -> Result<T, JoinError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| match carried_by(&*payload) {
        Some(Interrupt::Kill | Interrupt::Exit) => JoinError::Killed,
        _ => JoinError::Panicked(payload),
    })
}

/// Why a green thread has returned no value.
#[non_exhaustive]
pub enum JoinError {
    /// The green thread panicked, with this payload.
    Panicked(Box<dyn Any + Send + 'static>),
    /// The green thread was killed, by [`JoinHandle::kill`](crate::JoinHandle::kill) or [`shutdown`](crate::shutdown).
    Killed,
    /// No memory, address space or mapping was left for its stack. The green thread never ran.
    NoStack(std::io::Error),
    /// The green thread was to run on the hub of an OS thread that has ended.
    HubGone,
}

impl JoinError {
    /// Returns the payload of the panic, if it was one, for [`std::panic::resume_unwind`].
    pub fn into_panic(self) -> Option<Box<dyn Any + Send + 'static>> {
        match self {
            JoinError::Panicked(payload) => Some(payload),
            _ => None,
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(payload) => {
                write!(f, "the green thread panicked: {}", panic_message(&**payload))
            }
            JoinError::Killed => f.write_str("the green thread was killed"),
            JoinError::NoStack(error) => write!(f, "the green thread never ran: {error}"),
            JoinError::HubGone => f.write_str("the green thread's hub is gone: its OS thread has ended"),
        }
    }
}

/// Returns the text of a panic, or what std prints if the payload is no text.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("Box<dyn Any>")
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(_) => write!(f, "Panicked({self})"),
            JoinError::Killed => f.write_str("Killed"),
            JoinError::NoStack(error) => f.debug_tuple("NoStack").field(error).finish(),
            JoinError::HubGone => f.write_str("HubGone"),
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            JoinError::NoStack(error) => Some(error),
            _ => None,
        }
    }
}
