//! OS threads that are waited for when the process ends: those of [`Thread`](super::Thread) that are no daemons.
#![allow(unsafe_code)]

use crate::hub::status::gettid;
use crate::hub::with_blocking_disabled;
use crate::sys::raw_mutex::{Lock, wait_for_change, wake_by};
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
        wake_by(&ENDED);
    }
}

/// Waits until all have ended but who calls. At the end of the process: there may be no hub to wait by.
pub(crate) fn wait_for_all() {
    let own = gettid();
    loop {
        let ended = ENDED.load(SeqCst);
        let others: Vec<i32> =
            LIVING.lock().iter().map(|living| living.tid).filter(|&tid| tid != own).collect();
        if others.into_iter().all(has_called_exit) {
            return;
        }
        wait_for_change(ENDED.as_ptr() as usize, ended, Duration::from_millis(100));
    }
}

/// Whether anybody would be waited for.
pub(crate) fn are_there_others() -> bool {
    let own = gettid();
    LIVING.lock().iter().any(|living| living.tid != own)
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
pub(super) fn reset_after_fork() {
    // SAFETY: the one OS thread of the child, which is not in here.
    unsafe { LIVING.reset_after_fork(Vec::new()) };
}

/// For a test: somebody else has the list.
#[cfg(test)]
pub(super) fn seize() {
    LIVING.seize();
}

/// # Safety
/// It was seized.
#[cfg(test)]
pub(super) unsafe fn release() {
    // SAFETY: the caller's.
    unsafe { LIVING.release() };
}
