//! The size of a page of memory.
//!
//! Next: `sys/abort.rs`, a guard that aborts on an unwind.
#![allow(unsafe_code)]

use std::sync::OnceLock;

/// Returns the size of a page, in bytes. It is 4 KiB on x86_64, and up to 64 KiB on aarch64.
pub fn page_size() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    // SAFETY: sysconf has no preconditions.
    *PAGE.get_or_init(|| unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize)
}
