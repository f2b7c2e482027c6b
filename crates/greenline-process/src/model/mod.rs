//! Three ways to run a closure concurrently, behind one enum: a green thread, an OS thread, a process.
//!
//! Next: `model/worker.rs`, where the enum and its three ways to spawn and join are.
//!
//! ```no_run
//! use greenline_process::model::Model;
//!
//! fn work(n: u64) -> u64 {
//!     std::thread::sleep(std::time::Duration::from_millis(10));
//!     (1..=n).sum()
//! }
//!
//! for model in Model::ALL {
//!     let workers: Vec<_> = (1..=4).map(|n| model.spawn(move || work(n)).unwrap()).collect();
//!     let sums: Vec<u64> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
//!     println!("{:>12}: {sums:?}", model.name());
//! }
//! ```
//!
//! The closure, its result and its errors are the same for the three models. A program can therefore be written once and
//! run with each of them. The models differ in what their workers share and in what they cost:
//!
//! |                                   | [`Model::Green`]    | [`Model::OsThread`] | [`Model::Process`]            |
//! |-----------------------------------|---------------------|-------------------|-------------------------------|
//! | memory                            | shared              | shared            | a copy of its own             |
//! | scheduling                        | cooperative: the worker yields where it blocks | by the kernel | by the kernel |
//! | several cores at once             | no                  | yes               | yes                           |
//! | a panic ends                      | the worker          | the worker        | the worker                    |
//! | an abort, a fault or `exit` ends  | the whole process   | the whole process | the worker                    |
//! | the result                        | is moved            | is moved          | is [serialized](Worker#the-result-of-a-process) |
//!
//! # The strictest of the three
//!
//! [`Model::spawn`] has the bounds that any of the three models needs:
//!
//! - `F: Send` is needed for OS threads. A green thread never leaves its OS thread, and a process has a copy of all
//!   memory. [`spawn`](greenline::spawn) and [`process::Process`](crate::Process), called directly, do without the
//!   bound.
//! - `T: Serialize + DeserializeOwned` is needed for processes. The result has to cross from one memory to another. What
//!   the closure captures needs no such bound, because the fork copies it.
//! - Processes have to be started before OS threads: see [`process`](crate#one-os-thread).
//!
//! | file                | is about                                              |
//! |---------------------|-------------------------------------------------------|
//! | `worker.rs`         | the three models, and the handle of a started worker  |
//! | `process_worker.rs` | a worker process, and how its result gets to the parent |
//! | `result_file.rs`    | the unnamed file that holds that result               |
//! | `worker_error.rs`   | why a worker has no result                            |
//!
//! Source: Python's `multiprocessing.dummy`, which has the names of `multiprocessing` for threads; `concurrent.futures`,
//! which has executors of both kinds.

mod process_worker;
#[allow(unsafe_code)]
mod result_file;
mod worker;
mod worker_error;

pub use worker::{Model, Worker};
pub use worker_error::WorkerError;
