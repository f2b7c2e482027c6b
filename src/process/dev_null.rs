//! Descriptors that become nothing, and stay where they are.

use crate::fd_table;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Has that descriptor be one of `/dev/null`, to be read from. What it was is closed; whoever waits for it is told.
///
/// Errors: no descriptor is left for a moment.
pub(super) fn become_null(fd: RawFd) -> io::Result<()> {
    /// stdin is for programs as well that the process becomes.
    const STDIN: RawFd = 0;
    let null = File::open("/dev/null")?;
    let flags = if fd == STDIN { 0 } else { libc::O_CLOEXEC };
    if null.as_raw_fd() == fd {
        // It was closed.
        std::mem::forget(null);
        return Ok(());
    }
    fd_table::forget(fd);
    // SAFETY: whoever owns `fd` still does, and finds it open.
    if unsafe { libc::dup3(null.as_raw_fd(), fd, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
