//! What is done with children when their parent ends: daemons are terminated, the others waited for.

use super::child::Record;
use super::own;
use libc::{c_int, c_void};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a daemon may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(1);

/// The process that has our handler: others have a copy of this word, and of the handler.
static PREPARED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" {
    /// glibc's: as atexit(3), with the exit code. Not in the libc crate.
    fn on_exit(handler: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
}

/// Has the end of this process announced to us.
pub(super) fn prepare() {
    let pid = std::process::id();
    if PREPARED.swap(pid, Relaxed) != pid {
        // SAFETY: a function that is always there. If there is no memory for it, children are not looked after.
        unsafe { on_exit(at_exit, std::ptr::null_mut()) };
    }
}

/// The same in a child, in any case: handlers are called in the reverse of the order in which they were registered, and
/// the parent's must not be called here.
pub(super) fn prepare_in_child() {
    PREPARED.store(0, Relaxed);
    prepare();
}

/// `exit` was called, or `main` has returned. By now there are no thread-locals to be used.
extern "C" fn at_exit(status: c_int, _: *mut c_void) {
    if PREPARED.load(Relaxed) != std::process::id() {
        // A child that C's `fork` has made.
        return;
    }
    if super::parent().is_some() {
        leave(status);
    }
    end_children();
}

/// Ends a child, and nothing of its parent's is done a second time.
pub(super) fn leave(code: i32) -> ! {
    end_children();
    let _ = (io::stdout().flush(), io::stderr().flush());
    // SAFETY: null means all streams; then the process ends.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(code & 255)
    }
}

/// Terminates the daemons, waits for the others, and reaps all.
fn end_children() {
    let children = own::with(|own| own.children());
    let (daemons, others): (Vec<Arc<Record>>, _) = children.into_iter().partition(|child| child.is_daemon());
    daemons.iter().for_each(|daemon| daemon.try_signal(libc::SIGTERM));
    let deadline = Instant::now() + GRACE;
    for daemon in daemons {
        if !daemon.wait_in_kernel(Some(deadline)) {
            daemon.try_signal(libc::SIGKILL);
            daemon.wait_in_kernel(None);
        }
    }
    for child in others {
        child.wait_in_kernel(None);
    }
}
