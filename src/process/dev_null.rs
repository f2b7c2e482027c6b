//! Descriptors that are replaced by `/dev/null` and keep their number.
//!
//! Next: `process/child_main.rs`, which replaces stdin.

use crate::fd_table;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Closes `fd` and makes its number a descriptor of `/dev/null`. Green threads that wait for `fd` are woken.
///
/// Errors: no descriptor is left for the moment that this takes.
pub(super) fn replace_by_dev_null(fd: RawFd) -> io::Result<()> {
    /// stdin stays open on `exec`.
    const STDIN: RawFd = 0;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let flags = if fd == STDIN { 0 } else { libc::O_CLOEXEC };
    if null.as_raw_fd() == fd {
        // `fd` was closed, so the kernel has given its number to `null`.
        std::mem::forget(null);
        return Ok(());
    }
    fd_table::invalidate(fd);
    // SAFETY: the owner of `fd` keeps owning an open descriptor of that number.
    if unsafe { libc::dup3(null.as_raw_fd(), fd, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
