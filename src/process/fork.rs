//! From one process to two.
//!
//! What has to hold: there is one OS thread, nothing is left in a buffer that the child would have a copy of, and nobody
//! but us holds std's locks of stdout and stderr, which the child is to find free.

use super::child::{Child, ChildRecord};
use super::this_process::{self, ChildSpec};
use super::{Refused, at_exit, pidfd};
use crate::hub::{self, try_current, with_blocking_disabled};
use crate::thread::{self, QuiescentThreads};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long OS threads may take to end that have been joined, or the watchdog to come to rest: it may be about to begin,
/// or in the middle of a report, on a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(2);

/// On which side of the fork we are.
pub(super) enum ForkResult {
    Parent(Child),
    Child,
}

/// Makes a child, which returns from here as well.
pub(super) fn fork(name: Option<String>, daemon: bool) -> io::Result<ForkResult> {
    // Those whose end nobody has asked for.
    this_process::children().iter().for_each(|child| _ = child.reap());
    at_exit::prepare();
    let until = Instant::now() + PATIENCE;
    let mut moment = Duration::from_micros(200);
    loop {
        // First, for one that is there may have the locks that are taken next, and keep them.
        let answer = with_blocking_disabled(|| thread::hold_quiescent().check())
            .and_then(|()| flush_and_fork(name.as_deref(), daemon));
        match answer {
            Err(Refused::Threads(_)) if Instant::now() < until => pause(moment),
            answer => return Ok(answer?),
        }
        moment = (2 * moment).min(Duration::from_millis(20));
    }
}

/// Forks, with nothing left in std's and C's buffers.
fn flush_and_fork(name: Option<&str>, daemon: bool) -> Result<ForkResult, Refused> {
    // Held over the fork: so that no green thread has them, whose copy would be locked in the child for ever.
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    // What cannot be written now cannot be helped.
    let _ = (out.flush(), err.flush());
    // SAFETY: null means all streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    // From here on until there are two, nobody else runs.
    with_blocking_disabled(|| try_to(name, daemon))
}

/// Forks, if there are no other OS threads.
fn try_to(name: Option<&str>, daemon: bool) -> Result<ForkResult, Refused> {
    let halted = thread::hold_quiescent();
    halted.check()?;
    let own = std::process::id();
    let plan = this_process::plan(name, daemon, pidfd::open(own)?)?;
    // SAFETY: no other OS thread has locked anything. The child does not return to the parent's frames, for
    // `Process::start` does not.
    let pid = unsafe { hub::fork()? };
    if pid == 0 {
        halted.forget();
        this_process::reset_after_fork(plan);
        return Ok(ForkResult::Child);
    }
    Ok(ForkResult::Parent(Child::of(adopt(plan, pid, own)?)))
}

impl QuiescentThreads {
    /// Errors: there are other OS threads.
    fn check(&self) -> Result<(), Refused> {
        let others = self.others()?;
        if others.is_empty() { Ok(()) } else { Err(Refused::Threads(others)) }
    }
}

/// Takes down who the child is.
fn adopt(plan: ChildSpec, pid: u32, own: u32) -> io::Result<Arc<ChildRecord>> {
    let ChildSpec { name, daemon, parent, .. } = plan;
    // Its descriptor makes room for the child's: so there is one left.
    drop(parent);
    match pidfd::open(pid) {
        Ok(pidfd) => {
            let record = Arc::new(ChildRecord::new(name, daemon, pid, own, pidfd));
            this_process::adopt(&record);
            Ok(record)
        }
        Err(error) => {
            undo(pid, &error);
            Err(error)
        }
    }
}

/// A child that cannot be waited for is not to be.
fn undo(pid: u32, error: &io::Error) {
    if error.raw_os_error() == Some(libc::ESRCH) {
        // It has ended, and is nobody's any more, for SIGCHLD is ignored. The number may be another's.
        return;
    }
    // SAFETY: a child of ours that nobody has reaped.
    unsafe {
        libc::kill(pid as i32, libc::SIGKILL);
        libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
    }
}

/// Lets some time pass, for others to end.
fn pause(moment: Duration) {
    match try_current().filter(|hub| hub.can_block()) {
        Some(_) => crate::api::sleep::sleep(moment),
        None => std::thread::sleep(moment),
    }
}
