//! Making OS threads, also after the patch has turned `pthread_create` into the making of green threads.
//!
//! Next: `sys/sigset.rs`, the signals of this crate's own OS threads.

use std::cell::Cell;
use std::io;

thread_local! {
    /// Set while this OS thread makes another one, so that the interposed `pthread_create` passes the call on.
    static MAKING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` on a new OS thread, which is detached.
///
/// Errors: there are too many already, or there is no memory for its stack.
///
/// # Panics
/// When the name contains a 0.
pub(crate) fn spawn_os_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = std::thread::Builder::new().name(name.into());
    let outer = MAKING.replace(true);
    let made = builder.spawn(body);
    MAKING.set(outer);
    made.map(drop)
}

/// Returns whether the calling OS thread is about to make another one.
// only the patch asks
pub(crate) fn is_making_os_thread() -> bool {
    MAKING.get()
}
