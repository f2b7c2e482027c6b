//! Read-write locks.
//!
//! Next: `patch/pthread/sync/pthread_spin.rs`.

use super::glibc_fields::{RWLOCK_SHARED, RWLOCK_WRITER, field};
use super::owner::{mutex_owner_tid, with_green_tid};
use super::take::{hub, lock, wake};
use crate::patch::pthread::clock_time::{ClockTime, check};
use crate::patch::real;
use crate::patch::symbol::interpose;
use libc::{c_int, clockid_t, pthread_rwlock_t, timespec};

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
    let Some(hub) = hub() else { return with_green_tid(block) };
    if let Err(number) = check(until) {
        return number;
    }
    let attempt = || {
        // SAFETY: the caller upholds that the lock is initialised.
        let (result, writer) = unsafe { (with_green_tid(|| attempt(rwlock)), field(rwlock, RWLOCK_WRITER)) };
        let is_own = || Some(writer) == mutex_owner_tid();
        if result == libc::EBUSY && is_own() { libc::EDEADLK } else { result }
    };
    // SAFETY: the same.
    let is_shared = unsafe { field(rwlock, RWLOCK_SHARED) != 0 };
    lock(hub, rwlock, until, is_shared, attempt).unwrap_or_else(|| with_green_tid(block))
}

interpose! { Locks;
    /// See pthread_rwlock_rdlock(3).
    fn pthread_rwlock_rdlock(rwlock: *mut pthread_rwlock_t) -> c_int, "C" => "parks"; {
        lock_rwlock(rwlock, None, real::pthread_rwlock_tryrdlock, || real::pthread_rwlock_rdlock(rwlock))
    }

    /// See pthread_rwlock_tryrdlock(3).
    fn pthread_rwlock_tryrdlock(rwlock: *mut pthread_rwlock_t) -> c_int, "C" => "as the green thread"; {
        with_green_tid(|| real::pthread_rwlock_tryrdlock(rwlock))
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
        let block = || real::pthread_rwlock_clockrdlock(rwlock, clock, until);
        lock_rwlock(rwlock, Some((clock, *until)), real::pthread_rwlock_tryrdlock, block)
    }

    /// See pthread_rwlock_wrlock(3).
    fn pthread_rwlock_wrlock(rwlock: *mut pthread_rwlock_t) -> c_int, "C" => "parks"; {
        lock_rwlock(rwlock, None, real::pthread_rwlock_trywrlock, || real::pthread_rwlock_wrlock(rwlock))
    }

    /// See pthread_rwlock_trywrlock(3). The C library notes the writer. By that it knows at the release which kind it was.
    fn pthread_rwlock_trywrlock(rwlock: *mut pthread_rwlock_t) -> c_int,
        "C" => "the writer is the green thread";
    {
        with_green_tid(|| real::pthread_rwlock_trywrlock(rwlock))
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
            let result = real::pthread_rwlock_clockwrlock(rwlock, clock, until);
            if result == libc::ETIMEDOUT {
                // Readers may have given this writer precedence.
                wake(rwlock, usize::MAX);
            }
            result
        };
        lock_rwlock(rwlock, Some((clock, *until)), real::pthread_rwlock_trywrlock, block)
    }

    /// See pthread_rwlock_unlock(3). After the release only the address of the lock is used. All waiters try again: one
    /// writer, or all readers.
    fn pthread_rwlock_unlock(rwlock: *mut pthread_rwlock_t) -> c_int, "C" => "wakes green threads, too"; {
        let result = with_green_tid(|| real::pthread_rwlock_unlock(rwlock));
        wake(rwlock, usize::MAX);
        result
    }
}
