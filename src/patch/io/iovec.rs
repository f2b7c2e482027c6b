//! Lengths and parts of a caller's slices (`iovec`).
//!
//! Next: `patch/io/write_all.rs`, which writes the rest of them.

use libc::iovec;

/// Returns the number of bytes of all slices.
///
/// # Safety
/// There are `count` slices.
pub(super) unsafe fn iovec_len(slices: *const iovec, count: usize) -> usize {
    // SAFETY: the caller's contract.
    unsafe { std::slice::from_raw_parts(slices, count) }.iter().map(|slice| slice.iov_len).sum()
}

/// Returns what is left of the slices after their first `done` bytes.
///
/// # Safety
/// There are `count` slices.
pub(super) unsafe fn iovec_skip(slices: *const iovec, count: usize, mut done: usize) -> Vec<iovec> {
    // SAFETY: the caller's contract.
    let slices = unsafe { std::slice::from_raw_parts(slices, count) };
    let rest = slices.iter().map(|slice| {
        let here = done.min(slice.iov_len);
        done -= here;
        iovec { iov_base: slice.iov_base.wrapping_byte_add(here), iov_len: slice.iov_len - here }
    });
    rest.filter(|slice| slice.iov_len > 0).collect()
}

/// Returns the first `bytes` bytes of the slices.
///
/// # Safety
/// There are `count` slices.
pub(super) unsafe fn iovec_take(slices: *const iovec, count: usize, mut bytes: usize) -> Vec<iovec> {
    // SAFETY: the caller's contract.
    let slices = unsafe { std::slice::from_raw_parts(slices, count) };
    let some = slices.iter().map_while(|slice| {
        let here = bytes.min(slice.iov_len);
        let is_wanted = bytes > 0;
        bytes -= here;
        is_wanted.then_some(iovec { iov_base: slice.iov_base, iov_len: here })
    });
    some.collect()
}
