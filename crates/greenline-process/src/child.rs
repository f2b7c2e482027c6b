//! Child processes, as their parent sees them.
//!
//! The parent waits for a child by its pidfd, so no signal handler is needed. It never reaps another parent's child, and
//! never signals another process that was given the child's number.
//!
//! Next: `children_at_exit.rs`, what happens to the children when their parent ends.

use super::descriptor::Descriptor;
use super::this_process::Current;
use greenline::internals::RawMutex;
use greenline::internals::result;
use greenline::internals::syscall;
use greenline::internals::with_blocking_disabled;
use libc::{SIGKILL, SIGTERM};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A process that was started. Dropping it leaves the process running.
///
/// It may be cloned, sent to other OS threads, and joined by several of them at once, any number of times.
#[derive(Clone)]
pub struct Child(Arc<ChildRecord>);

/// The parent's record of a child. The parent keeps it until the child is reaped.
struct ChildRecord {
    /// Its name, and whether it is a daemon.
    current: Current,
    pid: u32,
    /// Process id of the parent.
    parent: u32,
    pidfd: Descriptor,
    ended: RawMutex<Option<Ended>>,
}

/// How a child has ended: its exit code, or -N if signal N has killed it. `None`: other code has taken the exit status.
type Ended = Option<i32>;

/// The children of this process.
static CHILDREN: RawMutex<Children> =
    RawMutex::new(Children { parent: 0, started: 0, not_reaped: Vec::new() });

struct Children {
    /// Process id of the parent. A forked process finds a copy of another process's list, and begins its own.
    parent: u32,
    /// Number of children started so far.
    started: u32,
    /// Children that were not reaped. A child whose handle was dropped stays here until it is reaped.
    not_reaped: Vec<Child>,
}

/// Calls `f`, which must not block, with the children of this process.
fn with_children<R>(f: impl FnOnce(&mut Children) -> R) -> R {
    // An allocator may use locks that are patched. Under `CHILDREN` no green thread may park.
    with_blocking_disabled(|| {
        let mut children = CHILDREN.lock();
        let pid = std::process::id();
        if children.parent != pid {
            *children = Children { parent: pid, started: 0, not_reaped: Vec::new() };
        }
        f(&mut children)
    })
}

/// Returns the number of the next child that this process starts, from 1.
pub(super) fn next_number() -> u32 {
    with_children(|children| children.started) + 1
}

/// Returns the children that were not reaped. The first call after a fork closes the copies of the parent's descriptors.
pub(super) fn children() -> Vec<Child> {
    with_children(|children| children.not_reaped.clone())
}

/// Returns the children of this process that have not ended, and reaps those that have.
///
/// Source: Python's `multiprocessing.active_children`.
pub fn active_children() -> Vec<Child> {
    children().into_iter().filter(Child::is_alive).collect()
}

impl Child {
    /// Registers a child of this process. The process keeps it until it is reaped.
    pub(super) fn register(current: Current, pid: u32, pidfd: Descriptor) -> Child {
        let (parent, ended) = (std::process::id(), RawMutex::default());
        let child = Child(Arc::new(ChildRecord { current, pid, parent, pidfd, ended }));
        with_children(|children| {
            children.started += 1;
            children.not_reaped.push(child.clone());
        });
        child
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        self.0.current.name()
    }

    /// Returns its process id. The kernel does not reuse the id before this process has reaped the child.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Returns whether it was started as a daemon.
    pub fn is_daemon(&self) -> bool {
        self.0.current.is_daemon()
    }

    /// Returns whether it has not ended. If it has ended, it is reaped.
    pub fn is_alive(&self) -> bool {
        self.reap().is_none() && !self.has_ended()
    }

    /// Returns its exit code, or -N if signal N has killed it. If it is alive, or its exit code is not known, returns
    /// `None`.
    pub fn exit_code(&self) -> Option<i32> {
        self.reap()?
    }

    /// Waits until it has ended. Returns what [`exit_code`](Child::exit_code) then returns. Parks the running green
    /// thread. Where there is no hub, it blocks the OS thread.
    ///
    /// # Errors
    /// This process is not its parent. Its exit code is not known, because other code has reaped it.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires.
    pub fn join(&self) -> io::Result<i32> {
        Ok(self.wait(None)?.expect("a wait without a deadline ends with the child"))
    }

    /// Waits as [`join`](Child::join) does, for at most `timeout`. If the child has not ended by then, returns `None`.
    ///
    /// # Errors
    /// The errors of `join`.
    pub fn join_timeout(&self, timeout: Duration) -> io::Result<Option<i32>> {
        self.wait(Instant::now().checked_add(timeout))
    }

    fn wait(&self, deadline: Option<Instant>) -> io::Result<Option<i32>> {
        let name = self.name();
        if !self.is_ours() {
            return Err(io::Error::other(format!("process '{name}' can be joined only by its parent")));
        }
        loop {
            match self.reap() {
                Some(Some(code)) => return Ok(Some(code)),
                Some(None) => {
                    return Err(io::Error::other(format!(
                        "the exit code of process '{name}' is not known: other code has taken its status, by \
                         waiting for any child or by ignoring SIGCHLD"
                    )));
                }
                None if self.0.pidfd.wait_readable(deadline)? => {}
                None => return Ok(None),
            }
        }
    }

    /// Blocks the OS thread until the child has ended: for destructors, and where no hub runs any more. If the deadline
    /// has passed, returns `false`.
    pub(super) fn wait_in_kernel(&self, deadline: Option<Instant>) -> bool {
        !matches!(with_blocking_disabled(|| self.wait(deadline)), Ok(None))
    }

    /// Returns whether it has ended, by one system call and without reaping it.
    pub(super) fn has_ended(&self) -> bool {
        self.0.pidfd.is_readable()
    }

    fn is_ours(&self) -> bool {
        self.0.parent == std::process::id()
    }

    /// Reaps it if it has ended. If it is alive, or another process's child, returns `None`.
    fn reap(&self) -> Option<Ended> {
        if !self.is_ours() {
            return None;
        }
        let ended = {
            let mut ended = self.0.ended.lock();
            if ended.is_none() {
                *ended = wait_status(&self.0.pidfd);
            }
            (*ended)?
        };
        let released = with_children(|children| {
            let at = children.not_reaped.iter().position(|child| Arc::ptr_eq(&child.0, &self.0))?;
            Some(children.not_reaped.swap_remove(at))
        });
        // Outside of the lock.
        drop(released);
        Some(ended)
    }

    /// Sends SIGTERM and does not wait. If the child has no handler for it, it ends at once, and its own children go on.
    /// If it has ended already, that is no error.
    ///
    /// # Errors
    /// The errors of pidfd_send_signal(2).
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(SIGTERM)
    }

    /// Sends SIGKILL and does not wait. If the child has ended already, that is no error.
    ///
    /// # Errors
    /// The errors of pidfd_send_signal(2).
    pub fn kill(&self) -> io::Result<()> {
        self.signal(SIGKILL)
    }

    /// Sends a signal. If the child has ended already, that is no error.
    ///
    /// # Errors
    /// There is no such signal, or this process may not send it.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let args = [self.0.pidfd.as_fd().as_raw_fd() as usize, signal as usize, 0, 0, 0, 0];
        // SAFETY: the call takes numbers, and null instead of a `siginfo_t`.
        match result(unsafe { syscall(libc::SYS_pidfd_send_signal, args) }) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns a descriptor that becomes readable when it ends, for [`io::wait_readable`](greenline::io::wait_readable).
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = *self.0.ended.lock();
        f.debug_struct("Child")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .field("ended", &ended)
            .finish()
    }
}

/// Takes the exit status of the child that `pidfd` stands for (waitid(2)). If the child has not ended, returns `None`.
fn wait_status(pidfd: &Descriptor) -> Option<Ended> {
    // SAFETY: a `siginfo_t` of zeros is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pidfd.as_fd().as_raw_fd() as libc::id_t;
    // SAFETY: `info` has room for the result. The kernel fills in the two fields that are read. With WNOHANG the call does
    // not wait, so no signal interrupts it.
    let (result, pid, status) = unsafe {
        let result = libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::WNOHANG);
        (result, info.si_pid(), info.si_status())
    };
    match (result, pid) {
        (0, 0) => None,
        (0, _) => Some(Some(if info.si_code == libc::CLD_EXITED { status } else { -status })),
        _ => Some(None),
    }
}
