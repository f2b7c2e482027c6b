//! Where the blocks lie: side by side in slabs, which are backed by huge pages.
//!
//! A switch touches a few lines of the next green thread's block, and with ten thousand of them on small pages
//! each of those is a walk through the page tables, too. A slab of 2 MiB holds some 480 blocks and is one page to
//! the processor. The first blocks of a process come from the heap: most programs have few.
//!
//! The blocks' distance is an odd number of cache lines, so that the same word of each falls into another set of
//! the cache. Slabs are never unmapped; a block that is given back is used again, by whichever hub.

use crate::sys::raw_mutex::Lock;
use std::alloc::{Layout, alloc};
use std::ptr::null_mut;

const LINE: usize = 64;
const HUGE: usize = 2 << 20;
/// How many come from the heap.
const FIRST: usize = 128;

/// The memory of all blocks, each `stride` bytes.
pub(super) struct TcbAllocator {
    stride: usize,
    state: Lock<State>,
}

struct State {
    /// Those given back: a list through their own first words.
    free: *mut usize,
    /// The rest of the newest slab.
    next: usize,
    end: usize,
    /// How many came from the heap.
    first: usize,
}

// SAFETY: what it points to is memory that nobody else has.
unsafe impl Send for State {}

impl TcbAllocator {
    /// For blocks of `size` bytes.
    pub(super) fn new(size: usize) -> TcbAllocator {
        let lines = size.div_ceil(LINE) | 1;
        let state = State { free: null_mut(), next: 0, end: 0, first: 0 };
        TcbAllocator { stride: lines * LINE, state: Lock::new(state) }
    }

    /// TcbAllocator for a block, aligned to a cache line. What is in it is not said. `None`: there is none.
    pub(super) fn take(&self) -> Option<usize> {
        {
            let mut state = self.state.lock();
            if !state.free.is_null() {
                let at = state.free;
                // SAFETY: given back, with the address of the next in its first word.
                state.free = unsafe { *at } as *mut usize;
                return Some(at as usize);
            }
            if state.first >= FIRST {
                return self.cut(&mut state);
            }
            state.first += 1;
        }
        let layout = Layout::from_size_align(self.stride, LINE).ok()?;
        // SAFETY: not of size 0. Not under the lock: the allocator may have locks that are patched.
        let at = unsafe { alloc(layout) } as usize;
        (at != 0).then_some(at)
    }

    /// The next of the newest slab, or the first of a new one.
    fn cut(&self, state: &mut State) -> Option<usize> {
        if state.end - state.next < self.stride {
            let base = map_slab()?;
            (state.next, state.end) = (base, base + HUGE);
        }
        let at = state.next;
        state.next += self.stride;
        Some(at)
    }

    /// Takes it back.
    ///
    /// # Safety
    /// It came from `take`, and nobody uses it any more.
    pub(super) unsafe fn put(&self, at: usize) {
        let mut state = self.state.lock();
        // SAFETY: the caller's.
        unsafe { *(at as *mut usize) = state.free as usize };
        state.free = at as *mut usize;
    }
}

/// 2 MiB, aligned to themselves.
fn map_slab() -> Option<usize> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at no fixed address. Twice as much as is wanted, of which the ends are given back.
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
        // A hint.
        libc::madvise(base as *mut _, HUGE, libc::MADV_HUGEPAGE);
        Some(base)
    }
}
