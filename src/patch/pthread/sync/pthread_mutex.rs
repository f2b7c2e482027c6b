//! Mutexes.
//!
//! Next: `patch/pthread/sync/pthread_cond.rs`.

use super::glibc_fields::{ERRORCHECK, MUTEX_KERNEL, MUTEX_KIND, MUTEX_OWNER, MUTEX_SHARED, field};
use super::owner::{mutex_owner_tid, with_green_tid};
use super::take::{hub, lock, wake};
use crate::patch::pthread::clock_time::{ClockTime, is_clock};
use crate::patch::real;
use crate::patch::symbol::interpose;
use libc::{c_int, clockid_t, pthread_mutex_t, timespec};

/// Returns whether the kernel takes part in the mutex (robust, priority inheritance), and so has to handle all of it.
///
/// # Safety
/// The mutex is initialised.
pub(super) unsafe fn is_kernel_mutex(mutex: *mut pthread_mutex_t) -> bool {
    // SAFETY: the caller upholds that the mutex is initialised.
    unsafe { field(mutex, MUTEX_KIND) & MUTEX_KERNEL != 0 }
}

/// Locks the mutex. If the caller has to block in the C library, calls `block`.
///
/// # Safety
/// As pthread_mutex_lock(3); `block` does not switch.
unsafe fn lock_mutex(
    mutex: *mut pthread_mutex_t,
    until: Option<ClockTime>,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller upholds that the mutex is initialised.
    let (is_kernel, kind) = unsafe { (is_kernel_mutex(mutex), field(mutex, MUTEX_KIND)) };
    if is_kernel {
        return block();
    }
    let attempt = || {
        // SAFETY: the same.
        let (result, owner) = unsafe {
            let result = with_green_tid(|| real::pthread_mutex_trylock(mutex));
            (result, field(mutex, MUTEX_OWNER))
        };
        let is_own = || Some(owner) == mutex_owner_tid();
        if result == libc::EBUSY && kind & 3 == ERRORCHECK && is_own() { libc::EDEADLK } else { result }
    };
    let result = hub().and_then(|hub| lock(hub, mutex, until, kind & MUTEX_SHARED != 0, attempt));
    // The C library notes the owner that will unlock the mutex.
    result.unwrap_or_else(|| with_green_tid(block))
}

interpose! { Locks;
    /// See pthread_mutex_lock(3).
    fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int,
        "C" => "parks; the owner is the green thread";
    {
        lock_mutex(mutex, None, || real::pthread_mutex_lock(mutex))
    }

    /// See pthread_mutex_trylock(3).
    fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int, "C" => "the owner is the green thread"; {
        match is_kernel_mutex(mutex) {
            true => real::pthread_mutex_trylock(mutex),
            false => with_green_tid(|| real::pthread_mutex_trylock(mutex)),
        }
    }

    /// See pthread_mutex_timedlock(3).
    fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int, "C" => "parks"; {
        let time = Some((libc::CLOCK_REALTIME, *until));
        lock_mutex(mutex, time, || real::pthread_mutex_timedlock(mutex, until))
    }

    /// See pthread_mutex_clocklock(3).
    fn pthread_mutex_clocklock(mutex: *mut pthread_mutex_t, clock: clockid_t, until: *const timespec) -> c_int,
        "C" => "parks";
    {
        if !is_clock(clock) {
            return libc::EINVAL;
        }
        lock_mutex(mutex, Some((clock, *until)), || real::pthread_mutex_clocklock(mutex, clock, until))
    }

    /// See pthread_mutex_unlock(3). After the unlock only the address of the mutex is used.
    fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int, "C" => "wakes a green thread, too"; {
        if is_kernel_mutex(mutex) {
            return real::pthread_mutex_unlock(mutex);
        }
        let result = with_green_tid(|| real::pthread_mutex_unlock(mutex));
        wake(mutex, 1);
        result
    }
}
