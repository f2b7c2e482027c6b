//! The memory of thread control blocks: side by side in slabs, which are backed by huge pages.
//!
//! A switch touches a few lines of the next green thread's block. With ten thousand blocks on small pages, each of those
//! is a walk through the page tables, too. A slab of 2 MiB holds some 480 blocks and is one page to the processor. The
//! first blocks of a process come from the heap, because most programs have few.
//!
//! The distance of two blocks is an odd number of cache lines, so that the same word of each falls into another set of
//! the cache. Slabs are never unmapped. A block that is given back is used again, by any hub.
//!
//! Next: `tls/self_test.rs`, which makes the first block.

use crate::sys::raw_mutex::Lock;
use std::alloc::{Layout, alloc};
use std::ptr::null_mut;

const LINE: usize = 64;
const HUGE: usize = 2 << 20;
/// Number of blocks that come from the heap.
const HEAP_BLOCKS: usize = 128;

/// Allocates blocks of `stride` bytes each.
pub(super) struct TcbAllocator {
    stride: usize,
    state: Lock<State>,
}

struct State {
    /// Blocks given back: a list through their own first words.
    free: *mut usize,
    /// Unused part of the newest slab.
    next: usize,
    end: usize,
    /// Number of blocks that came from the heap.
    from_heap: usize,
}

// SAFETY: the pointers are to memory that nobody else has.
unsafe impl Send for State {}

impl TcbAllocator {
    /// Makes an allocator for blocks of `size` bytes.
    pub(super) fn new(size: usize) -> TcbAllocator {
        let lines = size.div_ceil(LINE) | 1;
        let state = State { free: null_mut(), next: 0, end: 0, from_heap: 0 };
        TcbAllocator { stride: lines * LINE, state: Lock::new(state) }
    }

    /// Returns memory for a block, aligned to a cache line, with any content. Returns `None` if there is none.
    pub(super) fn take(&self) -> Option<usize> {
        {
            let mut state = self.state.lock();
            if !state.free.is_null() {
                let at = state.free;
                // SAFETY: a block that was given back, with the address of the next in its first word.
                state.free = unsafe { *at } as *mut usize;
                return Some(at as usize);
            }
            if state.from_heap >= HEAP_BLOCKS {
                return self.carve_slab(&mut state);
            }
            state.from_heap += 1;
        }
        let layout = Layout::from_size_align(self.stride, LINE).ok()?;
        // SAFETY: not of size 0. Not under the lock: the allocator may have locks that are patched.
        let at = unsafe { alloc(layout) } as usize;
        (at != 0).then_some(at)
    }

    /// Returns the next block of the newest slab, or the first of a new slab.
    fn carve_slab(&self, state: &mut State) -> Option<usize> {
        if state.end - state.next < self.stride {
            let base = map_slab()?;
            (state.next, state.end) = (base, base + HUGE);
        }
        let at = state.next;
        state.next += self.stride;
        Some(at)
    }

    /// Takes memory back.
    ///
    /// # Safety
    /// `at` came from `take`, and nobody uses it any more.
    pub(super) unsafe fn put(&self, at: usize) {
        let mut state = self.state.lock();
        // SAFETY: the caller upholds that nobody uses the memory.
        unsafe { *(at as *mut usize) = state.free as usize };
        state.free = at as *mut usize;
    }
}

/// Maps 2 MiB, aligned to 2 MiB.
fn map_slab() -> Option<usize> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at no fixed address. Twice as much as is needed; the ends are unmapped again.
    unsafe {
        let raw = libc::mmap(null_mut(), 2 * HUGE, prot, flags, -1, 0);
        if raw == libc::MAP_FAILED {
            return None;
        }
        let raw = raw as usize;
        let base = raw.next_multiple_of(HUGE);
        if base > raw {
            libc::munmap(raw as *mut _, base - raw);
        }
        libc::munmap((base + HUGE) as *mut _, raw + HUGE - base);
        // A hint, whose failure does no harm.
        libc::madvise(base as *mut _, HUGE, libc::MADV_HUGEPAGE);
        Some(base)
    }
}
