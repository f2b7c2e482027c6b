//! Managers: a server process that holds objects, and proxies by which other processes use them.
//!
//! Next: `manager/managers.rs`, where a program starts a server, or connects to one.
//!
//! Processes that share objects by a manager need not be forked from each other. A proxy is a small value: it can be
//! sent as an argument of a task or through a queue. If the manager listens on TCP, another machine can look objects up
//! by name. The price is a request and a reply for each call.
//!
//! ```no_run
//! use greenline_process::{Manager, Process};
//!
//! let manager = Manager::start()?;
//! let squares = manager.queue::<u64>(0)?;
//! let worker = squares.clone();
//! let child = Process::new(move || (1..=3u64).for_each(|n| worker.put(n * n).unwrap())).start()?;
//! child.join()?;
//! assert_eq!((0..3).map(|_| squares.get()).collect::<Result<Vec<_>, _>>()?, [1, 4, 9]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file           | subject                                                          |
//! |----------------|------------------------------------------------------------------|
//! | `managers.rs`  | a manager that this process started, or another one              |
//! | `client.rs`, `proxy.rs` | the client's side: connections and calls; proxies       |
//! | `protocol.rs`, `manager_error.rs` | messages, encoded values, errors              |
//! | `endpoint.rs`, `handshake.rs` | connections, and the check of both ends |
//! | `server_process.rs`, `session.rs` | the server process and clients that die; its end of a connection |
//! | `registry.rs`, `object.rs` | all objects; what an object is, and where calls wait |
//! | `queue.rs`, `semaphore.rs`, `event.rs`, `dict.rs`, `list.rs` | one object each: its requests, the object in the server, its proxies |
//! | `sys.rs`       | system calls                                                     |
//!
//! # Lifetimes
//!
//! An object lives until it is [discarded](Proxy::discard), or as long as its manager, whether or not a proxy of it
//! exists. So a proxy that is on its way, in a queue or a task, is as good as any other. The server ends when the
//! [`Manager`] is dropped or shut down, and when the process that started it ends for any reason. After that every call,
//! also one that was waiting, fails with [`ManagerError::Gone`].
//!
//! A client may be killed, or give up by a timeout, in the middle of a call. If it has not received a message that was
//! sent to it, the message goes back to its old position, for the next client. If it held a lock, the lock is unlocked,
//! and the next holder can ask for that. If its call changes an object without waiting, the call may or may not have been
//! executed.
//!
//! # Values
//!
//! The client that stores a value encodes it by serde and postcard, and the client that takes it out decodes it. The
//! server never decodes a value. The encoding does not contain the type. If the two clients disagree on the type, the
//! second gets a [`ManagerError::Codec`] at best.
//!
//! # Authentication
//!
//! On one machine: a client must be a process of the same user, as the kernel knows it, and must have the manager's key.
//! The key is random and is part of a serialised proxy. Over TCP: a client must have the key that was set. Both ends
//! prove that they have the key and do not send it. TCP connections are not encrypted, and an attacker in the network
//! could change messages. Use them in networks that you trust, or through a tunnel.
//!
//! Source: Python's `multiprocessing.Manager` and `multiprocessing.managers`.
#![deny(unsafe_code)]

mod client;
mod dict;
mod endpoint;
mod event;
mod handshake;
mod list;
mod manager_error;
mod managers;
mod object;
mod protocol;
mod proxy;
mod queue;
mod registry;
mod semaphore;
mod server_process;
mod session;
mod sys;

pub use dict::{Dict, Value};
pub use event::{Barrier, Event};
pub use list::List;
pub use manager_error::ManagerError;
pub use managers::{Builder, Manager, RemoteManager};
pub use proxy::Proxy;
pub use queue::{GetError, PutError, Queue};
pub use semaphore::{Lock, LockGuard, Permit, Semaphore};
