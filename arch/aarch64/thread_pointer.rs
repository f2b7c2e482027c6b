//! The thread pointer: register `tpidr_el0`. It points at two words, of which the first is the dtv; glibc's
//! `struct pthread` ends there, and thread-local storage begins behind. As in `x86_64/thread_pointer.rs`.
//!
//! Next: `tls/mod.rs`, the blocks that it points at.

use core::arch::asm;

/// Where the block keeps the address of its table of dynamic thread-local storage, from the thread pointer on.
pub(crate) const DTV: isize = 0;

/// Returns whether a program may load it. On this processor it always may.
pub(crate) fn is_loadable() -> bool {
    true
}

/// Returns the thread pointer of the running thread.
#[inline(always)]
pub(crate) fn get() -> usize {
    let at;
    // SAFETY: reads a register. Not declared `pure`: the value changes when another is loaded.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) at, options(nostack, preserves_flags, readonly)) };
    at
}

/// Loads another thread pointer.
///
/// # Safety
/// As on x86_64.
#[inline(always)]
pub(crate) unsafe fn set(to: usize) {
    // SAFETY: the caller's. Memory counts as written, so nothing is moved across.
    unsafe { asm!("msr tpidr_el0, {}", in(reg) to, options(nostack, preserves_flags)) };
}

/// Where `struct pthread` is, of that size, in the block of a thread pointer.
#[inline(always)]
pub(crate) fn to_pthread(pointer: usize, size: usize) -> usize {
    pointer - size
}

/// Returns the thread pointer for the address of a `struct pthread` of that size.
#[inline(always)]
pub(crate) fn of_pthread(pthread: usize, size: usize) -> usize {
    pthread + size
}

/// Returns the offset of the thread pointer in the memory of a TCB: behind the `struct pthread`.
pub(crate) fn pointer_offset(align: usize, _storage: usize, pthread: usize) -> usize {
    pthread.next_multiple_of(align)
}

/// Returns the size of the memory of a TCB, in bytes.
pub(crate) fn block_size(align: usize, storage: usize, pthread: usize) -> usize {
    storage + pthread.next_multiple_of(align)
}
