//! As on x86-64.

use core::arch::asm;

const LINE: usize = 64;

/// Asks for so many lines of the cache, from the one at `at` on.
#[inline(always)]
pub(crate) fn prefetch<const LINES: usize>(at: usize) {
    for line in 0..LINES {
        let at = at.wrapping_add(line * LINE);
        // SAFETY: a prefetch of any address neither faults nor changes anything.
        unsafe { asm!("prfm pldl1keep, [{0}]", in(reg) at, options(nostack, preserves_flags, readonly)) };
    }
}
