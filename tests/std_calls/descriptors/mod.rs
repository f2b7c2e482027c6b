//! Descriptors of all kinds in green threads, messages by them, and numbers that are used again: as on an OS thread that
//! is not patched.

mod close;
mod kinds;
mod message;
pub(crate) mod number;

use std::fs::File;
use std::os::fd::{FromRawFd, RawFd};

type Answer = Result<i64, i32>;

/// Takes over a descriptor that the kernel has just made.
fn owned(fd: RawFd) -> File {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor is open, and the caller has made it.
    unsafe { File::from_raw_fd(fd) }
}

/// Receives one byte on a descriptor that may be closed meanwhile.
fn receive_byte(fd: RawFd) -> Answer {
    let mut byte = 0u8;
    // SAFETY: the byte is in this frame.
    crate::support::differential::answer(unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, 0) })
}

/// Calls a function that makes two descriptors.
fn pair(make: impl FnOnce(*mut RawFd) -> i64) -> (RawFd, RawFd) {
    let mut fds = [0; 2];
    assert_eq!(make(fds.as_mut_ptr()), 0);
    (fds[0], fds[1])
}
