//! A number that tells a process from its parent.
//!
//! Next: `shared/robust_list.rs`, which caches facts per epoch.

use super::mapping::Mapping;
use std::io;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicPtr, AtomicU64};

/// The number, in a page that is zeros again in a child. Null until the first use.
static EPOCH: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());

/// Returns a number greater than 0 that no ancestor of this process has had. It works for every kind of fork, because
/// the kernel clears the page of the number for the child.
#[inline]
pub(super) fn epoch() -> io::Result<u64> {
    // SAFETY: null, or a mapping that `detect_fork` never unmaps.
    match unsafe { EPOCH.load(Acquire).as_ref() }.map(|epoch| epoch.load(Relaxed)) {
        Some(epoch @ 1..) => Ok(epoch),
        _ => detect_fork(),
    }
}

#[cold]
fn detect_fork() -> io::Result<u64> {
    /// The last number given out. A child goes on counting from its copy.
    static LAST: AtomicU64 = AtomicU64::new(0);
    if EPOCH.load(Acquire).is_null() {
        let page = Mapping::wiped_on_fork()?;
        if EPOCH.compare_exchange(null_mut(), page.start.as_ptr().cast(), AcqRel, Acquire).is_ok() {
            // It stays mapped.
            std::mem::forget(page);
        }
    }
    // SAFETY: a mapping that is never unmapped.
    let epoch = unsafe { &*EPOCH.load(Acquire) };
    let next = LAST.fetch_add(1, Relaxed) + 1;
    // All OS threads use the number of the first one.
    Ok(epoch.compare_exchange(0, next, AcqRel, Acquire).map_or_else(|first| first, |_| next))
}
