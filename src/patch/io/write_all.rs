//! Writing all bytes, as the kernel does for a blocking descriptor.
//!
//! Next: `patch/io/blocking.rs`, the loop of each piece.

use super::blocking::retry;
use super::fd_mode::mode;
use super::iovec::{iovec_len, iovec_skip};
use crate::hub::{Hub, Tracking};
use crate::ids::Direction;
use crate::patch::symbol::failed;
use libc::iovec;
use std::os::fd::RawFd;

/// Calls `piece`, with the number of bytes written so far, by [`retry`], until all `len` bytes are written. A blocking
/// descriptor takes all, unless it is interrupted in between. One that the program has made non-blocking takes what it
/// can. If it is closed in between, returns EBADF whatever was written: a caller that gets the number of bytes would
/// go on with a descriptor number that may be another's by now.
pub(super) fn write_all(
    hub: &Hub,
    fd: RawFd,
    len: usize,
    tracking: Tracking,
    piece: impl Fn(usize) -> isize,
) -> isize {
    write_rest(hub, fd, 0, len, tracking, piece)
}

/// [`write_all`], after `written` bytes.
fn write_rest(
    hub: &Hub,
    fd: RawFd,
    mut written: usize,
    len: usize,
    tracking: Tracking,
    piece: impl Fn(usize) -> isize,
) -> isize {
    loop {
        match retry(hub, fd, Direction::Write, tracking, || piece(written)) {
            more @ 1.. if written + (more as usize) < len && !is_nonblocking(hub, fd, tracking) => {
                written += more as usize
            }
            more @ 0.. => return (written + more as usize) as isize,
            error if written > 0 && error != failed(libc::EBADF) => return written as isize,
            error => return error,
        }
    }
}

/// [`write_all`], of slices. `piece` gets the number of bytes written so far, and the slices that are left. Only the
/// kernel knows whether the slices are where they are said to be. So this function looks at them after the kernel has
/// read from them.
///
/// # Safety
/// As writev(2), for what `piece` does with them.
pub(super) unsafe fn write_all_slices(
    hub: &Hub,
    fd: RawFd,
    slices: *const iovec,
    count: usize,
    tracking: Tracking,
    piece: impl Fn(usize, *const iovec, usize) -> isize,
) -> isize {
    let first = retry(hub, fd, Direction::Write, tracking, || piece(0, slices, count));
    if first <= 0 {
        return first;
    }
    // SAFETY: the kernel has read them.
    let len = unsafe { iovec_len(slices, count) };
    if first as usize == len || is_nonblocking(hub, fd, tracking) {
        return first;
    }
    write_rest(hub, fd, first as usize, len, tracking, |written| {
        // SAFETY: as above.
        let left = unsafe { iovec_skip(slices, count, written) };
        piece(written, left.as_ptr(), left.len())
    })
}

fn is_nonblocking(hub: &Hub, fd: RawFd, tracking: Tracking) -> bool {
    if tracking == Tracking::MayBeStale {
        hub.revalidate_fd(fd);
    }
    mode(hub, fd).nonblocking
}
