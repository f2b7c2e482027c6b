//! The thread pointer: the address of the thread control block (TCB), from which all thread-local storage is found.
//! On this CPU it is the base of segment `fs`, and glibc's `struct pthread` begins there.
//!
//! Next: `tls/mod.rs`, the blocks that it points at.

use core::arch::asm;

/// Where the block keeps the address of its table of dynamic thread-local storage (the "dtv"), from the
/// thread pointer on.
pub(crate) const DTV: isize = 8;

/// Returns whether a program may load it: the processor has the instruction, and the kernel allows it (Linux 5.9).
pub(crate) fn is_loadable() -> bool {
    const HWCAP2_FSGSBASE: libc::c_ulong = 1 << 1;
    // SAFETY: no preconditions.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FSGSBASE != 0 }
}

/// Returns the thread pointer of the running thread.
#[inline(always)]
pub(crate) fn get() -> usize {
    let at;
    // SAFETY: the block's first word is its own address: the convention for this CPU. Not declared `pure`:
    // the value changes when another is loaded.
    unsafe { asm!("mov {}, fs:0", out(reg) at, options(nostack, preserves_flags, readonly)) };
    at
}

/// Loads another thread pointer.
///
/// # Safety
/// `to` is a thread control block that is complete and lives as long as it is loaded. Nothing found by the
/// old one is used in this frame as if it were thread-local.
#[inline(always)]
pub(crate) unsafe fn set(to: usize) {
    // SAFETY: the caller's. Memory counts as written, so nothing is moved across.
    unsafe { asm!("wrfsbase {}", in(reg) to, options(nostack, preserves_flags)) };
}

/// Where `struct pthread` is, of that size, in the block of a thread pointer.
#[inline(always)]
pub(crate) fn to_pthread(pointer: usize, _size: usize) -> usize {
    pointer
}

/// Returns the thread pointer for the address of a `struct pthread` of that size.
#[inline(always)]
pub(crate) fn of_pthread(pthread: usize, _size: usize) -> usize {
    pthread
}

/// Returns the offset of the thread pointer in the memory of a TCB. The `struct pthread` is at the end, behind the
/// storage, whose size includes it.
pub(crate) fn pointer_offset(_align: usize, storage: usize, pthread: usize) -> usize {
    storage - pthread
}

/// Returns the size of the memory of a TCB, in bytes.
pub(crate) fn block_size(_align: usize, storage: usize, _pthread: usize) -> usize {
    storage
}
