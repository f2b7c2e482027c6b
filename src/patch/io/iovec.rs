//! A caller's slices (`iovec`): their length, and parts of them.
//!
//! Next: `patch/io/transfer.rs`, which reads or writes the rest of them.

use libc::iovec;

/// A caller's slices. Only the kernel knows whether they are where they are said to be. So they are looked at after the
/// kernel has read them.
#[derive(Clone, Copy)]
pub(super) struct Slices {
    pub(super) first: *const iovec,
    pub(super) count: usize,
}

impl Slices {
    /// The result is good for as long as `slices`.
    pub(super) fn of(slices: &[iovec]) -> Slices {
        Slices { first: slices.as_ptr(), count: slices.len() }
    }

    /// Returns the number of bytes of all slices.
    ///
    /// # Safety
    /// There are `count` slices.
    pub(super) unsafe fn len(self) -> usize {
        // SAFETY: the caller's contract.
        unsafe { std::slice::from_raw_parts(self.first, self.count) }.iter().map(|slice| slice.iov_len).sum()
    }

    /// Returns up to `bytes` bytes of the slices, after their first `done` bytes.
    ///
    /// # Safety
    /// There are `count` slices.
    pub(super) unsafe fn part(self, mut done: usize, mut bytes: usize) -> Vec<iovec> {
        // SAFETY: the caller's contract.
        let slices = unsafe { std::slice::from_raw_parts(self.first, self.count) };
        let parts = slices.iter().map(|slice| {
            let skipped = done.min(slice.iov_len);
            let iov_len = bytes.min(slice.iov_len - skipped);
            done -= skipped;
            bytes -= iov_len;
            iovec { iov_base: slice.iov_base.wrapping_byte_add(skipped), iov_len }
        });
        parts.filter(|part| part.iov_len > 0).collect()
    }
}
