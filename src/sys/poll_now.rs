//! One look at one descriptor, by poll(2).
//!
//! Next: `sys/timespec.rs`, the times that such calls take.

#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use crate::sys::timespec::ZERO;
use libc::{c_short, pollfd};
use std::os::fd::RawFd;

/// Returns those of `events` that hold for `fd` now; also POLLERR, POLLHUP and, if `fd` is not open, POLLNVAL.
pub fn poll_now(fd: RawFd, events: c_short) -> c_short {
    let mut fd = pollfd { fd, events, revents: 0 };
    // SAFETY: one descriptor of this frame. Past the C library, whose function may be patched.
    unsafe { syscall(libc::SYS_ppoll, [&raw mut fd as usize, 1, &raw const ZERO as usize, 0, 0, 0]) };
    fd.revents
}
