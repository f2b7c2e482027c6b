//! Lower bounds: the cost of the parts that every runtime needs.

use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult};
use greenline_bench::{emit, emit_per};
use std::time::Instant;

const SLOT: usize = 64 << 10;
const PAGE: usize = 4096;
const MADV_GUARD_INSTALL: i32 = 102;

/// Slots of one mapping, as in `src/stack.rs`, without its bookkeeping.
struct Slab {
    base: usize,
    len: usize,
}

impl Slab {
    fn new(slots: usize) -> Slab {
        let len = slots * SLOT;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the mapping is new, at no fixed address.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        assert!(base != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        // With huge pages, a stack that uses one page would take 2 MiB.
        // SAFETY: the mapping is this function's.
        unsafe { libc::madvise(base, len, libc::MADV_NOHUGEPAGE) };
        Slab { base: base as usize, len }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: the mapping is this slab's. Nothing uses its stacks any more.
        unsafe { libc::munmap(self.base as *mut _, self.len) };
    }
}

/// Stack whose top is lowered by a colour, so that the tops of different stacks use different cache sets.
struct ColouredStack(usize);

// SAFETY: the stack is 64 KiB of the slab. Nothing here uses more than a page of it, so it needs no guard.
unsafe impl Stack for ColouredStack {
    fn base(&self) -> StackPointer {
        let colour = (self.0 / SLOT * 320) % 2048;
        StackPointer::new(self.0 + SLOT - colour).expect("not 0")
    }
    fn limit(&self) -> StackPointer {
        StackPointer::new(self.0).expect("not 0")
    }
}

/// Measures corosensei alone: resume and suspend in a ring, without a run queue and without states.
pub(crate) fn pairs(n: usize, tasks: usize) {
    let slab = Slab::new(tasks);
    let mut ring: Vec<Coroutine<(), (), (), ColouredStack>> = (0..tasks)
        .map(|slot| {
            Coroutine::with_stack(ColouredStack(slab.base + slot * SLOT), |yielder, ()| {
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
    // The coroutines never end, and their stacks hold nothing to drop.
    ring.into_iter().for_each(std::mem::forget);
}

/// Measures the pages: a guard and a touched page for each of N stacks.
pub(crate) fn touch(n: usize) {
    let start = Instant::now();
    let slab = Slab::new(n);
    for slot in 0..n {
        // SAFETY: the first is a page of the slab, the second a byte of another page of it.
        unsafe {
            libc::madvise((slab.base + slot * SLOT) as *mut _, PAGE, MADV_GUARD_INSTALL);
            ((slab.base + (slot + 1) * SLOT - 64) as *mut u8).write_volatile(1);
        }
    }
    emit(&[("touch", start.elapsed().as_secs_f64(), "s")]);
}
