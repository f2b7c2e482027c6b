//! The three models, and the handle of a worker of any of them.
//!
//! Next: `model/process_worker.rs`, where a worker process sends its result to its parent.

use super::process_worker::ProcessWorker;
use super::worker_error::WorkerError;
use greenline::Builder;
use greenline::JoinError;
use greenline::thread;
use greenline::thread::Thread;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::time::Duration;

/// A way to run a closure concurrently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// Workers are green threads of the calling OS thread's hub. They run while the caller is blocked. See
    /// [`spawn`](greenline::spawn).
    Green,
    /// Workers are OS threads, also after [`patch::threads`](greenline::patch::threads). See [`thread`](greenline::thread).
    OsThread,
    /// Workers are processes, forked from the calling process. See [`process`](crate).
    Process,
}

impl Model {
    /// All models, the cheapest first.
    pub const ALL: [Model; 3] = [Model::Green, Model::OsThread, Model::Process];

    /// Returns the model's name: "green thread", "OS thread" or "process".
    pub fn name(self) -> &'static str {
        match self {
            Model::Green => "green thread",
            Model::OsThread => "OS thread",
            Model::Process => "process",
        }
    }

    /// Starts a worker that runs `f`.
    ///
    /// # Errors
    /// No memory, no process id or no descriptor is left. A process cannot be started while there are
    /// [other OS threads](crate#one-os-thread).
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<Worker<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        Ok(Worker(match self {
            Model::Green => Handle::Green(Builder::new().spawn(f)?),
            Model::OsThread => Handle::OsThread(Thread::new(f).start()?),
            Model::Process => Handle::Process(ProcessWorker::start(f)?),
        }))
    }
}

/// Writes the model's name.
impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A started worker, and the right to its result.
///
/// If the handle is dropped, the worker goes on (it is detached). When `main` returns, green threads and OS threads end
/// with it, while processes are waited for.
///
/// The handle cannot be sent to another OS thread, because the handle of a green thread cannot.
///
/// # The result of a process
///
/// The `postcard` crate serializes the result into memory that both processes map. Its size has no limit. Fields that the
/// type leaves out (`#[serde(skip)]`) are missing in the result of a process. The other two models move the value.
#[must_use = "if it is dropped, the worker goes on and its result is lost"]
pub struct Worker<T>(Handle<T>);

enum Handle<T> {
    Green(greenline::JoinHandle<T>),
    OsThread(thread::JoinHandle<T>),
    Process(ProcessWorker),
}

impl<T> Worker<T> {
    /// Returns the worker's model.
    pub fn model(&self) -> Model {
        match self.0 {
            Handle::Green(_) => Model::Green,
            Handle::OsThread(_) => Model::OsThread,
            Handle::Process(_) => Model::Process,
        }
    }
}

impl<T: DeserializeOwned + Send + 'static> Worker<T> {
    /// Waits until the worker has ended, and returns its result. Blocks only the current green thread. On an OS thread
    /// without a hub, it blocks the OS thread.
    ///
    /// # Errors
    /// The worker panicked or died: [`WorkerError`].
    ///
    /// # Panics
    /// If a green thread joins itself. Unwinds if the green thread is killed or a timeout around it fires.
    #[track_caller]
    pub fn join(self) -> Result<T, WorkerError> {
        match self.0 {
            Handle::Green(handle) => Ok(handle.join()?),
            Handle::OsThread(handle) => Ok(handle.join()?),
            Handle::Process(worker) => worker.join(),
        }
    }

    /// [`join`](Worker::join), with a time limit. A zero timeout does not wait.
    ///
    /// # Errors
    /// The inner result is that of `join`. The outer error is this worker, if it still runs after `timeout`.
    ///
    /// # Panics
    /// As `join`.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, WorkerError>, Worker<T>> {
        let result = |joined: Result<T, JoinError>| joined.map_err(WorkerError::from);
        let joined = match self.0 {
            Handle::Green(handle) => handle.join_timeout(timeout).map(result).map_err(Handle::Green),
            Handle::OsThread(handle) => handle.join_timeout(timeout).map(result).map_err(Handle::OsThread),
            Handle::Process(worker) => match worker.child.join_timeout(timeout) {
                Ok(Some(_)) => Ok(worker.join()),
                Ok(None) => Err(Handle::Process(worker)),
                Err(error) => Ok(Err(WorkerError::Io(error))),
            },
        };
        joined.map_err(Worker)
    }

    /// Returns whether `join` would return immediately. Green threads of this OS thread do not run during the call. A
    /// caller that polls in a loop must block now and then.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Handle::Green(handle) => handle.is_finished(),
            Handle::OsThread(handle) => handle.is_finished(),
            Handle::Process(worker) => !worker.child.is_alive(),
        }
    }
}

impl<T> fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("model", &self.model()).finish_non_exhaustive()
    }
}
