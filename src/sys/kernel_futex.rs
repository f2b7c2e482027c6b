//! The kernel's futex, for code of this crate that blocks the whole OS thread. The system calls bypass the C library, and
//! with it the patch.
//!
//! Next: `sys/raw_mutex.rs`, the lock that is made of it.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use crate::sys::timespec::timespec_of;
use libc::{clockid_t, timespec};
use std::ptr::from_ref;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Blocks the OS thread until `wake_one` is called for `word`, or for `limit`. Returns at once unless the word is `value`.
/// May return without a reason.
pub(crate) fn wait(word: &AtomicU32, value: u32, limit: Option<Duration>) {
    let limit = limit.map(timespec_of);
    call(word.as_ptr() as usize, libc::FUTEX_WAIT, value, limit.as_ref());
}

/// Blocks as [`wait`] does, until an absolute time of a clock. Returns `false` if that time has come.
pub(crate) fn wait_until(word: &AtomicU32, value: u32, until: Option<(clockid_t, timespec)>) -> bool {
    // The kernel refuses a time before the beginning of the clock. Such a time has passed.
    if until.is_some_and(|(_, time)| time.tv_sec < 0) {
        return false;
    }
    let is_realtime = until.is_some_and(|(clock, _)| clock == libc::CLOCK_REALTIME);
    let operation = libc::FUTEX_WAIT_BITSET | if is_realtime { libc::FUTEX_CLOCK_REALTIME } else { 0 };
    let time = until.as_ref().map(|(_, time)| time);
    call(word.as_ptr() as usize, operation, value, time) != -libc::ETIMEDOUT as isize
}

/// Wakes one OS thread that waits for `word`. The caller has changed the word before.
pub(crate) fn wake_one(word: &AtomicU32) {
    wake_one_at(word.as_ptr() as usize);
}

/// Wakes one OS thread that waits for the word at this address, at which by now there may be anything.
pub(crate) fn wake_one_at(word: usize) {
    call(word, libc::FUTEX_WAKE, 1, None);
}

fn call(word: usize, operation: i32, value: u32, time: Option<&timespec>) -> isize {
    let operation = (operation | libc::FUTEX_PRIVATE_FLAG) as usize;
    let time = time.map_or(0, |time| from_ref(time) as usize);
    // SAFETY: the kernel checks the address of the word. `time` is null or a time that lives during the call.
    unsafe { syscall(libc::SYS_futex, [word, operation, value as usize, time, 0, u32::MAX as usize]) }
}
