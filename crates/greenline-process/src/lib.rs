//! Processes: closures that run in another process, on another core and in its own memory.
//!
//! ```
//! use greenline_process::Process;
//!
//! let child = Process::new(|| println!("I am another process")).name("singer").start().unwrap();
//! assert_eq!(child.join().unwrap(), 0); // other green threads run meanwhile
//! ```
//!
//! A child is made by fork(2), so it begins as a copy of its parent. Therefore a closure does not need to be `Send` or
//! serializable, and the parent does not see what the closure changes. Of the parent's green threads and OS threads, the
//! child has only the one that called [`Process::start`]. The closure runs on its stack. When the closure ends, the child
//! ends by `_exit`, so nothing that the parent was about to do is done a second time.
//!
//! | file               | is about                                                       |
//! |--------------------|----------------------------------------------------------------|
//! | `builder.rs`       | starting a process                                             |
//! | `fork.rs`          | the fork: what must hold, what is flushed                      |
//! | `child_main.rs`    | the child's main function; from the result of a closure to an exit code |
//! | `child.rs`         | a child, as its parent sees it: waiting, killing               |
//! | `children_at_exit.rs` | the children when their parent ends                            |
//! | `this_process.rs`  | what a process knows of itself and its parent                  |
//! | `descriptor.rs`    | pidfds and eventfds, waiting for them; `/dev/null` in the place of others |
//! | `shared/`          | memory that processes share, and how they wait for each other  |
//! | `event.rs`, `semaphore.rs`, `lock.rs`, `condition.rs`, `barrier.rs` | synchronisation, built on `shared/` |
//! | `value.rs`, `array.rs` | data that processes share, built on `shared/`              |
//! | `queue.rs`         | a queue, built on `shared/`; `queue_error.rs`, its errors      |
//! | `pipe.rs`          | messages over a socket                                         |
//! | `codec.rs`         | from values to bytes and back                                  |
//! | `pool/`            | worker processes that call functions                           |
//! | `manager/`         | a server process whose objects others use by proxies           |
//!
//! # One OS thread
//!
//! If another OS thread holds a lock during a fork, the child's copy of the lock stays locked forever, because its holder
//! was not copied. So a process with several OS threads cannot start another, and [`Process::start`] returns an error.
//! Green threads do no harm, and neither do greenline's own OS threads. Therefore start processes first, and OS threads
//! afterwards. (If a *green thread* holds a lock while it waits, the lock is locked in the child as well. Release it before
//! the fork.)
//!
//! # The end
//!
//! When a process ends, by return from `main`, from its closure or by [`std::process::exit`], it terminates those of its
//! children that are [daemons](Process::daemon), and waits for the others. A process that is killed does neither. Its
//! children go on, and can see its end by [`parent`].
//!
//! So if a child waits for the end of a pipe, its parent must close the pipe. A return from `main` drops what `main` owns,
//! and `exit` does not.
//!
//! Source: Python's `multiprocessing`.
//! Next: `this_process.rs`.
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used)]

#[allow(unsafe_code)]
mod array;
mod barrier;
mod builder;
#[allow(unsafe_code)]
mod child;
mod child_main;
#[allow(unsafe_code)]
mod children_at_exit;
mod codec;
mod condition;
#[allow(unsafe_code)]
mod descriptor;
mod event;
#[allow(unsafe_code)]
mod fork;
mod lock;
pub mod manager;
pub mod model;
mod pipe;
pub mod pool;
mod queue;
mod queue_error;
mod semaphore;
#[allow(unsafe_code)]
mod shared;
mod this_process;
mod value;

pub use array::{Array, Plain};
pub use barrier::{Arrival, Barrier, BrokenBarrier};
pub use builder::Process;
pub use child::{Child, active_children};
pub use child_main::Exit;
pub use codec::CodecError;
pub use condition::Condition;
pub use event::Event;
pub use lock::{Lock, LockGuard};
pub use manager::{Manager, RemoteManager};
pub use pipe::{Connection, Nothing, Receiver, Sender, one_way, pipe};
pub use pool::{Pool, TaskError};
pub use queue::Queue;
pub use queue_error::{GetError, PutError};
pub use semaphore::{Permit, Semaphore};
pub use this_process::{Current, Parent, current, parent};
pub use value::Value;

/// The program of the README, as a doctest.
#[cfg(all(doctest, feature = "patch"))]
#[doc = include_str!("../README.md")]
mod readme {}

/// The programs of the book's list of examples, as doctests.
#[cfg(all(doctest, feature = "patch"))]
#[doc = include_str!("../../../docs/src/examples.md")]
mod book_examples {}
