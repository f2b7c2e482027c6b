//! Read-write locks.
//!
//! Next: `patch/pthread/sync/pthread_barrier.rs`.

use super::owner::{mutex_owner_tid, with_green_tid};
use super::take::{field, take, wake};
use crate::green::Interruptible;
use crate::patch::pthread::clock_time::{ClockTime, check};
use crate::patch::symbol::interpose;
use crate::sys::tid::gettid;
use libc::{c_int, clockid_t, pthread_rwlock_t, timespec};
use std::mem::MaybeUninit;

/// Place of the writer's thread id in a `pthread_rwlock_t`.
const WRITER: usize = 24;
/// Place of a word that is not 0 if processes share the lock.
const SHARED: usize = 28;

/// Returns whether the fields of a read-write lock are where they are expected, while the caller is its writer.
pub(super) fn probe() -> bool {
    [libc::PTHREAD_PROCESS_PRIVATE, libc::PTHREAD_PROCESS_SHARED].into_iter().all(|shared| {
        let (mut attr, mut lock) = (MaybeUninit::uninit(), MaybeUninit::<pthread_rwlock_t>::zeroed());
        // SAFETY: both are locals, which are initialised first, and destroyed last.
        unsafe {
            libc::pthread_rwlockattr_init(attr.as_mut_ptr());
            libc::pthread_rwlockattr_setpshared(attr.as_mut_ptr(), shared);
            libc::pthread_rwlock_init(lock.as_mut_ptr(), attr.as_ptr());
            Real::pthread_rwlock_wrlock(lock.as_mut_ptr());
            let fields = (field(lock.as_ptr(), SHARED) != 0, field(lock.as_ptr(), WRITER));
            Real::pthread_rwlock_unlock(lock.as_mut_ptr());
            libc::pthread_rwlock_destroy(lock.as_mut_ptr());
            libc::pthread_rwlockattr_destroy(attr.as_mut_ptr());
            fields == (shared == libc::PTHREAD_PROCESS_SHARED, gettid())
        }
    })
}

/// Takes the lock by `attempt`. If the caller has to block in the C library, calls `block`.
///
/// # Safety
/// As pthread_rwlock_rdlock(3); `block` does not switch.
unsafe fn lock_rwlock(
    rwlock: *mut pthread_rwlock_t,
    until: Option<ClockTime>,
    attempt: unsafe fn(*mut pthread_rwlock_t) -> c_int,
    block: impl FnOnce() -> c_int,
) -> c_int {
    if let Err(number) = check(until) {
        return number;
    }
    let attempt = || {
        // SAFETY: the caller upholds that the lock is initialised.
        let (result, writer) = unsafe { (with_green_tid(|| attempt(rwlock)), field(rwlock, WRITER)) };
        let is_own = || Some(writer) == mutex_owner_tid();
        if result == libc::EBUSY && is_own() { libc::EDEADLK } else { result }
    };
    // SAFETY: the same.
    let is_shared = unsafe { field(rwlock, SHARED) != 0 };
    let result = take(rwlock, until, Interruptible::No, is_shared, attempt);
    result.unwrap_or_else(|| with_green_tid(block))
}

interpose! { Locks;
    /// See pthread_rwlock_rdlock(3).
    fn pthread_rwlock_rdlock(rwlock: *mut pthread_rwlock_t) -> c_int, "C" => "parks"; {
        lock_rwlock(rwlock, None, Real::pthread_rwlock_tryrdlock, || Real::pthread_rwlock_rdlock(rwlock))
    }

    /// See pthread_rwlock_tryrdlock(3).
    fn pthread_rwlock_tryrdlock(rwlock: *mut pthread_rwlock_t) -> c_int, "C" => "as the green thread"; {
        with_green_tid(|| Real::pthread_rwlock_tryrdlock(rwlock))
    }

    /// See pthread_rwlock_timedrdlock(3).
    fn pthread_rwlock_timedrdlock(rwlock: *mut pthread_rwlock_t, until: *const timespec) -> c_int,
        "C" => "parks";
    {
        pthread_rwlock_clockrdlock(rwlock, libc::CLOCK_REALTIME, until)
    }

    /// See pthread_rwlock_clockrdlock(3).
    fn pthread_rwlock_clockrdlock(
        rwlock: *mut pthread_rwlock_t,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int, "C" => "parks";
    {
        let block = || Real::pthread_rwlock_clockrdlock(rwlock, clock, until);
        lock_rwlock(rwlock, Some((clock, *until)), Real::pthread_rwlock_tryrdlock, block)
    }

    /// See pthread_rwlock_wrlock(3).
    fn pthread_rwlock_wrlock(rwlock: *mut pthread_rwlock_t) -> c_int, "C" => "parks"; {
        lock_rwlock(rwlock, None, Real::pthread_rwlock_trywrlock, || Real::pthread_rwlock_wrlock(rwlock))
    }

    /// See pthread_rwlock_trywrlock(3). The C library notes the writer. By that it knows at the release which kind it was.
    fn pthread_rwlock_trywrlock(rwlock: *mut pthread_rwlock_t) -> c_int,
        "C" => "the writer is the green thread";
    {
        with_green_tid(|| Real::pthread_rwlock_trywrlock(rwlock))
    }

    /// See pthread_rwlock_timedwrlock(3).
    fn pthread_rwlock_timedwrlock(rwlock: *mut pthread_rwlock_t, until: *const timespec) -> c_int,
        "C" => "parks";
    {
        pthread_rwlock_clockwrlock(rwlock, libc::CLOCK_REALTIME, until)
    }

    /// See pthread_rwlock_clockwrlock(3).
    fn pthread_rwlock_clockwrlock(
        rwlock: *mut pthread_rwlock_t,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int, "C" => "parks";
    {
        let block = || {
            let result = Real::pthread_rwlock_clockwrlock(rwlock, clock, until);
            if result == libc::ETIMEDOUT {
                // Readers may have given this writer precedence.
                wake(rwlock, usize::MAX);
            }
            result
        };
        lock_rwlock(rwlock, Some((clock, *until)), Real::pthread_rwlock_trywrlock, block)
    }

    /// See pthread_rwlock_unlock(3). After the release only the address of the lock is used. All waiters try again: one
    /// writer, or all readers.
    fn pthread_rwlock_unlock(rwlock: *mut pthread_rwlock_t) -> c_int, "C" => "wakes green threads, too"; {
        let result = with_green_tid(|| Real::pthread_rwlock_unlock(rwlock));
        wake(rwlock, usize::MAX);
        result
    }
}
