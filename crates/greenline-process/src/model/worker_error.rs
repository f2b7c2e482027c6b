//! Why a worker has no result, in terms that hold for all three models.
//!
//! Next: `lib.rs`, the processes that one of the models uses.

use greenline::internals::drop_ignoring_panics;
use greenline::{JoinError, internals::panic_message};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// Why a worker has no result.
#[derive(Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WorkerError {
    /// The worker panicked with this message. The payload itself is dropped, because a process could not send it.
    Panicked(String),
    /// The worker was killed. Green threads can be killed, by [`shutdown`](greenline::shutdown).
    Killed,
    /// The worker's process ended before it had delivered a result.
    Died {
        /// The exit code, or minus the number of the signal that ended the process.
        exit: i32,
    },
    /// The worker's result could not be serialized or deserialized, for this reason.
    Codec(String),
    /// The worker could not be run, or the wait for it failed. No process sends it.
    #[serde(skip)]
    Io(io::Error),
}

impl From<JoinError> for WorkerError {
    fn from(error: JoinError) -> WorkerError {
        match error {
            JoinError::Panicked(payload) => {
                let message = panic_message(&*payload).to_owned();
                drop_ignoring_panics(payload);
                WorkerError::Panicked(message)
            }
            JoinError::NoStack(error) => WorkerError::Io(error),
            // Killed, or its hub is gone.
            _ => WorkerError::Killed,
        }
    }
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerError::Panicked(message) => write!(f, "the worker panicked: {message}"),
            WorkerError::Killed => f.write_str("the worker was killed"),
            WorkerError::Died { exit } => {
                let how = if *exit < 0 { "was ended by signal" } else { "ended with exit code" };
                let number = exit.unsigned_abs();
                write!(f, "the worker's process {how} {number} before it had delivered a result")
            }
            WorkerError::Codec(reason) => {
                write!(f, "the worker's result cannot be sent to another process: {reason}")
            }
            WorkerError::Io(error) => write!(f, "the worker could not be run or waited for: {error}"),
        }
    }
}

impl std::error::Error for WorkerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let WorkerError::Io(error) = self else { return None };
        Some(error)
    }
}
