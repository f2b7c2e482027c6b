//! Prefetching: bringing memory into the cache before it is needed.
//!
//! Next: `hub/prefetch.rs`, which chooses what to prefetch.

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Length of a cache line, in bytes.
pub(crate) const CACHE_LINE: usize = 64;

/// Brings `LINES` cache lines into the cache, from the one at address `at` on. Does not wait for them.
#[inline(always)]
pub(crate) fn prefetch<const LINES: usize>(at: usize) {
    for line in 0..LINES {
        // SAFETY: a prefetch of any address neither faults nor changes anything.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line * CACHE_LINE) as *const i8) };
    }
}
