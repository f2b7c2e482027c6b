//! Memory that a child shares with its parent: an anonymous mapping that fork(2) does not copy.

use std::io;
use std::ops::Range;
use std::ptr::{NonNull, null_mut};

/// Zeros at first. Unmapped when dropped, in this process; the last one frees the memory.
pub(crate) struct Mapping {
    at: NonNull<u8>,
    size: usize,
}

// SAFETY: an address and a length. Who reads or writes there answers for doing so one at a time.
unsafe impl Send for Mapping {}
// SAFETY: the same.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// One of `size` bytes. It costs address space; memory only where it is written to.
    ///
    /// Errors: no address space, or no mapping left.
    pub(crate) fn new(size: usize) -> io::Result<Mapping> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: anywhere, and nothing of ours is there yet.
        let at = unsafe { libc::mmap(null_mut(), size, protection, flags, -1, 0) };
        let error = io::Error::last_os_error();
        match NonNull::new(at.cast()).filter(|_| at != libc::MAP_FAILED) {
            Some(at) => Ok(Mapping { at, size }),
            None => {
                Err(io::Error::new(error.kind(), format!("no memory to share, of {size} bytes: {error}")))
            }
        }
    }

    /// Where it begins: at a page.
    #[inline]
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.at
    }

    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Frees the memory of the whole pages in `range`, for all processes: what is read there afterwards is zeros.
    pub(crate) fn free_pages(&self, range: Range<usize>) {
        const PAGE: usize = 4096;
        let (start, end) = (range.start.next_multiple_of(PAGE), range.end.min(self.size) / PAGE * PAGE);
        if start < end {
            // SAFETY: within the mapping, in which no references are handed out. If the kernel does not like to, it stays.
            unsafe { libc::madvise(self.at.add(start).as_ptr().cast(), end - start, libc::MADV_REMOVE) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and whoever has an address in it has borrowed `self`.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.size) };
    }
}
