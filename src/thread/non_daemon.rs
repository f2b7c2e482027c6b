//! OS threads that are waited for when the process ends: those of [`Thread`](super::Thread) that are no daemons.
#![allow(unsafe_code)]

use crate::hub::{try_current, with_blocking_disabled};
use crate::sys::exit_hooks::{self, Stage};
use crate::sys::raw_mutex::Lock;
use crate::sys::tid::gettid;
use crate::sys::{at_fork, kernel_futex};
use std::cell::Cell;
use std::fs;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

static LIVING: Lock<Vec<Living>> = Lock::new(Vec::new());

/// Counts those that have ended: what is waited by.
static ENDED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Set before anything else, and so destroyed after all other thread-locals.
    static LAST: Cell<Option<NonDaemonGuard>> = const { Cell::new(None) };
}

struct Living {
    number: u64,
    /// 0 until it runs.
    tid: i32,
}

/// One that is waited for until this is dropped.
pub(super) struct NonDaemonGuard(u64);

impl NonDaemonGuard {
    /// From now on one more is.
    pub(super) fn new() -> NonDaemonGuard {
        at_fork::register(reset_after_fork);
        exit_hooks::register(Stage::Threads, |_| wait_for_all());
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, SeqCst);
        with_blocking_disabled(|| LIVING.lock().push(Living { number, tid: 0 }));
        NonDaemonGuard(number)
    }

    /// It is the OS thread that calls, until the last of its thread-locals is gone.
    pub(super) fn begin(self) {
        LIVING
            .lock()
            .iter_mut()
            .filter(|living| living.number == self.0)
            .for_each(|living| living.tid = gettid());
        LAST.set(Some(self));
    }
}

impl Drop for NonDaemonGuard {
    fn drop(&mut self) {
        LIVING.lock().retain(|living| living.number != self.0);
        ENDED.fetch_add(1, SeqCst);
        kernel_futex::wake_one(&ENDED);
    }
}

/// Waits until all but the calling OS thread have ended. At the end of the process: the calling OS thread's hub does not run
/// any more, and joiners of its green threads learn that.
pub(crate) fn wait_for_all() {
    let own = gettid();
    if !LIVING.lock().iter().any(|living| living.tid != own) {
        return;
    }
    if let Some(hub) = try_current() {
        hub.close_inbox();
    }
    loop {
        let ended = ENDED.load(SeqCst);
        let others: Vec<i32> =
            LIVING.lock().iter().map(|living| living.tid).filter(|&tid| tid != own).collect();
        if others.into_iter().all(has_called_exit) {
            return;
        }
        kernel_futex::wait(&ENDED, ended, Some(Duration::from_millis(100)));
    }
}

/// Whether it has called `std::process::exit`. The first to call it (`main`, by its return) ends the process; std leaves
/// all others in pause(2) for ever, and there is no use in waiting for them. That is the system call of that name, or
/// a `ppoll` for nothing: there ours, and everywhere that of processors without the other one.
fn has_called_exit(tid: i32) -> bool {
    let call = fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).unwrap_or_default();
    let poll = format!("{} 0x0 0x0 0x0 ", libc::SYS_ppoll);
    call.starts_with(&poll) || cfg!(target_arch = "x86_64") && call.starts_with("34 ")
}

/// In the child of a fork there are none.
fn reset_after_fork() {
    // SAFETY: the one OS thread of the child, which is not in here.
    unsafe { LIVING.reset_after_fork(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_for_all_in_a_child_finds_the_lock_free_that_another_held() {
        drop(NonDaemonGuard::new());
        LIVING.seize();
        // SAFETY: the child uses no lock but this one, and ends.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::alarm(20);
                wait_for_all();
                libc::_exit(0);
            }
            LIVING.release();
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            assert_eq!(status, 0);
        }
    }
}
