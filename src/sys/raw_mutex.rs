//! The mutex of this crate's own data. It blocks the whole OS thread and never parks a green thread.
//!
//! std's mutex cannot be used: after `patch::locks` it parks green threads, and parking needs the data that this one
//! guards. The holder keeps the lock for a few instructions and never over a switch.
//! Source: "Futexes Are Tricky" (U. Drepper), mutex 2.
//!
//! Next: `sys/at_fork.rs`.
#![allow(unsafe_code)]

use crate::sys::kernel_futex;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and another OS thread may wait.
const CONTENDED: u32 = 2;

/// A mutex that the patch never interposes, and that blocks the OS thread. The holder must not park: see
/// [`with_blocking_disabled`](crate::internals::with_blocking_disabled).
pub struct Lock<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: only the holder of the lock reaches the value.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// Returns a mutex that is free.
    pub const fn new(value: T) -> Lock<T> {
        Lock { state: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
    }

    /// Locks; blocks the OS thread while another holds the lock. The caller must not hold it already, nor keep it over a
    /// switch.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        if self.state.compare_exchange(FREE, HELD, Acquire, Relaxed).is_err() {
            self.wait();
        }
        Guard(self, PhantomData)
    }

    /// Locks until `release`: for a fork.
    pub(crate) fn seize(&self) {
        std::mem::forget(self.lock());
    }

    /// Unlocks after `seize`.
    ///
    /// # Safety
    /// This OS thread has called `seize`, or is the forked copy of one that has.
    pub(crate) unsafe fn release(&self) {
        drop(Guard(self, PhantomData));
    }

    /// Returns whether it is locked at this moment.
    pub(crate) fn is_taken(&self) -> bool {
        self.state.load(Relaxed) != FREE
    }

    /// Unlocks and replaces the value, in a forked child, where another OS thread of the parent may have held the lock.
    ///
    /// # Safety
    /// This is the only OS thread of the child, and it does not hold the lock.
    pub unsafe fn reset_after_fork(&self, value: T) {
        // SAFETY: no other OS thread exists, as the caller promises. The old value may be half changed, so it is not dropped.
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
        while self.state.swap(CONTENDED, Acquire) != FREE {
            kernel_futex::wait(&self.state, CONTENDED, None);
        }
    }
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Lock<T> {
        Lock::new(T::default())
    }
}

/// Keeps a [`Lock`] locked. As a `&mut T` it is `Sync` only if `T` is.
pub struct Guard<'a, T>(&'a Lock<T>, PhantomData<&'a mut T>);

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.0.state.swap(FREE, Release) == CONTENDED {
            kernel_futex::wake_one(&self.0.state);
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock.
        unsafe { &mut *self.0.value.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guard_is_sync_only_if_the_value_is() {
        /// Has the method for a value that is `Sync`, and by the reference for any other.
        struct Ask<T>(PhantomData<T>);
        trait Other {
            fn is_sync(&self) -> bool {
                false
            }
        }
        impl<T> Other for &Ask<T> {}
        impl<T: Sync> Ask<T> {
            fn is_sync(&self) -> bool {
                true
            }
        }
        assert!(Ask(PhantomData::<Guard<'static, u32>>).is_sync());
        assert!(!(&Ask(PhantomData::<Guard<'static, std::cell::Cell<u32>>>)).is_sync());
    }

    #[test]
    fn lock_admits_one_os_thread_at_a_time() {
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
