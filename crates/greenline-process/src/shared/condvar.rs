//! A condition variable between processes: waiters of any process, all woken at once.
//!
//! It is an event counter (eventfd(2)), which fork(2) passes on, and which is written to and never read. A hub waits for it
//! edge-triggered, as for all descriptors. Each write is an edge for every hub of every process, and each hub wakes all its
//! green threads that wait there. So no waiter consumes a wake-up, and none is lost with a waiter that is killed. A waiter
//! that was woken in vain waits again.
//!
//! Next: `shared/ring.rs`, messages in shared memory.

use crate::descriptor::Descriptor;
use greenline::internals::{has_no_green_threads, park_for_edge, syscall};
use std::hint::spin_loop;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::Instant;

pub(super) struct CondVar {
    pub(super) counter: Descriptor,
    /// Number of next waits in this process that spin first. At 0 and below, minus the number of waits that did not.
    spin_budget: AtomicI32,
}

/// Number of looks before a waiter parks: some 50 microseconds, because a wake-up on another core takes as long.
const SPIN_ITERATIONS: u32 = 2000;

/// Number of waits in a row that may spin in vain. Then the other process seems to need this core, or to be slow.
const SPIN_BUDGET: i32 = 4;

/// Number of waits without spinning until one spins again.
const SPIN_RETRY_AFTER: i32 = 64;

impl CondVar {
    /// Errors: no descriptor is left.
    pub(super) fn new() -> io::Result<CondVar> {
        let counter = Descriptor::eventfd(0).map_err(|error| {
            io::Error::new(error.kind(), format!("no descriptor for processes to wait for: {error}"))
        })?;
        Ok(CondVar { counter, spin_budget: AtomicI32::new(SPIN_BUDGET) })
    }

    /// Wakes all waiters.
    pub(super) fn notify_all(&self) {
        let one = 1u64.to_ne_bytes();
        let args = [self.counter.as_fd().as_raw_fd() as usize, one.as_ptr() as usize, one.len(), 0, 0, 0];
        // SAFETY: the kernel reads eight bytes of this frame. The call goes past the C library, whose function may be
        // patched. It fails only after 2^64 calls, or if other code has closed the descriptor.
        unsafe { syscall(libc::SYS_write, args) };
    }

    /// Waits as [`wait`](CondVar::wait) does, but first looks for a while whether it `is_notified` (spin-then-park). It
    /// does not spin if that was in vain the last times, or would keep another green thread from running.
    pub(super) fn spin_then_wait(
        &self,
        is_notified: impl Fn() -> bool,
        deadline: Option<Instant>,
        beside: Option<RawFd>,
    ) -> bool {
        let budget = self.spin_budget.load(Relaxed);
        if budget > 0 && has_no_green_threads() {
            for _ in 0..SPIN_ITERATIONS {
                if is_notified() {
                    self.spin_budget.store(SPIN_BUDGET, Relaxed);
                    return true;
                }
                spin_loop();
            }
        }
        self.spin_budget.store(if budget > -SPIN_RETRY_AFTER { budget - 1 } else { 1 }, Relaxed);
        self.wait(deadline, beside)
    }

    /// Parks the running green thread until it may have been notified since the caller was last woken, or until `beside`
    /// may be readable. If the deadline has passed, returns `false`.
    ///
    /// The caller must have looked at its condition after it was woken and before this call. A process that changes the
    /// condition must notify before the change can be seen.
    ///
    /// If no descriptor is left for the hub's reactor, or no memory, it returns after a millisecond: that is no reason to
    /// fail.
    ///
    /// Unwinds when the green thread is killed or a timeout around it fires.
    pub(super) fn wait(&self, deadline: Option<Instant>, beside: Option<RawFd>) -> bool {
        park_for_edge(self.counter.as_fd().as_raw_fd(), beside, deadline)
    }
}
