//! Why a task has no result.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a task of a [`Pool`](super::Pool) has no result.
///
/// Source: Python has the task's exception raised, a `MaybeEncodingError`, and for a worker that died nothing: there
/// the caller waits for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskError {
    /// It panicked, and what it said. The worker goes on.
    Panicked(String),
    /// The worker that ran it has died: it called `exit`, or was killed. Another has taken its place.
    WorkerDied {
        /// Its exit code; -N by signal N.
        exit: i32,
    },
    /// The arguments or the result cannot be encoded or decoded, and why.
    Codec(String),
    /// The arguments or the result are larger than the memory that the pool has for them.
    TooLarge {
        /// Of the encoding, in bytes.
        size: usize,
        /// What there is room for.
        limit: usize,
    },
    /// The pool takes no more tasks: it was closed.
    Closed,
    /// The pool was terminated before it was done.
    Terminated,
    /// The pool cannot go on, and why: its initializer fails, or who looks after the workers was killed.
    Broken(String),
    /// It was asked by another process than the one that has made the pool.
    NotOurs,
}

impl TaskError {
    /// As it is sent to who asked; what is too long for that is said in short.
    pub(super) fn encode(&self, limit: usize) -> Vec<u8> {
        let encoded = postcard::to_stdvec(self).expect("text and numbers can be encoded");
        if encoded.len() <= limit {
            return encoded;
        }
        let in_short = match self {
            TaskError::Panicked(_) => TaskError::Panicked("(a message that is too long)".to_owned()),
            _ => TaskError::Codec("(a message that is too long)".to_owned()),
        };
        postcard::to_stdvec(&in_short).expect("text can be encoded")
    }

    pub(super) fn decode(bytes: &[u8]) -> TaskError {
        postcard::from_bytes(bytes).expect("it was encoded by this program")
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
                write!(f, "the worker left with exit code {exit} while it ran the task")
            }
            TaskError::Codec(why) => f.write_str(why),
            TaskError::TooLarge { size, limit } => {
                write!(f, "{size} bytes of arguments or results are too many: there is room for {limit}")
            }
            TaskError::Closed => f.write_str("the pool is closed, and takes no more tasks"),
            TaskError::Terminated => f.write_str("the pool was terminated before the task was done"),
            TaskError::Broken(why) => write!(f, "the pool is broken: {why}"),
            TaskError::NotOurs => f.write_str("the pool can be used only by the process that has made it"),
        }
    }
}

impl std::error::Error for TaskError {}
