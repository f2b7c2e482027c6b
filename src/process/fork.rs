//! From one process to two.
//!
//! What has to hold before: there is one OS thread, nothing is left in a buffer that the child would have a copy of,
//! and nobody but us holds std's locks of stdout and stderr, which the child is to find free.

use super::child::{Child, Record};
use super::{ending, own};
use crate::hub;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;

/// On which side of the fork we are.
pub(super) enum Side {
    Parent(Child),
    /// What the child is was settled by the parent; the rest is `inside.rs`.
    Child,
}

/// Makes a child, which returns from here as well.
pub(super) fn fork(name: Option<String>, daemon: bool) -> io::Result<Side> {
    // Those whose end nobody has asked for.
    super::active_children();
    ending::prepare();
    let parent = std::process::id();
    let plan = own::plan(name, daemon, pidfd_of(parent)?)?;
    // Held over the fork: so that no green thread has them, whose copy would be locked in the child for ever.
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    // What cannot be written now cannot be helped.
    let _ = (out.flush(), err.flush());
    // SAFETY: null means all streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    check_threads()?;
    // SAFETY: one OS thread. The child does not leave the frames below: `inside::run` does not return.
    let pid = unsafe { hub::fork()? };
    drop((out, err));
    if pid == 0 {
        own::begin_anew(plan);
        return Ok(Side::Child);
    }
    let record = match pidfd_of(pid) {
        Ok(pidfd) => Arc::new(Record::new(plan.name, plan.daemon, pid, parent, pidfd)),
        Err(error) => return Err(undo(pid, error)),
    };
    own::adopt(&record);
    Ok(Side::Parent(Child::of(record)))
}

/// A descriptor that stands for a process.
fn pidfd_of(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        let error = io::Error::last_os_error();
        return Err(io::Error::new(error.kind(), format!("no descriptor for process {pid}: {error}")));
    }
    crate::fds::forget(fd as i32);
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A child that cannot be waited for is not to be.
fn undo(pid: u32, error: io::Error) -> io::Error {
    // SAFETY: a child of ours that nobody has reaped.
    unsafe {
        libc::kill(pid as i32, libc::SIGKILL);
        libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
    }
    error
}

/// Errors: there are other OS threads.
fn check_threads() -> io::Result<()> {
    let others: Vec<String> = std::fs::read_dir("/proc/self/task")?
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .filter(|name| name != "greenline-watch")
        .collect();
    if others.len() > 1 {
        return Err(io::Error::other(format!(
            "a process cannot be started while this one has {} OS threads ({}): what another has locked would be \
             locked in the child for ever. Start processes first, or join the OS threads; green threads do no harm",
            others.len(),
            others.join(", ")
        )));
    }
    Ok(())
}
