//! Writing to standard error by a bare system call: takes no lock of std, calls no logger, allocates nothing. For signal
//! handlers, and for reports of deadlocks, where such a lock may be held for ever.
//!
//! Next: `sys/abort.rs`.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;

/// Writes `bytes` to standard error. Ignores failures.
pub(crate) fn write(bytes: &[u8]) {
    // SAFETY: the slice is valid for its length.
    unsafe { syscall(libc::SYS_write, [2, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) };
}
