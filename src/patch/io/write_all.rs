//! Writing all of it, as the kernel does for who waits there.
#![allow(unsafe_code)]

use super::fd_mode::is_nonblocking;
use super::retry::retry;
use super::{failed, file};
use crate::hub::Hub;
use crate::ids::Direction;
use libc::iovec;
use std::os::fd::RawFd;

/// Has `piece`, which is told how much has gone, send the rest by [`retry`], until all `len` bytes have: a blocking
/// descriptor takes all, unless it is interrupted in between; one that the program has made non-blocking, what it can.
/// Closed in between, it is EBADF whatever has gone: who were told how much would go on with a number that may be
/// another's by now.
pub(super) fn send_whole(
    hub: &Hub,
    fd: RawFd,
    len: usize,
    foreign: bool,
    piece: impl Fn(usize) -> isize,
) -> isize {
    send_rest(hub, fd, 0, len, foreign, piece)
}

/// The same, of which so many bytes have gone.
fn send_rest(
    hub: &Hub,
    fd: RawFd,
    mut gone: usize,
    len: usize,
    foreign: bool,
    piece: impl Fn(usize) -> isize,
) -> isize {
    loop {
        match retry(hub, fd, Direction::Write, foreign, || piece(gone)) {
            more @ 1.. if gone + (more as usize) < len && !is_nonblocking(hub, fd, foreign) => {
                gone += more as usize
            }
            more @ 0.. => return (gone + more as usize) as isize,
            error if gone > 0 && error != failed(libc::EBADF) => return gone as isize,
            error => return error,
        }
    }
}

/// [`send_whole`], of slices. `piece` is told how much has gone, and what is left of them. Whether they are where they are
/// said to be only the kernel knows: so they are looked at when it has read from them.
///
/// # Safety
/// As writev(2), for what `piece` does with them.
pub(super) unsafe fn send_slices(
    hub: &Hub,
    fd: RawFd,
    slices: *const iovec,
    count: usize,
    foreign: bool,
    piece: impl Fn(usize, *const iovec, usize) -> isize,
) -> isize {
    let first = retry(hub, fd, Direction::Write, foreign, || piece(0, slices, count));
    if first <= 0 {
        return first;
    }
    // SAFETY: the caller's; the kernel has read them.
    let len = unsafe { file::length(slices, count) };
    if first as usize == len || is_nonblocking(hub, fd, foreign) {
        return first;
    }
    send_rest(hub, fd, first as usize, len, foreign, |gone| {
        // SAFETY: as above.
        let left = unsafe { file::left(slices, count, gone) };
        piece(gone, left.as_ptr(), left.len())
    })
}
