//! A child as its parent has it: by a descriptor that stands for it (`pidfd`, Linux 5.4), which becomes readable when it
//! ends. So whoever waits for it waits for a descriptor, and no signal handler is needed; and nobody else's child is
//! ever reaped, nor a stranger signalled who has the number of one that is gone.

use super::{pidfd, this_process};
use crate::hub::try_current;
use crate::sys::raw_mutex::Lock;
use libc::{SIGKILL, SIGTERM};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A process that was started. Dropping it leaves the process alone.
///
/// It may be sent to other OS threads, and joined by several at once, and as often as one likes.
pub struct Child(Arc<ChildRecord>);

/// What is known of a child; its process keeps it until it was seen to end.
pub(super) struct ChildRecord {
    name: Arc<str>,
    daemon: bool,
    pid: u32,
    /// Of which process it is a child.
    parent: u32,
    pidfd: OwnedFd,
    ended: Lock<Option<Ended>>,
}

/// How it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    With(i32),
    /// Somebody else has reaped it.
    Unknown,
}

impl ChildRecord {
    pub(super) fn new(name: Arc<str>, daemon: bool, pid: u32, parent: u32, pidfd: OwnedFd) -> ChildRecord {
        ChildRecord { name, daemon, pid, parent, pidfd, ended: Lock::new(None) }
    }

    pub(super) fn is_daemon(&self) -> bool {
        self.daemon
    }

    fn is_ours(&self) -> bool {
        self.parent == std::process::id()
    }

    /// Reaps it if it has ended. `None`: it has not, or it is another process's.
    pub(super) fn reap(&self) -> Option<Ended> {
        if !self.is_ours() {
            return None;
        }
        let ended = {
            let mut known = self.ended.lock();
            if known.is_some() {
                return *known;
            }
            *known = reap(self.pidfd.as_fd());
            *known
        };
        if ended.is_some() {
            this_process::release(self);
        }
        ended
    }

    /// Waits until it has ended, or `deadline`. `None`: it has not.
    ///
    /// Errors: it is not this process's child; those of the wait.
    fn wait(&self, deadline: Option<Instant>) -> io::Result<Option<i32>> {
        if !self.is_ours() {
            let name = &self.name;
            return Err(io::Error::other(format!("process '{name}' can be joined only by its parent")));
        }
        loop {
            match self.reap() {
                Some(Ended::With(code)) => return Ok(Some(code)),
                Some(Ended::Unknown) => return Err(self.lost()),
                None => {}
            }
            if !wait_readable(self.pidfd.as_fd(), deadline)? {
                return Ok(None);
            }
        }
    }

    fn lost(&self) -> io::Error {
        let name = &self.name;
        io::Error::other(format!(
            "how process '{name}' has ended is not known: its status was taken by somebody else, who waits for any \
             child or ignores SIGCHLD"
        ))
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        let args = (self.pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0);
        // SAFETY: a descriptor of ours, and no information.
        if unsafe { libc::syscall(libc::SYS_pidfd_send_signal, args.0, args.1, args.2, args.3) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        // It has ended, and needs no signal.
        if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
    }

    /// Waits in the kernel: where there is no hub any more to wait by.
    pub(super) fn wait_in_kernel(&self, deadline: Option<Instant>) -> bool {
        while self.reap().is_none() {
            if !pidfd::wait_in_kernel(self.pidfd.as_fd(), deadline).unwrap_or(false) {
                return false;
            }
        }
        true
    }

    /// For the parent's end: an error is nobody's to see.
    pub(super) fn try_signal(&self, signal: i32) {
        let _ = self.signal(signal);
    }
}

impl Drop for ChildRecord {
    fn drop(&mut self) {
        crate::fd_table::forget(self.pidfd.as_raw_fd());
    }
}

impl Child {
    pub(super) fn of(record: Arc<ChildRecord>) -> Child {
        Child(record)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its process id. It is not used again before the child was seen to have ended.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether it was started as a daemon.
    pub fn is_daemon(&self) -> bool {
        self.0.daemon
    }

    /// Whether it has not ended. If it has, it is reaped by this.
    pub fn is_alive(&self) -> bool {
        self.0.reap().is_none() && !pidfd::has_ended(self.0.pidfd.as_fd())
    }

    /// How it has ended: its exit code, or, by signal N, -N. `None` while it is alive, and if that is not known.
    pub fn exit_code(&self) -> Option<i32> {
        match self.0.reap()? {
            Ended::With(code) => Some(code),
            Ended::Unknown => None,
        }
    }

    /// Waits until it has ended; answers as [`exit_code`](Child::exit_code). Blocks the current green thread and no
    /// other; where there is no hub, the OS thread.
    ///
    /// # Errors
    /// This process is not its parent. How it has ended is not known, since somebody else has reaped it.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires.
    pub fn join(&self) -> io::Result<i32> {
        match self.0.wait(None)? {
            Some(code) => Ok(code),
            None => unreachable!("no deadline has passed"),
        }
    }

    /// As [`join`](Child::join), for no longer than `timeout`. `None`: it has not ended.
    ///
    /// # Errors
    /// As for `join`.
    pub fn join_timeout(&self, timeout: Duration) -> io::Result<Option<i32>> {
        self.0.wait(Instant::now().checked_add(timeout))
    }

    /// Whether it has ended; by one system call, and without reaping it.
    pub(super) fn has_ended(&self) -> bool {
        pidfd::has_ended(self.0.pidfd.as_fd())
    }

    /// Waits until it has ended, and blocks the OS thread: for destructors.
    pub(super) fn wait_in_kernel(&self) {
        self.0.wait_in_kernel(None);
    }

    /// Asks it to end, by SIGTERM: if it has no handler for that it ends at once, and what it has started goes on. Does
    /// not wait. No error if it has ended already.
    ///
    /// # Errors
    /// Those of pidfd_send_signal(2).
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(SIGTERM)
    }

    /// Ends it, by SIGKILL. Does not wait. No error if it has ended already.
    ///
    /// # Errors
    /// Those of pidfd_send_signal(2).
    pub fn kill(&self) -> io::Result<()> {
        self.signal(SIGKILL)
    }

    /// Sends it a signal. No error if it has ended already.
    ///
    /// # Errors
    /// There is no such signal, or this process may not send it.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.0.signal(signal)
    }

    /// A descriptor that becomes readable when it ends: for [`io::wait_readable`](crate::io::wait_readable).
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = *self.0.ended.lock();
        f.debug_struct("Child")
            .field("name", &self.0.name)
            .field("pid", &self.0.pid)
            .field("ended", &ended)
            .finish()
    }
}

/// How the child of that descriptor has ended, of which nothing is left after this. `None`: it has not.
fn reap(pidfd: BorrowedFd<'_>) -> Option<Ended> {
    loop {
        // SAFETY: all zeros is a value of it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let id = pidfd.as_raw_fd() as libc::id_t;
        // SAFETY: a descriptor of ours, and room for the answer, of which the kernel fills in what is read.
        let (answer, pid, status) = unsafe {
            let answer = libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::WNOHANG);
            (answer, info.si_pid(), info.si_status())
        };
        if answer == 0 {
            let code = if info.si_code == libc::CLD_EXITED { status } else { -status };
            return (pid != 0).then_some(Ended::With(code));
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Some(Ended::Unknown);
        }
    }
}

/// Waits as whoever calls can: by the hub, or else in the kernel. `false`: the deadline has passed.
fn wait_readable(pidfd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    if try_current().is_none_or(|hub| !hub.can_block()) {
        return pidfd::wait_in_kernel(pidfd, deadline);
    }
    match crate::api::io::wait_readable(pidfd, deadline) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
        waited => waited.map(|()| true),
    }
}
