//! A worker process, and how its result gets to its parent.
//!
//! The child writes its result into a [`ResultFile`] when its closure has ended. The parent reads the file when the child
//! is gone. So the child never waits for the parent to read, however long the result is. The file has an encoded
//! `Option<Result<T, WorkerError>>`. If the child dies before it has written, it is `None`.
//!
//! Next: `model/result_file.rs`, the file itself.

use super::result_file::ResultFile;
use super::worker_error::WorkerError;
use crate::{Child, Process};
use greenline::internals::catch_body;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::sync::Arc;

/// A process that will deliver the result of its closure.
pub(super) struct ProcessWorker {
    pub(super) child: Child,
    file: Arc<ResultFile>,
}

/// Runs in the child. Returns the exit code for other observers of the process: 1 if there is no value.
fn run<T: Serialize>(f: impl FnOnce() -> T, file: &ResultFile) -> i32 {
    let result = match catch_body(|| postcard::to_stdvec(&Some(Ok::<T, WorkerError>(f())))) {
        Ok(encoded) => encoded.map_err(|error| WorkerError::Codec(error.to_string())),
        Err(error) => Err(WorkerError::from(error)),
    };
    let (code, encoded) = match result {
        Ok(encoded) => (0, encoded),
        // The closure has ended by `pthread_exit`: there is nothing to report.
        Err(WorkerError::Killed) => return 1,
        Err(error) => (1, postcard::to_stdvec(&Some(Err::<(), _>(error))).expect("text can be encoded")),
    };
    if let Err(error) = file.write(&encoded) {
        eprintln!("process '{}' could not deliver its result: {error}", crate::current().name());
        return 1;
    }
    code
}

impl ProcessWorker {
    /// Starts a process that runs `f` and delivers its return value.
    pub(super) fn start<T: Serialize>(f: impl FnOnce() -> T + 'static) -> io::Result<ProcessWorker> {
        let file = Arc::new(ResultFile::new()?);
        let file_of_child = file.clone();
        let child = Process::new(move || run(f, &file_of_child)).start()?;
        Ok(ProcessWorker { child, file })
    }

    /// Waits until the process has ended, and reads its result.
    pub(super) fn join<T: DeserializeOwned>(&self) -> Result<T, WorkerError> {
        let exit = self.child.join().map_err(WorkerError::Io)?;
        let encoded = self.file.read().map_err(WorkerError::Io)?;
        match postcard::from_bytes(&encoded) {
            Ok(Some(result)) => result,
            Ok(None) => Err(WorkerError::Died { exit }),
            Err(error) => Err(WorkerError::Codec(error.to_string())),
        }
    }
}
