//! The memory of thread control blocks: side by side in slabs, which are backed by huge pages.
//!
//! A switch touches a few lines of the next green thread's block. With ten thousand blocks on small pages, each of those
//! is a walk through the page tables, too. A slab of 2 MiB holds some 480 blocks and is one page to the processor. The
//! first blocks of a process lie on small pages, because most programs have few.
//!
//! The distance of two blocks is an odd number of cache lines, so that the same word of each falls into another set of
//! the cache. Slabs are never unmapped. A block that is given back is used again, by any hub.
//!
//! Next: `tls/self_test.rs`, which makes the first block.

use crate::sys::raw_mutex::Lock;
use std::ptr::null_mut;

const LINE: usize = 64;
const HUGE: usize = 2 << 20;
/// Number of blocks on small pages.
const FIRST_BLOCKS: usize = 128;

/// Allocates blocks of `stride` bytes each.
pub(super) struct TcbAllocator {
    stride: usize,
    state: Lock<State>,
}

struct State {
    /// Blocks given back: a list through their own first words.
    free: *mut usize,
    /// Unused part of the newest mapping; both are 0 before the first.
    next: usize,
    end: usize,
}

// SAFETY: the pointers are to memory that no other code has.
unsafe impl Send for State {}

impl TcbAllocator {
    /// Makes an allocator for blocks of `size` bytes.
    pub(super) fn new(size: usize) -> TcbAllocator {
        let lines = size.div_ceil(LINE) | 1;
        TcbAllocator { stride: lines * LINE, state: Lock::new(State { free: null_mut(), next: 0, end: 0 }) }
    }

    /// Returns memory for a block, aligned to a cache line, with any content. Returns `None` if there is none.
    pub(super) fn take(&self) -> Option<usize> {
        let mut state = self.state.lock();
        if !state.free.is_null() {
            let at = state.free;
            // SAFETY: a block that was given back, with the address of the next in its first word.
            state.free = unsafe { *at } as *mut usize;
            return Some(at as usize);
        }
        if state.end - state.next < self.stride {
            let is_first = state.end == 0;
            let len = if is_first { FIRST_BLOCKS * self.stride } else { HUGE };
            state.next = if is_first { map(len)? } else { map_slab()? };
            state.end = state.next + len;
        }
        state.next += self.stride;
        Some(state.next - self.stride)
    }

    /// Takes memory back.
    ///
    /// # Safety
    /// `at` came from `take`, and no code uses it any more.
    pub(super) unsafe fn put(&self, at: usize) {
        let mut state = self.state.lock();
        // SAFETY: the caller upholds that no code uses the memory.
        unsafe { *(at as *mut usize) = state.free as usize };
        state.free = at as *mut usize;
    }
}

fn map(len: usize) -> Option<usize> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at no fixed address.
    let at = unsafe { libc::mmap(null_mut(), len, prot, flags, -1, 0) };
    (at != libc::MAP_FAILED).then_some(at as usize)
}

/// Maps 2 MiB, aligned to 2 MiB.
fn map_slab() -> Option<usize> {
    let raw = map(2 * HUGE)?;
    let base = raw.next_multiple_of(HUGE);
    // SAFETY: the ends of a mapping that no other code has. The kernel refuses to unmap an empty one, which does no harm.
    unsafe {
        libc::munmap(raw as *mut _, base - raw);
        libc::munmap((base + HUGE) as *mut _, raw + HUGE - base);
        // A hint, whose failure does no harm.
        libc::madvise(base as *mut _, HUGE, libc::MADV_HUGEPAGE);
    }
    Some(base)
}
