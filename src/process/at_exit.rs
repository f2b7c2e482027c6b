//! What is done with children when their parent ends: daemons are terminated, the others waited for.

use super::this_process;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long daemons may take to end when they are asked to.
const GRACE: Duration = Duration::from_secs(1);

/// Has the end of this process announced to us, before anybody else. In a child, what its parent was going to do at its
/// end is thereby not done.
pub(super) fn prepare() {
    crate::sys::at_exit::prepare_for(at_exit);
}

/// `exit` was called, or `main` has returned, and the OS threads have ended.
fn at_exit(code: i32) {
    end_children();
    if super::parent().is_some() {
        leave(code);
    }
}

/// The end of a child whose closure has returned.
pub(super) fn end(code: i32) -> ! {
    crate::sys::at_exit::wait_for_threads();
    end_children();
    leave(code)
}

/// Leaves, with nothing of the parent's done a second time.
fn leave(code: i32) -> ! {
    let _ = (io::stdout().flush(), io::stderr().flush());
    // SAFETY: null means all streams; then the process ends.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(code & 255)
    }
}

/// Terminates the daemons, waits for the others, and reaps all. In the kernel, for no hub runs any more.
fn end_children() {
    let (daemons, others): (Vec<_>, Vec<_>) =
        this_process::children().into_iter().partition(|child| child.is_daemon());
    daemons.iter().for_each(|daemon| daemon.try_signal(libc::SIGTERM));
    let deadline = Instant::now() + GRACE;
    for daemon in daemons {
        if !daemon.wait_in_kernel(Some(deadline)) {
            daemon.try_signal(libc::SIGKILL);
            daemon.wait_in_kernel(None);
        }
    }
    others.iter().for_each(|child| _ = child.wait_in_kernel(None));
}
