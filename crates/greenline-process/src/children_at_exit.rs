//! The end of a process: its daemons are terminated, and its other children are waited for.
//!
//! Next: `this_process.rs`, what a process knows of itself.

use super::child;
use super::this_process::parent;
use greenline::internals::{self, wait_for_os_threads};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long daemons may take to end after SIGTERM, until they get SIGKILL.
const TERMINATION_GRACE: Duration = Duration::from_secs(1);

/// Registers the exit work of this process, to run before all other exit work. A child thereby skips the exit work that
/// its parent has registered.
pub(super) fn install() {
    internals::at_exit(at_exit);
}

/// Runs after `exit` was called or `main` has returned, once the OS threads have ended.
fn at_exit(code: i32) {
    end_children();
    if parent().is_some() {
        leave(code);
    }
}

/// Ends a child whose closure has returned.
pub(super) fn exit_child(code: i32) -> ! {
    wait_for_os_threads();
    end_children();
    leave(code)
}

/// Ends the process without the exit work of its parent.
fn leave(code: i32) -> ! {
    let _ = (io::stdout().flush(), io::stderr().flush());
    // SAFETY: `fflush` flushes all streams if it is given null. The process then ends.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(code & 255)
    }
}

/// Terminates the daemons, waits for the other children, and reaps all. It blocks the OS thread, because no hub runs any
/// more.
fn end_children() {
    let children = child::children();
    let daemons = || children.iter().filter(|child| child.is_daemon());
    // An error is ignored: the process ends, and no caller could see it.
    daemons().for_each(|daemon| _ = daemon.terminate());
    let deadline = Instant::now() + TERMINATION_GRACE;
    daemons().filter(|daemon| !daemon.wait_in_kernel(Some(deadline))).for_each(|daemon| _ = daemon.kill());
    children.iter().for_each(|child| _ = child.wait_in_kernel(None));
}
