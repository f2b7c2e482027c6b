//! A worker process, and how its result gets to its parent.
//!
//! The child writes its result into a [`ResultFile`] when its closure has ended. The parent reads the file when the child
//! is gone. So the child never waits for the parent to read, however long the result is. If the child dies before it has
//! written, the file is empty.
//!
//! Next: `model/result_file.rs`, the file itself.

use super::result_file::ResultFile;
use super::worker_error::WorkerError;
use crate::green::catch_body;
use crate::process::{Child, Process};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// The report of a child process that has no value.
#[derive(Serialize, Deserialize)]
enum Failure {
    Panicked(String),
    Codec(String),
}

/// A process that will deliver a `T`.
pub(super) struct ProcessWorker<T> {
    child: Child,
    file: Arc<ResultFile>,
    value: PhantomData<fn() -> T>,
}

/// Runs in the child. Returns the exit code for other observers of the process: 1 if there is no value.
fn run<T: Serialize>(f: impl FnOnce() -> T, file: &ResultFile) -> i32 {
    let encoded = match catch_body(|| postcard::to_stdvec(&Ok::<T, Failure>(f()))) {
        Ok(encoded) => encoded.map_err(|error| Failure::Codec(error.to_string())),
        Err(error) => match WorkerError::from(error) {
            WorkerError::Panicked(message) => Err(Failure::Panicked(message)),
            // The closure has ended by `pthread_exit`: there is nothing to report.
            _ => return 1,
        },
    };
    let code = i32::from(encoded.is_err());
    let encoded = encoded.or_else(|failure| postcard::to_stdvec(&Err::<(), Failure>(failure)));
    match file.write(&encoded.expect("text can be encoded")) {
        Ok(()) => code,
        Err(error) => {
            eprintln!("process '{}' could not deliver its result: {error}", crate::process::current().name());
            1
        }
    }
}

impl<T: Serialize + 'static> ProcessWorker<T> {
    /// Starts a process that runs `f` and delivers its return value.
    pub(super) fn start(f: impl FnOnce() -> T + 'static) -> io::Result<ProcessWorker<T>> {
        let file = Arc::new(ResultFile::new()?);
        let file_of_child = file.clone();
        let child = Process::new(move || run(f, &file_of_child)).start()?;
        Ok(ProcessWorker { child, file, value: PhantomData })
    }
}

impl<T: DeserializeOwned> ProcessWorker<T> {
    pub(super) fn join(self) -> Result<T, WorkerError> {
        let exit = self.child.join().map_err(WorkerError::Io)?;
        self.result(exit)
    }

    pub(super) fn join_timeout(self, timeout: Duration) -> Result<Result<T, WorkerError>, ProcessWorker<T>> {
        match self.child.join_timeout(timeout) {
            Ok(Some(exit)) => Ok(self.result(exit)),
            Ok(None) => Err(self),
            Err(error) => Ok(Err(WorkerError::Io(error))),
        }
    }

    /// Reads the result of a child that has ended with that exit code.
    fn result(&self, exit: i32) -> Result<T, WorkerError> {
        let encoded = self.file.read().map_err(WorkerError::Io)?;
        if encoded.is_empty() {
            return Err(WorkerError::Died { exit });
        }
        match postcard::from_bytes(&encoded).map_err(|error| WorkerError::Codec(error.to_string()))? {
            Ok(value) => Ok(value),
            Err(Failure::Panicked(message)) => Err(WorkerError::Panicked(message)),
            Err(Failure::Codec(reason)) => Err(WorkerError::Codec(reason)),
        }
    }
}

impl<T> ProcessWorker<T> {
    pub(super) fn is_finished(&self) -> bool {
        !self.child.is_alive()
    }
}
