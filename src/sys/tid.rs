//! The kernel's id of the calling OS thread.
//!
//! Next: `sys/kernel_futex.rs`, where an OS thread waits.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;

/// Returns the kernel's id of the calling OS thread. The system call bypasses the C library, so signal handlers may call
/// this function.
pub fn gettid() -> i32 {
    // SAFETY: the system call has no arguments.
    unsafe { syscall(libc::SYS_gettid, [0; 6]) as i32 }
}
