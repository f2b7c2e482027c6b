//! Three ways to do something beside what one is doing, behind one trait: a green thread, an OS thread, a process.
//!
//! ```no_run
//! use greenline::model::{ALL, Model};
//!
//! fn work(n: u64) -> u64 {
//!     std::thread::sleep(std::time::Duration::from_millis(10));
//!     (1..=n).sum()
//! }
//!
//! for model in ALL {
//!     let workers: Vec<_> = (1..=4).map(|n| model.spawn(move || work(n)).unwrap()).collect();
//!     let sums: Vec<u64> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
//!     println!("{:>12}: {sums:?}", model.name());
//! }
//! ```
//!
//! The closure, what it answers and how it can fail are the same for the three; so a program can be written once, and
//! be asked which of them suits it. What differs is what they share and what they cost:
//!
//! |                                 | [`Green`]           | [`OsThread`]      | [`Process`]                   |
//! |---------------------------------|---------------------|-------------------|-------------------------------|
//! | memory                          | shared              | shared            | a copy of its own             |
//! | who says when it runs           | itself: it gives way where it blocks | the kernel | the kernel          |
//! | several cores at once           | no                  | yes               | yes                           |
//! | its panic ends                  | it                  | it                | it                            |
//! | its abort, fault or `exit` ends | the whole process   | the whole process | it                            |
//! | what it answers                 | is handed over      | is handed over    | is [written down](Worker#what-a-process-answers) |
//!
//! # The strictest of the three
//!
//! What is to be a worker of any model has to fulfil what any of them wants, and that is what [`Model::spawn`] asks for:
//!
//! - `F: Send`, for the OS thread's sake. A green thread never leaves its OS thread, and a process has a copy of all
//!   memory; [`spawn`](crate::spawn) and [`process::Process`](crate::process::Process), called directly, do without.
//! - `T: Serialize + DeserializeOwned`, for the process's sake: what it answers has to cross from one memory to
//!   another. What the closure captures need not: it is there when the memory is copied.
//! - Processes have to be started before OS threads: see [`process`](crate::process#one-os-thread).
//!
//! | file           | is about                                        |
//! |----------------|--------------------------------------------------|
//! | `mod.rs`       | the trait, and its three values                  |
//! | `worker.rs`    | one that was started, whichever it is            |
//! | `error.rs`     | how one fails, whichever it is                   |
//! | `delivery.rs`  | how a process's answer gets to its parent        |
//! | `letter.rs`    | the file without a name that it is written into  |
//!
//! Source: Python's `multiprocessing.dummy`, which has the names of `multiprocessing` for threads; `concurrent.futures`,
//! whose executors are of both kinds.

mod delivery;
mod error;
#[allow(unsafe_code)]
mod letter;
mod worker;

pub use error::WorkerError;
pub use worker::Worker;

use crate::spawn::Builder;
use crate::thread::Thread;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io;

/// A way to run something beside what one is doing.
pub trait Model: Copy {
    /// What it is called: "green thread".
    fn name(self) -> &'static str;

    /// Starts a worker that runs `f`.
    ///
    /// # Errors
    /// There are too many already: no memory, no process id, no descriptor is left. A process cannot be started while
    /// there are [other OS threads](crate::process#one-os-thread).
    #[track_caller]
    fn spawn<F, T>(self, f: F) -> io::Result<Worker<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static;
}

/// Workers are green threads of this OS thread's hub: they run while who spawned them is blocked. See
/// [`spawn`](crate::spawn).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Green;

/// Workers are OS threads, also after [`patch::threads`](crate::patch::threads). See [`thread`](crate::thread).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OsThread;

/// Workers are processes, forked from this one. See [`process`](crate::process).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process;

impl Model for Green {
    fn name(self) -> &'static str {
        "green thread"
    }

    fn spawn<F, T>(self, f: F) -> io::Result<Worker<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        Builder::new().spawn(f).map(Worker::green)
    }
}

impl Model for OsThread {
    fn name(self) -> &'static str {
        "OS thread"
    }

    fn spawn<F, T>(self, f: F) -> io::Result<Worker<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        Thread::new(f).start().map(Worker::os_thread)
    }
}

impl Model for Process {
    fn name(self) -> &'static str {
        "process"
    }

    fn spawn<F, T>(self, f: F) -> io::Result<Worker<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        delivery::start(f).map(Worker::process)
    }
}

/// Any of the three, chosen when the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnyModel {
    /// [`Green`].
    Green,
    /// [`OsThread`].
    OsThread,
    /// [`Process`].
    Process,
}

/// All there are, the cheapest first.
pub const ALL: [AnyModel; 3] = [AnyModel::Green, AnyModel::OsThread, AnyModel::Process];

impl Model for AnyModel {
    fn name(self) -> &'static str {
        match self {
            AnyModel::Green => Green.name(),
            AnyModel::OsThread => OsThread.name(),
            AnyModel::Process => Process.name(),
        }
    }

    fn spawn<F, T>(self, f: F) -> io::Result<Worker<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        match self {
            AnyModel::Green => Green.spawn(f),
            AnyModel::OsThread => OsThread.spawn(f),
            AnyModel::Process => Process.spawn(f),
        }
    }
}

/// Its name.
impl fmt::Display for AnyModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
