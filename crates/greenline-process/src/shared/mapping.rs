//! Anonymous memory mappings.
//!
//! Next: `shared/mutex.rs`, the lock in such memory.

use greenline::internals::page_size;
use std::io;
use std::ops::Range;
use std::ptr::{NonNull, null_mut};

/// A mapping of zeros. Dropping it unmaps it from this process; the last process frees the memory.
pub(super) struct Mapping {
    /// Its first address, the start of a page.
    pub(super) start: NonNull<u8>,
    pub(super) size: usize,
}

// SAFETY: an address and a length. Readers and writers of the memory synchronise themselves.
unsafe impl Send for Mapping {}
// SAFETY: the same.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `size` bytes that children share after a fork. They cost address space, and memory only where they are
    /// written to.
    ///
    /// Errors: no address space, or no mapping left.
    pub(super) fn shared(size: usize) -> io::Result<Mapping> {
        Mapping::new(size, libc::MAP_SHARED | libc::MAP_NORESERVE).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot map {size} bytes of shared memory: {error}"))
        })
    }

    /// Maps a page that is zeros again in a child after a fork (MADV_WIPEONFORK, Linux 4.14).
    pub(super) fn wiped_on_fork() -> io::Result<Mapping> {
        let page = Mapping::new(page_size(), libc::MAP_PRIVATE)?;
        // SAFETY: nothing is in the mapping yet.
        match unsafe { libc::madvise(page.start.as_ptr().cast(), page.size, libc::MADV_WIPEONFORK) } {
            0 => Ok(page),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn new(size: usize, flags: i32) -> io::Result<Mapping> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, flags | libc::MAP_ANONYMOUS);
        // SAFETY: the kernel chooses an address where nothing is mapped.
        let start = unsafe { libc::mmap(null_mut(), size, protection, flags, -1, 0) };
        match NonNull::new(start.cast()).filter(|_| start != libc::MAP_FAILED) {
            Some(start) => Ok(Mapping { start, size }),
            None => Err(io::Error::last_os_error()),
        }
    }

    /// Frees the memory of the whole pages in `range`, for all processes. They are zeros afterwards.
    pub(super) fn free_pages(&self, range: Range<usize>) {
        let (page, end) = (page_size(), range.end.min(self.size));
        let (start, end) = (range.start.next_multiple_of(page), end / page * page);
        if start < end {
            // SAFETY: the range lies within the mapping, and no code has references into it. If the kernel refuses, the
            // memory stays as it is.
            unsafe { libc::madvise(self.start.add(start).as_ptr().cast(), end - start, libc::MADV_REMOVE) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` has mapped it, and no other code assigns its fields. Users of its addresses borrow `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether the page at `at` takes memory.
    fn is_resident(mapping: &Mapping, at: usize) -> bool {
        let mut resident = [0u8];
        // SAFETY: the page is mapped, and there is room for its byte.
        let result =
            unsafe { libc::mincore(mapping.start.add(at).as_ptr().cast(), 1, resident.as_mut_ptr()) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        resident[0] & 1 == 1
    }

    #[test]
    fn free_pages_frees_whole_pages_only() {
        let page = page_size();
        let mapping = Mapping::shared(4 * page).unwrap();
        // SAFETY: no other code has the mapping.
        unsafe { mapping.start.write_bytes(7, 4 * page) };
        mapping.free_pages(page / 2..3 * page + 1);
        assert_eq!([0, 1, 2, 3].map(|nth| is_resident(&mapping, nth * page)), [true, false, false, true]);
        // SAFETY: as above.
        assert_eq!([0, 1, 2, 3].map(|nth| unsafe { mapping.start.add(nth * page).read() }), [7, 0, 0, 7]);
    }
}
