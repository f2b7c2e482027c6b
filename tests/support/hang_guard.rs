//! Ends a test program that hangs.

use super::time::HANG_TIMEOUT;
use greenline::thread::Thread;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

/// Aborts the test program, with the name of the OS thread that made the guard, if it is not dropped in time.
pub(crate) struct HangGuard {
    _dropped: Sender<()>,
}

impl HangGuard {
    pub(crate) fn new() -> HangGuard {
        let (dropped, is_dropped) = channel();
        let name = std::thread::current().name().unwrap_or("main").to_owned();
        let abort_on_timeout = move || {
            if is_dropped.recv_timeout(HANG_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{name} hangs");
                std::process::abort();
            }
        };
        drop(Thread::new(abort_on_timeout).daemon(true).start().unwrap());
        HangGuard { _dropped: dropped }
    }
}
