//! How a worker fails, in words that hold for all three models.

use crate::green::JoinError;
use std::any::Any;
use std::fmt;
use std::io;

/// Why a worker gave no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkerError {
    /// It panicked, and this is what it said. The payload itself stays behind: a process could not send it.
    Panicked(String),
    /// It was killed: green threads can be, by [`shutdown`](crate::shutdown).
    Killed,
    /// Its process ended before it had answered, with this exit code; -N: by signal N.
    Died {
        /// The exit code, or minus the signal.
        exit: i32,
    },
    /// What it answered could not be written down, or not be read again.
    Codec(String),
    /// It could not be run, or not be waited for.
    Io(io::Error),
}

impl From<JoinError> for WorkerError {
    fn from(error: JoinError) -> WorkerError {
        match error {
            JoinError::Panicked(payload) => WorkerError::Panicked(message(payload)),
            JoinError::NoStack(error) => WorkerError::Io(error),
            JoinError::Killed | JoinError::HubGone => WorkerError::Killed,
        }
    }
}

/// What was said when it was thrown.
fn message(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    crate::hub::drop_quietly(payload);
    text.unwrap_or_else(|| "Box<dyn Any>".into())
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerError::Panicked(message) => write!(f, "the worker panicked: {message}"),
            WorkerError::Killed => f.write_str("the worker was killed"),
            WorkerError::Died { exit: exit @ 0.. } => {
                write!(f, "the worker's process ended with exit code {exit} before it had answered")
            }
            WorkerError::Died { exit } => {
                write!(f, "the worker's process was ended by signal {} before it had answered", -exit)
            }
            WorkerError::Codec(reason) => {
                write!(f, "what the worker answered cannot cross to another process: {reason}")
            }
            WorkerError::Io(error) => write!(f, "the worker could not be run or waited for: {error}"),
        }
    }
}

impl std::error::Error for WorkerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WorkerError::Io(error) => Some(error),
            _ => None,
        }
    }
}
