//! Prefetching, as on x86_64.
//!
//! Next: `hub/prefetch.rs`, which chooses what to prefetch.

use core::arch::asm;

pub(crate) const CACHE_LINE: usize = 64;

/// Brings `LINES` cache lines into the cache, from the one at address `at` on. Does not wait for them.
#[inline(always)]
pub(crate) fn prefetch<const LINES: usize>(at: usize) {
    for line in 0..LINES {
        let at = at.wrapping_add(line * CACHE_LINE);
        // SAFETY: a prefetch of any address neither faults nor changes anything.
        unsafe { asm!("prfm pldl1keep, [{0}]", in(reg) at, options(nostack, preserves_flags, readonly)) };
    }
}
