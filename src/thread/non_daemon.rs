//! The OS threads for which the process waits before it ends: each [`Thread`](super::Thread) that is no daemon.
//!
//! Next: `thread/timer.rs`.
#![allow(unsafe_code)]

use crate::hub::{try_current, with_blocking_disabled};
use crate::sys::exit_hooks::{self, Stage};
use crate::sys::raw_mutex::Lock;
use crate::sys::tid::gettid;
use crate::sys::{at_fork, kernel_futex};
use std::cell::Cell;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// The kernel's id of the OS thread of each guard. 0: it does not run yet.
static NON_DAEMONS: Lock<Vec<Arc<AtomicI32>>> = Lock::new(Vec::new());

/// Number of non-daemons that have ended. A futex.
static ENDED: AtomicU32 = AtomicU32::new(0);

/// How long a wait for non-daemons lasts before the states of their OS threads are read again.
const RECHECK_INTERVAL: Duration = Duration::from_millis(100);

thread_local! {
    /// Set before all other thread-locals, and so destroyed after them.
    static GUARD: Cell<Option<NonDaemonGuard>> = const { Cell::new(None) };
}

/// Makes the process wait for an OS thread until this is dropped.
pub(super) struct NonDaemonGuard(Arc<AtomicI32>);

impl NonDaemonGuard {
    /// Registers an OS thread that is about to be made.
    pub(super) fn new() -> NonDaemonGuard {
        at_fork::register(reset_after_fork);
        exit_hooks::register(Stage::Threads, |_| wait_for_all());
        with_blocking_disabled(|| {
            let tid = Arc::new(AtomicI32::new(0));
            NON_DAEMONS.lock().push(tid.clone());
            NonDaemonGuard(tid)
        })
    }

    /// Keeps the guard until the last thread-local of the calling OS thread, which is the registered one, is destroyed.
    pub(super) fn keep_until_exit(self) {
        self.0.store(gettid(), SeqCst);
        GUARD.set(Some(self));
    }
}

impl Drop for NonDaemonGuard {
    fn drop(&mut self) {
        NON_DAEMONS.lock().retain(|tid| !Arc::ptr_eq(tid, &self.0));
        ENDED.fetch_add(1, SeqCst);
        kernel_futex::wake_one(&ENDED);
    }
}

/// Waits until all non-daemons have ended, except the calling OS thread. Called when the process ends. If there are any, the
/// calling OS thread's hub refuses messages from then on, because it does not run any more; joiners of its green threads
/// get an error.
pub(crate) fn wait_for_all() {
    let own = gettid();
    let others = || -> Vec<i32> {
        NON_DAEMONS.lock().iter().map(|tid| tid.load(SeqCst)).filter(|&tid| tid != own).collect()
    };
    if others().is_empty() {
        return;
    }
    if let Some(hub) = try_current() {
        hub.close_inbox();
    }
    loop {
        let ended = ENDED.load(SeqCst);
        if others().into_iter().all(has_called_exit) {
            return;
        }
        kernel_futex::wait(&ENDED, ended, Some(RECHECK_INTERVAL));
    }
}

/// Returns whether an OS thread has called `std::process::exit`. The first caller (`main`, by its return) ends the process.
/// std holds all later callers in pause(2) for ever, so there is no use in waiting for them. pause(2) is the system call of
/// that name, or a `ppoll` for nothing: this crate's `pause` is that, and so is the C library's on processors without the
/// system call.
fn has_called_exit(tid: i32) -> bool {
    let call = fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).unwrap_or_default();
    let poll = format!("{} 0x0 0x0 0x0 ", libc::SYS_ppoll);
    call.starts_with(&poll) || cfg!(target_arch = "x86_64") && call.starts_with("34 ")
}

fn reset_after_fork() {
    // SAFETY: the child has one OS thread, and it does not hold the lock.
    unsafe { NON_DAEMONS.reset_after_fork(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_for_all_in_a_child_finds_the_lock_free_that_another_held() {
        drop(NonDaemonGuard::new());
        NON_DAEMONS.seize();
        // SAFETY: the child uses no lock but this one, and ends.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::alarm(20);
                wait_for_all();
                libc::_exit(0);
            }
            NON_DAEMONS.release();
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            assert_eq!(status, 0);
        }
    }
}
