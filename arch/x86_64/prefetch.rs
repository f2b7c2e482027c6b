//! Asking for memory before it is needed.

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// The length of a line of the cache.
const LINE: usize = 64;

/// Asks for so many lines of the cache, from the one at `at` on.
#[inline(always)]
pub(crate) fn prefetch<const LINES: usize>(at: usize) {
    for line in 0..LINES {
        // SAFETY: a prefetch of any address neither faults nor changes anything.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line * LINE) as *const i8) };
    }
}
