//! The kernel's futex, for code of this crate that blocks the whole OS thread. The system calls bypass the C library, and
//! with it the patch.
//!
//! Next: `sys/raw_mutex.rs`, the lock that is made of it.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use std::ptr::null;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Blocks the OS thread until `wake_one` is called for `word`, or for `limit`. Returns at once unless the word is `value`.
/// May return without a reason.
pub(crate) fn wait(word: &AtomicU32, value: u32, limit: Option<Duration>) {
    let limit = limit
        .map(|limit| libc::timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ });
    let limit = limit.as_ref().map_or(null(), |limit| &raw const *limit);
    call(word, libc::FUTEX_WAIT, value, limit);
}

/// Wakes one OS thread that waits for `word`. The caller has changed the word before.
pub(crate) fn wake_one(word: &AtomicU32) {
    call(word, libc::FUTEX_WAKE, 1, null());
}

fn call(word: &AtomicU32, operation: i32, value: u32, limit: *const libc::timespec) {
    let operation = (operation | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the borrow keeps the word alive; `limit` is null or points to a time of the caller.
    unsafe {
        syscall(libc::SYS_futex, [word.as_ptr() as usize, operation, value as usize, limit as usize, 0, 0])
    };
}
