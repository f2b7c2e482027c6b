//! Starting a process.
//!
//! Next: `fork.rs`, the fork itself.

use super::child::Child;
use super::child_main::{self, Exit};
use super::fork::fork;
use super::pipe::{Connection, PipeEnd};
use super::this_process::ChildSpec;
use std::io;
use std::sync::{Arc, Weak};

/// A process to be started: a builder, like [`Thread`](greenline::thread::Thread).
///
/// Source: Python's `multiprocessing.Process`.
#[must_use = "it does nothing until it is started"]
pub struct Process<F> {
    f: F,
    spec: ChildSpec,
    /// Ends of pipes that the child closes.
    closing: Vec<Weak<PipeEnd>>,
}

impl<F, R> Process<F>
where
    F: FnOnce() -> R + 'static,
    R: Exit,
{
    /// Returns a process that will run `f` and end with the exit code of its result. See [`Exit`].
    pub fn new(f: F) -> Process<F> {
        Process { f, spec: ChildSpec::default(), closing: Vec::new() }
    }

    /// Sets the name, which appears in reports. By default, the N-th child is called `Process-N`, and the M-th child of
    /// that one `Process-N:M`.
    pub fn name(mut self, name: impl Into<String>) -> Process<F> {
        self.spec.name = Some(name.into());
        self
    }

    /// Sets whether it is a daemon; by default it is not. When this process ends, it terminates its daemons and waits for
    /// its other children. A daemon may not start processes, because no parent would end them.
    pub fn daemon(mut self, daemon: bool) -> Process<F> {
        self.spec.daemon = daemon;
        self
    }

    /// Makes the process close its copy of `end`, one end of a pipe. Otherwise the copy keeps the pipe open, and the other
    /// end never sees that it is closed: see [`Connection`]. The pipe between the process and its parent does not need
    /// this.
    pub fn closing<S, T>(mut self, end: &Connection<S, T>) -> Process<F> {
        self.closing.push(Arc::downgrade(&end.end));
        self
    }

    /// Makes it a daemon that may start processes. It must end its children itself.
    pub(crate) fn daemon_with_children(mut self) -> Process<F> {
        (self.spec.daemon, self.spec.may_start) = (true, true);
        self
    }

    /// Starts the process, which runs the closure.
    ///
    /// stdout, stderr and C's streams are flushed first, so that nothing is printed twice. The child reads its stdin from
    /// `/dev/null`. It has the parent's signal handlers, open files, working directory and everything else of that kind.
    /// It has its own hub, without the parent's green threads.
    ///
    /// # Errors
    /// This process has several OS threads, and still has them after two seconds: see
    /// [the front page](crate#one-os-thread). It is a daemon. There are too many processes, no memory, or no
    /// descriptor left to wait for the child.
    pub fn start(self) -> io::Result<Child> {
        match fork(&self.spec)? {
            Some(child) => Ok(child),
            None => child_main::run(self.f, &self.closing),
        }
    }
}
