//! Why a task has no result.
//!
//! Next: `pool/batch.rs`, where the parent keeps results and errors.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a task of a [`Pool`](super::Pool) has no result.
///
/// Source: Python raises the task's exception, or a `MaybeEncodingError`. If a worker dies, Python's caller waits forever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskError {
    /// The task panicked with this message. The worker goes on.
    Panicked(String),
    /// The worker died while it ran the task: it called `exit`, or it was killed. Another worker has replaced it.
    WorkerDied {
        /// The exit code, or minus the number of the signal.
        exit: i32,
    },
    /// The arguments or the result cannot be encoded or decoded, for this reason.
    Codec(String),
    /// The arguments or the result are larger than the memory that the pool has for them.
    TooLarge {
        /// Size of the encoded value, in bytes.
        size: usize,
        /// The largest possible size, in bytes.
        limit: usize,
    },
    /// The pool was closed before the task was sent.
    Closed,
    /// The pool was terminated before the task was done.
    Terminated,
    /// The pool cannot go on, for this reason: its initializer failed, or its supervisor was killed, for example.
    Broken(String),
    /// The caller is another process than the one that created the pool.
    NotOurs,
}

impl TaskError {
    /// Returns the encoding of a task's result that is this error. If it is longer than `limit`, a short error replaces it.
    pub(super) fn encode(&self, limit: usize) -> Vec<u8> {
        let encode = |error| postcard::to_stdvec(&Err::<(), &TaskError>(error)).expect("text can be encoded");
        let encoded = encode(self);
        if encoded.len() <= limit {
            return encoded;
        }
        let text = "(the message is too long)".to_owned();
        match self {
            TaskError::Panicked(_) => encode(&TaskError::Panicked(text)),
            _ => encode(&TaskError::Codec(text)),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Panicked(message) => write!(f, "the task panicked: {message}"),
            TaskError::WorkerDied { exit } if *exit < 0 => {
                write!(f, "the worker was killed by signal {} while it ran the task", -exit)
            }
            TaskError::WorkerDied { exit } => {
                write!(f, "the worker ended with exit code {exit} while it ran the task")
            }
            TaskError::Codec(why) => f.write_str(why),
            TaskError::TooLarge { size, limit } => {
                write!(f, "the arguments or the result have {size} bytes, and the limit is {limit} bytes")
            }
            TaskError::Closed => f.write_str("the pool is closed and accepts no more tasks"),
            TaskError::Terminated => f.write_str("the pool was terminated before the task was done"),
            TaskError::Broken(why) => write!(f, "the pool is broken: {why}"),
            TaskError::NotOurs => f.write_str("only the process that created the pool can use it"),
        }
    }
}

impl std::error::Error for TaskError {}
