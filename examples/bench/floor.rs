//! What the machine takes for the parts that no runtime can do without.

use crate::measure::{emit, emit_per};
use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult};
use std::time::Instant;

const SLOT: usize = 64 << 10;
const PAGE: usize = 4096;
const MADV_GUARD_INSTALL: i32 = 102;

/// Slots of one mapping, as `src/stack.rs` has them, without anything around.
struct Slab {
    base: usize,
    len: usize,
}

impl Slab {
    fn new(slots: usize) -> Slab {
        let len = slots * SLOT;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at no fixed address.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        assert!(base != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        // A huge page under a stack of which one page is used would be a different measurement.
        // SAFETY: our own mapping.
        unsafe { libc::madvise(base, len, libc::MADV_NOHUGEPAGE) };
        Slab { base: base as usize, len }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: our own mapping; what was on its stacks is gone.
        unsafe { libc::munmap(self.base as *mut _, self.len) };
    }
}

/// A stack with its top lowered by a colour, so that the tops do not share a set of the cache.
struct Coloured(usize);

// SAFETY: 64 KiB of the slab; nothing here uses more than a page of it, so no guard is needed.
unsafe impl Stack for Coloured {
    fn base(&self) -> StackPointer {
        let colour = (self.0 / SLOT * 320) % 2048;
        StackPointer::new(self.0 + SLOT - colour).expect("not 0")
    }
    fn limit(&self) -> StackPointer {
        StackPointer::new(self.0).expect("not 0")
    }
}

/// corosensei alone: resume and suspend in a ring, no queue, no states.
pub(crate) fn pairs(n: usize, tasks: usize) {
    let slab = Slab::new(tasks);
    let mut ring: Vec<Coroutine<(), (), (), Coloured>> = (0..tasks)
        .map(|slot| {
            Coroutine::with_stack(Coloured(slab.base + slot * SLOT), |yielder, ()| {
                loop {
                    yielder.suspend(());
                }
            })
        })
        .collect();
    let mut lap = || {
        for coroutine in &mut ring {
            assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(())));
        }
    };
    lap();
    let start = Instant::now();
    for _ in 0..n {
        lap();
    }
    emit_per("pair", start, n * tasks);
    // They never end, and there is nothing on them to unwind.
    ring.into_iter().for_each(std::mem::forget);
}

/// The pages: a guard and a touched page for each of N stacks.
pub(crate) fn touch(n: usize) {
    let start = Instant::now();
    let slab = Slab::new(n);
    for slot in 0..n {
        // SAFETY: a page of the slab, and a byte of another.
        unsafe {
            libc::madvise((slab.base + slot * SLOT) as *mut _, PAGE, MADV_GUARD_INSTALL);
            ((slab.base + (slot + 1) * SLOT - 64) as *mut u8).write_volatile(1);
        }
    }
    emit(&[("touch", start.elapsed().as_secs_f64(), "s")]);
}
