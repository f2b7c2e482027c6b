//! fork(2), from one process to two.
//!
//! At the fork, three things hold. There is one OS thread. The buffers of stdout, stderr and C's streams are empty, because
//! the child would print its copy of them a second time. The caller itself holds std's locks of stdout and stderr, which
//! the child must find free.
//!
//! Next: `child_main.rs`, what the child does.

use super::child::{self, Child};
use super::children_at_exit;
use super::descriptor::Descriptor;
use super::this_process::{self, ChildSpec};
use greenline::internals::{QuiescentThreads, can_block, hold_quiescent, with_blocking_disabled};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long `fork` waits for other OS threads. A joined thread may still be exiting. The watchdog may be starting, or in the
/// middle of a report, on a loaded machine.
const FORK_WAIT: Duration = Duration::from_secs(2);

/// Makes a child. This function returns the child in the parent, and `None` in the child.
pub(super) fn fork(spec: &ChildSpec) -> io::Result<Option<Child>> {
    // Reaps the children that have ended, some of which are perhaps never joined.
    child::active_children();
    children_at_exit::install();
    this_process::check_may_start()?;
    let deadline = Instant::now() + FORK_WAIT;
    let mut backoff = Duration::from_micros(200);
    loop {
        // The OS threads are checked first, because one of them may hold the locks of stdout and stderr for ever.
        match with_blocking_disabled(|| check_threads(&hold_quiescent())).and_then(|()| flush_and_fork(spec))
        {
            Err(error) if is_other_threads(&error) && Instant::now() < deadline => sleep(backoff),
            result => return result,
        }
        backoff = (2 * backoff).min(Duration::from_millis(20));
    }
}

/// Forks with nothing left in std's and C's buffers.
fn flush_and_fork(spec: &ChildSpec) -> io::Result<Option<Child>> {
    // They are locked until the fork is done. If a green thread had locked them, its copy in the child would stay locked.
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    // An error is ignored: there is no better place for what cannot be written.
    let _ = (out.flush(), err.flush());
    // SAFETY: `fflush` flushes all streams if it is given null.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    // No other green thread runs until the fork is done.
    with_blocking_disabled(|| fork_if_single_threaded(spec))
}

fn fork_if_single_threaded(spec: &ChildSpec) -> io::Result<Option<Child>> {
    let halted = hold_quiescent();
    check_threads(&halted)?;
    let info = spec.describe(child::next_number(), Descriptor::pidfd(std::process::id())?);
    // SAFETY: there is no other OS thread that could hold a lock. The child does not return to the parent's frames,
    // because `Process::start` does not.
    let pid = unsafe { greenline::internals::fork()? };
    if pid == 0 {
        halted.forget();
        child::children();
        this_process::reset_after_fork(info);
        return Ok(None);
    }
    // Closes the descriptor that stands for the parent, so that at least one is left for the child's.
    drop(info.parent);
    let pidfd = Descriptor::pidfd(pid).inspect_err(|error| {
        // ESRCH: the child has ended, and SIGCHLD is ignored, so its number may be another process's already.
        if error.raw_os_error() != Some(libc::ESRCH) {
            // SAFETY: `pid` is a child of this process that was not reaped, and for which there is no descriptor.
            unsafe {
                libc::kill(pid as i32, libc::SIGKILL);
                libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
            }
        }
    })?;
    Ok(Some(Child::register(info.current, pid, pidfd)))
}

/// Errors: there are other OS threads.
fn check_threads(threads: &QuiescentThreads) -> io::Result<()> {
    let names = threads.others()?;
    if names.is_empty() {
        return Ok(());
    }
    let (count, first) = (names.len(), names[..names.len().min(5)].join("', '"));
    let more = if count > 5 { ", ..." } else { "" };
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "no process can be started while this one has other OS threads, because what such a thread has locked \
             would stay locked in the child. It has {count} ('{first}'{more}). Start processes first, or end and join \
             the threads. Green threads do no harm"
        ),
    ))
}

/// Returns whether the error is the one of `check_threads`, and not the kernel's.
fn is_other_threads(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported && error.raw_os_error().is_none()
}

/// Lets time pass until other OS threads have ended.
fn sleep(duration: Duration) {
    if can_block() {
        greenline::sleep(duration);
    } else {
        std::thread::sleep(duration);
    }
}
