//! Barriers. They cannot be tried, so a barrier that is initialised after the patch is an object of this crate.
//!
//! Next: `patch/pthread/sync/pthread_once.rs`.

use super::take::{is_patched, wait_while, wake};
use crate::patch::symbol::interpose;
use libc::{c_int, c_uint, pthread_barrier_t, pthread_barrierattr_t};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// In the place of a `pthread_barrier_t`.
#[repr(C)]
#[derive(Default)]
struct Barrier {
    magic: u64,
    /// Number of arrivals so far. More than `count` threads may arrive; they belong to the next round.
    arrived: AtomicU64,
    count: u32,
    /// Number of complete rounds; a futex for the waiters.
    passed: AtomicU32,
    /// Number of threads inside of `pthread_barrier_wait`. The barrier is not destroyed before they have left.
    inside: AtomicU32,
}

const _: () = assert!(size_of::<Barrier>() <= size_of::<pthread_barrier_t>());
const MAGIC: u64 = 0x6772_6565_6e6c_696e;

/// Returns the barrier if it is one of this crate's. One of the C library's begins with counters that are far from the
/// magic number.
///
/// # Safety
/// `barrier` is initialised, by this crate or by the C library.
unsafe fn green_barrier<'a>(barrier: *mut pthread_barrier_t) -> Option<&'a Barrier> {
    // SAFETY: the caller upholds that the barrier is initialised.
    unsafe { (*barrier.cast::<u64>() == MAGIC).then(|| &*barrier.cast::<Barrier>()) }
}

impl Barrier {
    fn wait(&self) -> c_int {
        self.inside.fetch_add(1, AcqRel);
        let (number, count) = (self.arrived.fetch_add(1, AcqRel), u64::from(self.count));
        let is_last = (number + 1) % count == 0;
        if is_last {
            self.passed.fetch_add(1, AcqRel);
            wake(self.passed.as_ptr(), usize::MAX);
        } else {
            // If the last thread of a later round counts first, this round is complete as well.
            let round = (number / count) as u32;
            let waits = || self.passed.load(Acquire).wrapping_sub(round) as i32 <= 0;
            _ = wait_while(&self.passed, None, waits);
        }
        self.inside.fetch_sub(1, Release);
        if is_last { libc::PTHREAD_BARRIER_SERIAL_THREAD } else { 0 }
    }
}

interpose! { Locks;
    /// See pthread_barrier_init(3).
    fn pthread_barrier_init(
        barrier: *mut pthread_barrier_t,
        attr: *const pthread_barrierattr_t,
        count: c_uint,
    ) -> c_int, "C" => "makes a barrier that both kinds of thread can wait at";
    {
        let mut shared = libc::PTHREAD_PROCESS_PRIVATE;
        if !attr.is_null() {
            libc::pthread_barrierattr_getpshared(attr, &raw mut shared);
        }
        if count == 0 || shared == libc::PTHREAD_PROCESS_SHARED || !is_patched() {
            return Real::pthread_barrier_init(barrier, attr, count);
        }
        barrier.cast::<Barrier>().write(Barrier { magic: MAGIC, count, ..Barrier::default() });
        0
    }

    /// See pthread_barrier_wait(3).
    fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int, "C" => "parks"; {
        match green_barrier(barrier) {
            Some(barrier) => barrier.wait(),
            None => Real::pthread_barrier_wait(barrier),
        }
    }

    /// See pthread_barrier_destroy(3).
    fn pthread_barrier_destroy(barrier: *mut pthread_barrier_t) -> c_int,
        "C" => "lets the others run until they have left";
    {
        let Some(green) = green_barrier(barrier) else { return Real::pthread_barrier_destroy(barrier) };
        while green.inside.load(Acquire) > 0 {
            libc::sched_yield();
        }
        barrier.cast::<u64>().write(0);
        0
    }
}
