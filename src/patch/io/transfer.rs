//! Reading or writing all bytes, as the kernel does for a blocking descriptor.
//!
//! Next: `patch/io/blocking.rs`, the loop of each piece.

use super::blocking::retry;
use super::fd_mode::mode;
use super::iovec::Slices;
use crate::hub::{Hub, Tracking};
use crate::ids::Direction;
use crate::patch::symbol::failed;
use std::os::fd::RawFd;

/// Calls `piece`, with the number of bytes done so far, by [`retry`], until all are done. `len` returns their number,
/// and is called after a piece. A blocking descriptor takes all, unless it is interrupted in between. One that the
/// program has made non-blocking takes what it can.
///
/// If it is closed in the middle of a write, returns EBADF whatever was written: a caller that gets the number of bytes
/// would go on with a descriptor number that may be another's by now. The number of bytes that were read is returned.
pub(super) fn transfer_all(
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    tracking: Tracking,
    len: impl Fn() -> usize,
    piece: impl Fn(usize) -> isize,
) -> isize {
    let mut done = 0;
    loop {
        match retry(hub, fd, direction, tracking, || piece(done)) {
            more @ 1.. if done + (more as usize) < len() && !is_nonblocking(hub, fd, tracking) => {
                done += more as usize
            }
            more @ 0.. => return (done + more as usize) as isize,
            error if done == 0 || (direction == Direction::Write && error == failed(libc::EBADF)) => {
                return error;
            }
            _ => return done as isize,
        }
    }
}

/// [`transfer_all`], of slices. `piece` gets the number of bytes done so far, and the slices that are left.
///
/// # Safety
/// As readv(2) or writev(2), for what `piece` does with the slices.
pub(super) unsafe fn transfer_slices(
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    tracking: Tracking,
    slices: Slices,
    piece: impl Fn(usize, Slices) -> isize,
) -> isize {
    // SAFETY: by now the kernel has used the slices for the first piece.
    let len = || unsafe { slices.len() };
    transfer_all(hub, fd, direction, tracking, len, |done| {
        if done == 0 {
            return piece(0, slices);
        }
        // SAFETY: as above.
        let left = unsafe { slices.part(done, usize::MAX) };
        piece(done, Slices::of(&left))
    })
}

fn is_nonblocking(hub: &Hub, fd: RawFd, tracking: Tracking) -> bool {
    if tracking == Tracking::MayBeStale {
        hub.revalidate_fd(fd);
    }
    mode(hub, fd).is_nonblocking()
}
