//! What a process knows of itself: its name, its parent, its children.

use super::Refused;
use super::child::{Child, ChildRecord};
use crate::hub::with_blocking_disabled;
use crate::sys::raw_mutex::Lock;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// One for each process; the copy that a forked child finds is overwritten by [`reset_after_fork`].
static OWN: Lock<Option<ProcessInfo>> = Lock::new(None);

struct ProcessInfo {
    /// Which process this is about: one that was forked behind our back has a copy of another's.
    pid: u32,
    name: Arc<str>,
    daemon: bool,
    /// Though it is a daemon.
    may_start: bool,
    /// The numbers in the names of its children, as far as they are its own: "", "1:", "1:4:".
    prefix: String,
    /// How many children there were.
    count: u32,
    parent: Option<Parent>,
    /// Those that were not seen to end. Here they wait to be reaped whose handle is gone.
    children: Vec<Arc<ChildRecord>>,
}

/// Who this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    name: Arc<str>,
    daemon: bool,
}

impl Current {
    /// Its name: `main` for the first of all.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a daemon, and so may not start processes.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }
}

/// The process that has started this one.
///
/// Source: Python's `multiprocessing.parent_process`.
#[derive(Clone)]
pub struct Parent {
    name: Arc<str>,
    pid: u32,
    pidfd: Arc<OwnedFd>,
}

impl Parent {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id. When it has ended, that may be another's.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended. An orphan may want to end, too.
    pub fn is_alive(&self) -> bool {
        !super::pidfd::has_ended(self.pidfd.as_fd())
    }

    /// A descriptor that becomes readable when it ends: for [`io::wait_readable`](crate::io::wait_readable).
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parent").field("name", &self.name).field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// What is settled of a child before there is one.
pub(super) struct ChildSpec {
    pub(super) name: Arc<str>,
    pub(super) daemon: bool,
    pub(super) parent: Parent,
    prefix: String,
}

impl ProcessInfo {
    fn of_main() -> ProcessInfo {
        let (pid, name) = (std::process::id(), "main".into());
        ProcessInfo {
            pid,
            name,
            daemon: false,
            may_start: true,
            prefix: String::new(),
            count: 0,
            parent: None,
            children: Vec::new(),
        }
    }

    /// In a child that C's `fork` has made, the children are not its own.
    fn check_process(&mut self) {
        let pid = std::process::id();
        if pid != self.pid {
            self.pid = pid;
            self.children.clear();
        }
    }
}

/// Calls `f` with what is known of this process. It must not block.
fn with<R>(f: impl FnOnce(&mut ProcessInfo) -> R) -> R {
    // An allocator may have locks that are patched; under ours nobody may park.
    with_blocking_disabled(|| {
        let mut own = OWN.lock();
        let own = own.get_or_insert_with(ProcessInfo::of_main);
        own.check_process();
        f(own)
    })
}

/// Settles what the next child is to be. `pidfd` stands for this process.
///
/// Errors: this process is a daemon.
pub(super) fn plan(name: Option<&str>, daemon: bool, pidfd: OwnedFd) -> Result<ChildSpec, Refused> {
    with(|own| {
        if own.daemon && !own.may_start {
            return Err(Refused::Daemon(own.name.clone()));
        }
        let number = format!("{}{}", own.prefix, own.count + 1);
        let name = name.map_or_else(|| format!("Process-{number}").into(), Arc::from);
        let parent = Parent { name: own.name.clone(), pid: own.pid, pidfd: Arc::new(pidfd) };
        Ok(ChildSpec { name, daemon, prefix: format!("{number}:"), parent })
    })
}

/// Keeps a child until it was seen to end.
pub(super) fn adopt(record: &Arc<ChildRecord>) {
    with(|own| {
        own.count += 1;
        own.children.push(record.clone());
    });
}

/// Those that were not seen to end.
pub(super) fn children() -> Vec<Arc<ChildRecord>> {
    with(|own| own.children.clone())
}

/// Nobody needs to look after that child any more.
pub(super) fn release(record: &ChildRecord) {
    let gone = with(|own| {
        let at = own.children.iter().position(|child| std::ptr::eq(&raw const **child, record));
        at.map(|at| own.children.swap_remove(at))
    });
    drop(gone);
}

/// In a child: it is what was planned.
pub(super) fn reset_after_fork(plan: ChildSpec) {
    let ChildSpec { name, daemon, prefix, parent } = plan;
    let (pid, parent) = (std::process::id(), Some(parent));
    let own =
        ProcessInfo { pid, name, daemon, may_start: !daemon, prefix, count: 0, parent, children: Vec::new() };
    let before = OWN.lock().replace(own);
    // With the descriptors of its parent's children, and of its parent's parent.
    drop(before);
}

/// In a child: it may start processes though it is a daemon.
pub(super) fn allow_children(yes: bool) {
    with(|own| own.may_start |= yes);
}

/// Who calls: the name of this process, and whether it is a daemon.
///
/// Source: Python's `multiprocessing.current_process`.
pub fn current() -> Current {
    with(|own| Current { name: own.name.clone(), daemon: own.daemon })
}

/// Who has started this process. `None` in the first one.
pub fn parent() -> Option<Parent> {
    with(|own| own.parent.clone())
}

/// The children of this process that have not ended. Those that have are reaped, so that nothing is left of them.
///
/// Source: Python's `multiprocessing.active_children`.
pub fn active_children() -> Vec<Child> {
    children().into_iter().map(Child::of).filter(Child::is_alive).collect()
}
