//! The information that a process has on itself: its name, whether it is a daemon, and its parent.
//!
//! Next: `builder.rs`, which starts a child.

use super::descriptor::Descriptor;
use greenline::internals::RawMutex;
use greenline::internals::with_blocking_disabled;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// The information on this process. A forked child finds a copy of its parent's, which [`reset_after_fork`] replaces.
static INFO: RawMutex<Option<ProcessInfo>> = RawMutex::new(None);

/// The information that a process has on itself. The parent makes it before the fork.
pub(super) struct ProcessInfo {
    pub(super) current: Current,
    may_start: bool,
    /// First part of the numbers in the names of its children: "", "1:", "1:4:".
    prefix: String,
    pub(super) parent: Option<Parent>,
}

/// The name of a process, and whether it is a daemon. Returned by [`current`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    pub(super) name: Arc<str>,
    pub(super) daemon: bool,
}

impl Current {
    /// Returns its name. The first process is called `main`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether it is a daemon. A daemon may not start processes.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }
}

/// The process that has started this one.
///
/// Source: Python's `multiprocessing.parent_process`.
#[derive(Clone, Debug)]
pub struct Parent {
    name: Arc<str>,
    pid: u32,
    pidfd: Arc<Descriptor>,
}

impl Parent {
    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its process id. After it has ended, the kernel may give the id to another process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns whether it has not ended. A child may want to end with its parent.
    pub fn is_alive(&self) -> bool {
        !self.pidfd.is_readable()
    }

    /// Returns a descriptor that becomes readable when it ends, for [`io::wait_readable`](greenline::io::wait_readable).
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// The properties of a child that the caller of [`Process`](super::Process) sets.
#[derive(Default)]
pub(super) struct ChildSpec {
    pub(super) name: Option<String>,
    pub(super) daemon: bool,
    /// Whether it may start processes even if it is a daemon.
    pub(super) may_start: bool,
}

impl ChildSpec {
    /// Returns what the next child of this process will know of itself. `number` counts the children of this process,
    /// and `pidfd` stands for this process.
    pub(super) fn describe(&self, number: u32, pidfd: Descriptor) -> ProcessInfo {
        with_info(|info| {
            let number = format!("{}{number}", info.prefix);
            let name = self.name.as_deref().map_or_else(|| format!("Process-{number}").into(), Arc::from);
            let parent = info.current.name.clone();
            ProcessInfo {
                current: Current { name, daemon: self.daemon },
                may_start: self.may_start || !self.daemon,
                prefix: format!("{number}:"),
                parent: Some(Parent { name: parent, pid: std::process::id(), pidfd: Arc::new(pidfd) }),
            }
        })
    }
}

/// Calls `f`, which must not block, with what is known of this process.
fn with_info<R>(f: impl FnOnce(&mut ProcessInfo) -> R) -> R {
    // An allocator may use locks that are patched. Under `INFO` no green thread may park.
    with_blocking_disabled(|| {
        f(INFO.lock().get_or_insert_with(|| ProcessInfo {
            current: Current { name: "main".into(), daemon: false },
            may_start: true,
            prefix: String::new(),
            parent: None,
        }))
    })
}

/// Checks whether this process may start processes.
///
/// Errors: it is a daemon.
pub(super) fn check_may_start() -> io::Result<()> {
    if with_info(|info| info.may_start) {
        return Ok(());
    }
    let name = current().name;
    let text = format!("process '{name}' is a daemon and may not start processes: no parent would end them");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// Makes this process the one that `info` describes, in a child after a fork.
pub(super) fn reset_after_fork(info: ProcessInfo) {
    let copy = INFO.lock().replace(info);
    // Closes the descriptor of the parent's parent, outside of the lock.
    drop(copy);
}

/// Returns the name of this process, and whether it is a daemon.
///
/// Source: Python's `multiprocessing.current_process`.
pub fn current() -> Current {
    with_info(|info| info.current.clone())
}

/// Returns the process that has started this one. In the first process, returns `None`.
pub fn parent() -> Option<Parent> {
    with_info(|info| info.parent.clone())
}
