//! A lock for what OS threads share inside of this crate. std's own would do, but where `patch::locks` was
//! called std's locks park green threads by means of what this one guards.
//!
//! It is held for a few instructions at a time and never over a switch, so it waits in the kernel, where the
//! whole OS thread waits. Source: "Futexes Are Tricky" (U. Drepper), mutex 2.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may wait.
const AWAITED: u32 = 2;

pub(crate) struct Lock<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: who holds the lock is the only one to reach the value.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Lock<T> {
        Lock { state: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
    }

    /// Takes it; blocks the OS thread while another has it. Not to be taken twice, nor kept over a switch.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        if self.state.compare_exchange(FREE, HELD, Acquire, Relaxed).is_err() {
            self.wait();
        }
        Guard(self)
    }

    /// Takes it, and keeps it until `release`: for a fork.
    pub(crate) fn seize(&self) {
        std::mem::forget(self.lock());
    }

    /// Gives back what was seized.
    ///
    /// # Safety
    /// This OS thread has seized it, or is the copy of one that has.
    pub(crate) unsafe fn release(&self) {
        drop(Guard(self));
    }

    /// Whether somebody holds it, at this moment.
    pub(crate) fn is_taken(&self) -> bool {
        self.state.load(Relaxed) != FREE
    }

    /// Makes it as new, in the child of a fork, where another OS thread may have held it.
    ///
    /// # Safety
    /// There is no other OS thread, and this one does not hold it.
    pub(crate) unsafe fn reset_after_fork(&self, value: T) {
        // SAFETY: the caller's. The old value may be half changed, and is not dropped.
        unsafe { self.value.get().write(value) };
        self.state.store(FREE, Relaxed);
    }

    #[cold]
    fn wait(&self) {
        for _ in 0..100 {
            if self.state.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok() {
                return;
            }
            std::hint::spin_loop();
        }
        while self.state.swap(AWAITED, Acquire) != FREE {
            self.futex(libc::FUTEX_WAIT, AWAITED as usize);
        }
    }

    fn futex(&self, operation: i32, value: usize) {
        let operation = (operation | libc::FUTEX_PRIVATE_FLAG) as usize;
        // SAFETY: a word of ours. Past the C library, and so past the patch.
        unsafe { syscall(libc::SYS_futex, [self.state.as_ptr() as usize, operation, value, 0, 0, 0]) };
    }
}

/// Blocks the OS thread for `limit`, or until somebody wakes it by the word at that address; not at all unless it is `value`.
pub(crate) fn wait_for_change(word: usize, value: u32, limit: Duration) {
    let time = libc::timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ };
    let operation = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    let args = [word, operation, value as usize, &raw const time as usize, 0, 0];
    // SAFETY: a word that lives, and a time of our own. Past the C library, and so past the patch.
    unsafe { syscall(libc::SYS_futex, args) };
}

/// Wakes one OS thread that waits by `word`, which has been changed.
pub(crate) fn wake_by(word: &AtomicU32) {
    let operation = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: as above.
    unsafe { syscall(libc::SYS_futex, [word.as_ptr() as usize, operation, 1, 0, 0, 0]) };
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Lock<T> {
        Lock::new(T::default())
    }
}

pub(crate) struct Guard<'a, T>(&'a Lock<T>);

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.0.state.swap(FREE, Release) == AWAITED {
            self.0.futex(libc::FUTEX_WAKE, 1);
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: we hold the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: we hold the lock.
        unsafe { &mut *self.0.value.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        static COUNT: Lock<u64> = Lock::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let mut count = COUNT.lock();
                        let seen = *count;
                        std::hint::spin_loop();
                        *count = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*COUNT.lock(), 80_000);
    }
}
