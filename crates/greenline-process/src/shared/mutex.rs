//! A mutex between processes that the kernel opens when its holder dies (a robust mutex).
//!
//! ```text
//!   31        30          29 ... 0
//!   WAITERS | HOLDER_DIED | id of the OS thread that holds it; 0: free
//! ```
//!
//! An OS thread takes the mutex by writing its id into the word, and releases it by writing 0. From before the first until
//! after the second, the kernel knows the word ([`OsThread::set_pending`]). If the holder dies in between, the kernel finds
//! its id there, writes HOLDER_DIED instead, and wakes one waiter. If an OS thread dies between releasing and waking, or if
//! one that was woken dies before it looks, the kernel finds the word pending but free, and wakes another waiter.
//!
//! The mutex is held for a few instructions, never over a park, and never together with another one. Therefore it costs an
//! OS thread at most one wait in the kernel at a time, and no green thread of the same OS thread can find it taken. While it
//! is held, code of a user must not run. A signal handler must not take it.
//!
//! The data that it guards must bear that a holder stops anywhere: see `monitor.rs`. So the next holder is not notified.
//!
//! Source: the robust futex ABI of the kernel, and glibc's robust mutexes, which keep to it.
//! Next: `shared/robust_list.rs`, what the kernel knows.

use super::robust_list::OsThread;
use greenline::internals::syscall;
use std::hint::spin_loop;
use std::ptr::null;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Set if an OS thread may wait.
const WAITERS: u32 = libc::FUTEX_WAITERS;
/// The id of the OS thread that holds it.
const HOLDER: u32 = libc::FUTEX_TID_MASK;

/// Number of looks before an OS thread sleeps (spin-then-park). They take longer than the mutex is held if its holder runs.
const SPIN_ITERATIONS: u32 = 200;

/// Time that an OS thread sleeps before it looks again. In one case a wake-up is lost: the OS thread that was woken is killed
/// before it looks, and another has taken the mutex meanwhile. Then the kernel does not find it free and wakes no OS thread.
static RECHECK_INTERVAL: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// Lies in shared memory. Zeros are a free mutex.
pub(super) struct Mutex {
    word: AtomicU32,
}

/// Holds the mutex.
pub(super) struct Guard<'a> {
    mutex: &'a Mutex,
    /// It has a pointer, so the guard is not `Send`.
    holder: OsThread,
}

impl Mutex {
    /// Takes it. Blocks the OS thread while another holds it. The caller must not hold one already.
    #[inline]
    pub(super) fn lock(&self) -> Guard<'_> {
        let holder = OsThread::current();
        holder.set_pending(&self.word);
        if self.word.compare_exchange(0, holder.id, Acquire, Relaxed).is_err() {
            self.wait(holder.id);
        }
        Guard { mutex: self, holder }
    }

    #[cold]
    fn wait(&self, id: u32) {
        // WAITERS after the first sleep, because other OS threads may still sleep.
        let mut slept = 0;
        let mut spins = SPIN_ITERATIONS;
        loop {
            let seen = self.word.load(Relaxed);
            if seen & HOLDER == 0 {
                let ours = id | seen & WAITERS | slept;
                if self.word.compare_exchange(seen, ours, Acquire, Relaxed).is_ok() {
                    return;
                }
            } else if spins > 0 {
                spins -= 1;
                spin_loop();
            } else if seen & WAITERS != 0 || self.set_waiters(seen) {
                self.futex(libc::FUTEX_WAIT, seen | WAITERS, &raw const RECHECK_INTERVAL);
                slept = WAITERS;
                spins = SPIN_ITERATIONS;
            }
        }
    }

    /// Makes the holder wake a waiter when it releases the mutex. If the word has changed, returns `false`.
    fn set_waiters(&self, seen: u32) -> bool {
        self.word.compare_exchange(seen, seen | WAITERS, Relaxed, Relaxed).is_ok()
    }

    /// Calls futex(2), not its private kind: several processes share the word.
    fn futex(&self, operation: i32, value: u32, timeout: *const libc::timespec) {
        let args = [self.word.as_ptr() as usize, operation as usize, value as usize, timeout as usize, 0, 0];
        // SAFETY: the word is borrowed, and the timeout is static or null. The call goes past the C library, and so past
        // the patch.
        unsafe { syscall(libc::SYS_futex, args) };
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.mutex.word.swap(0, Release) & WAITERS != 0 {
            self.mutex.futex(libc::FUTEX_WAKE, 1, null());
        }
        self.holder.clear_pending();
    }
}
