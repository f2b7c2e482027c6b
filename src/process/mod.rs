//! Processes: closures that run in a process of their own, on another core and in memory of their own.
//!
//! ```
//! use greenline::process::Process;
//!
//! let child = Process::new(|| println!("I am another process")).name("singer").start().unwrap();
//! assert_eq!(child.join().unwrap(), 0); // others run here meanwhile
//! ```
//!
//! A child is made by fork(2): it begins as a copy of its parent, so a closure needs to be neither `Send` nor made of
//! anything that can be sent, and what it changes the parent never sees. Of the green threads and OS threads there
//! the copy has only the one that called [`Process::start`]; on its stack the closure runs, and when that ends, so does
//! the child, by `_exit`: nothing of what the parent was about to do is done a second time.
//!
//! | file        | is about                                                     |
//! |-------------|--------------------------------------------------------------|
//! | `own.rs`    | what a process knows of itself, its parent, its children      |
//! | `fork.rs`   | from one process to two: what has to hold, what is flushed    |
//! | `child.rs`  | the parent's view: waiting, killing                          |
//! | `pidfd.rs`  | descriptors that stand for processes                         |
//! | `inside.rs` | the child's view: its whole life                             |
//! | `ending.rs` | what is done with children when a process ends               |
//! | `exit.rs`   | from what a closure returns to an exit code                  |
//! | `null.rs`   | descriptors that become ones of `/dev/null`                  |
//! | `shared/`   | memory that processes share, and how they wait for each other |
//! | `queue.rs`  | on that: a queue; `codec.rs`, from values to bytes and back   |
//! | `semaphore.rs`, `lock.rs`, `event.rs`, `condition.rs`, `barrier.rs` | on that, too |
//! | `value.rs`, `array.rs` | data that processes share                          |
//! | `pipe.rs`   | messages from one process to another                         |
//! | `pool/`     | functions called by worker processes                         |
//! | `manager/`  | a server process whose objects others use by proxies          |
//!
//! # One OS thread
//!
//! A copy of a lock that another OS thread has stays locked for ever, for its holder was not copied. So a process with
//! several OS threads cannot start another, and [`Process::start`] says so. Green threads do no harm, nor do the OS
//! threads of greenline's own. Processes first, then OS threads, is the order to start in. (What a *green thread* has
//! locked, and keeps locked while it waits, is locked in the child as well: let go of it first.)
//!
//! # The end
//!
//! When a process ends, by return from `main`, from its closure or by [`std::process::exit`], those of its children
//! that are [daemons](Process::daemon) are terminated, and the others are waited for. One that is killed does nothing
//! of this: its children go on, and can see it by [`parent`].
//!
//! So a child that waits for the end of a pipe has to be given it: return from `main`, which drops what it has, rather
//! than `exit`.
//!
//! Source: Python's `multiprocessing`.

#[allow(unsafe_code)]
mod array;
#[allow(unsafe_code)]
mod at_exit;
mod barrier;
#[allow(unsafe_code)]
mod child;
mod child_main;
mod codec;
mod condition;
#[allow(unsafe_code)]
mod dev_null;
mod event;
mod exit;
#[allow(unsafe_code)]
mod fork;
mod lock;
pub mod manager;
#[allow(unsafe_code)]
mod pidfd;
mod pipe;
pub mod pool;
mod queue;
mod semaphore;
#[allow(unsafe_code)]
mod shared;
mod this_process;
#[allow(unsafe_code)]
mod value;

pub use array::Array;
pub use barrier::{Arrival, Barrier, BrokenBarrier};
pub use child::Child;
pub use codec::CodecError;
pub use condition::Condition;
pub use event::Event;
pub use exit::Exit;
pub use lock::{Lock, LockGuard};
pub use manager::{Manager, RemoteManager};
pub use pipe::{Connection, Nothing, Receiver, Sender, one_way, pipe};
pub use pool::{Pool, TaskError};
pub use queue::{GetError, Iter, PutError, Queue};
pub use semaphore::{Permit, Semaphore};
pub use this_process::{Current, Parent, active_children, current, parent};
pub use value::{Plain, Value};

use child_main::message;
use fork::ForkResult;
use pipe::PipeEnd;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

/// A process that is to be started: a builder, like [`Thread`](crate::thread::Thread).
///
/// Source: Python's `multiprocessing.Process`.
#[must_use = "it does nothing until it is started"]
pub struct Process<F> {
    f: F,
    name: Option<String>,
    daemon: bool,
    /// Though it is a daemon.
    may_start: bool,
    closing: Vec<Weak<PipeEnd>>,
}

impl<F, R> Process<F>
where
    F: FnOnce() -> R + 'static,
    R: Exit,
{
    /// One that will run `f`, and end with what that returns: see [`Exit`].
    pub fn new(f: F) -> Process<F> {
        Process { f, name: None, daemon: false, may_start: false, closing: Vec::new() }
    }

    /// The name, for reports. If there is none: `Process-N` for the N-th child, `Process-N:M` for the M-th child of
    /// that.
    pub fn name(mut self, name: impl Into<String>) -> Process<F> {
        self.name = Some(name.into());
        self
    }

    /// Whether it is a daemon: not waited for but terminated when this process ends. Daemons may not start processes,
    /// for nobody would be there to end them. Not one, if not said.
    pub fn daemon(mut self, daemon: bool) -> Process<F> {
        self.daemon = daemon;
        self
    }

    /// Has the process close its copy of that end of a pipe, for whose other end somebody else waits in vain
    /// otherwise: see [`Connection`]. Not needed for the pipe by which it talks with this process.
    pub fn closing<S, T>(mut self, end: &Connection<S, T>) -> Process<F> {
        self.closing.push(end.weak());
        self
    }

    /// A daemon that sees to it itself that its children end with it.
    pub(crate) fn daemon_with_children(self) -> Process<F> {
        Process { daemon: true, may_start: true, ..self }
    }

    /// Makes the process and has it run `f`.
    ///
    /// stdout, stderr and C's streams are flushed before, so that nothing is printed twice. The child reads its stdin
    /// from `/dev/null`; signal handlers, open files, the working directory and all the rest are as the parent's. It has
    /// a hub of its own, without the parent's green threads.
    ///
    /// # Errors
    /// This process has several OS threads, and after two seconds still: see [the front page](self#one-os-thread). It is a
    /// daemon. There are too many
    /// processes, no memory, or no descriptor left to wait for the child by.
    pub fn start(self) -> io::Result<Child> {
        match fork::fork(self.name, self.daemon)? {
            ForkResult::Parent(child) => Ok(child),
            ForkResult::Child => {
                this_process::allow_children(self.may_start);
                child_main::run(self.f, &self.closing)
            }
        }
    }
}

/// Why no process was started.
#[derive(Debug)]
enum Refused {
    /// There are OS threads of these names besides.
    Threads(Vec<String>),
    /// This process, of that name, is a daemon.
    Daemon(Arc<str>),
    Io(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Threads(names) => {
                let (count, some) = (names.len(), names[..names.len().min(5)].join("', '"));
                let more = if count > 5 { ", ..." } else { "" };
                write!(
                    f,
                    "no process can be started while this one has other OS threads, for what such a thread has \
                     locked would stay locked in the child: it has {count} ('{some}'{more}). Start processes first, or end and join those; green threads do no harm"
                )
            }
            Refused::Daemon(name) => {
                write!(f, "process '{name}' is a daemon, and may not start processes: nobody would end them")
            }
            Refused::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        Refused::Io(error)
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        match refused {
            Refused::Io(error) => error,
            refused => io::Error::new(io::ErrorKind::Unsupported, refused),
        }
    }
}
