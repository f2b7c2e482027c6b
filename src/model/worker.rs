//! One worker that was started, whichever model it is of.

use super::AnyModel;
use super::delivery::Delivery;
use super::error::WorkerError;
use crate::{join, thread};
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::Duration;

/// A worker that was started, and the right to what it answers.
///
/// Dropping it lets the worker go on alone. When `main` returns, green threads and OS threads end with it, while
/// processes are waited for.
///
/// As the handle of a green thread it stays on its OS thread: the strictest of the three.
///
/// # What a process answers
///
/// It is written in serde's terms, by the `postcard` crate, into memory that both processes have, without a limit to its
/// size. A type that leaves fields out (`#[serde(skip)]`) arrives without them; from the other two it arrives as it is.
#[must_use = "dropped, it goes on alone"]
pub struct Worker<T>(Kind<T>);

enum Kind<T> {
    Green(join::JoinHandle<T>),
    OsThread(thread::JoinHandle<T>),
    Process(Delivery<T>),
}

impl<T> Worker<T> {
    pub(super) fn green(handle: join::JoinHandle<T>) -> Worker<T> {
        Worker(Kind::Green(handle))
    }

    pub(super) fn os_thread(handle: thread::JoinHandle<T>) -> Worker<T> {
        Worker(Kind::OsThread(handle))
    }

    pub(super) fn process(delivery: Delivery<T>) -> Worker<T> {
        Worker(Kind::Process(delivery))
    }

    /// Of which model it is.
    pub fn model(&self) -> AnyModel {
        match self.0 {
            Kind::Green(_) => AnyModel::Green,
            Kind::OsThread(_) => AnyModel::OsThread,
            Kind::Process(_) => AnyModel::Process,
        }
    }
}

impl<T: DeserializeOwned + Send + 'static> Worker<T> {
    /// Waits for the worker to end, and answers what it returned. Blocks the current green thread and no other; where
    /// there is no hub, the OS thread.
    ///
    /// # Errors
    /// It panicked, or died: [`WorkerError`].
    ///
    /// # Panics
    /// When a green thread joins itself. Unwinds when the green thread is killed or a timeout around it fires.
    #[track_caller]
    pub fn join(self) -> Result<T, WorkerError> {
        match self.0 {
            Kind::Green(handle) => Ok(handle.join()?),
            Kind::OsThread(handle) => Ok(handle.join()?),
            Kind::Process(delivery) => delivery.join(),
        }
    }

    /// As [`join`](Worker::join), for no longer than `timeout`. Zero only looks.
    ///
    /// # Errors
    /// The inner result is that of `join`. The outer error is this worker: the time is over, it runs on.
    ///
    /// # Panics
    /// As `join`.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, WorkerError>, Worker<T>> {
        match self.0 {
            Kind::Green(handle) => match handle.join_timeout(timeout) {
                Ok(ended) => Ok(ended.map_err(WorkerError::from)),
                Err(handle) => Err(Worker::green(handle)),
            },
            Kind::OsThread(handle) => match handle.join_timeout(timeout) {
                Ok(ended) => Ok(ended.map_err(WorkerError::from)),
                Err(handle) => Err(Worker::os_thread(handle)),
            },
            Kind::Process(delivery) => delivery.join_timeout(timeout).map_err(Worker::process),
        }
    }

    /// Whether `join` would answer at once. Green threads of this OS thread do not run meanwhile: who asks again and
    /// again has to block now and then.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Kind::Green(handle) => handle.is_finished(),
            Kind::OsThread(handle) => handle.is_finished(),
            Kind::Process(delivery) => delivery.is_finished(),
        }
    }
}

impl<T> fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("model", &self.model()).finish_non_exhaustive()
    }
}
