//! Mutexes and spin locks.
//!
//! Next: `patch/pthread/sync/pthread_cond.rs`.

use super::owner::{mutex_owner_tid, with_green_tid};
use super::take::{field, hub, take, wake};
use crate::green::Interruptible;
use crate::patch::pthread::clock_time::{ClockTime, is_clock};
use crate::patch::symbol::interpose;
use crate::sys::tid::gettid;
use libc::{c_int, clockid_t, pthread_mutex_t, pthread_spinlock_t, timespec};
use std::mem::MaybeUninit;

/// Place of the owner's thread id in a `pthread_mutex_t`.
const OWNER: usize = 8;
/// Place of the kind and the flags.
const KIND: usize = 16;
/// Flags of `KIND`: robust, priority inheritance, priority ceiling.
const KERNEL: i32 = 16 | 32 | 64;
const SHARED: i32 = 128;
/// Kind of an error-checking mutex (1 is a recursive one).
const ERRORCHECK: i32 = 2;

/// Returns whether the owner and the kind of a mutex are where they are expected: of an error-checking mutex that processes
/// share, while the caller has it.
pub(super) fn probe() -> bool {
    let (mut attr, mut mutex) = (MaybeUninit::uninit(), MaybeUninit::<pthread_mutex_t>::zeroed());
    // SAFETY: both are locals, which are initialised first, and destroyed last.
    unsafe {
        libc::pthread_mutexattr_init(attr.as_mut_ptr());
        libc::pthread_mutexattr_settype(attr.as_mut_ptr(), libc::PTHREAD_MUTEX_ERRORCHECK);
        libc::pthread_mutexattr_setpshared(attr.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
        libc::pthread_mutex_init(mutex.as_mut_ptr(), attr.as_ptr());
        Real::pthread_mutex_lock(mutex.as_mut_ptr());
        let fields = (field(mutex.as_ptr(), OWNER), field(mutex.as_ptr(), KIND));
        Real::pthread_mutex_unlock(mutex.as_mut_ptr());
        libc::pthread_mutex_destroy(mutex.as_mut_ptr());
        libc::pthread_mutexattr_destroy(attr.as_mut_ptr());
        fields == (gettid(), ERRORCHECK | SHARED)
    }
}

/// Returns whether the kernel takes part in the mutex (robust, priority inheritance), and so has to handle all of it.
///
/// # Safety
/// The mutex is initialised.
pub(super) unsafe fn is_kernel_mutex(mutex: *mut pthread_mutex_t) -> bool {
    // SAFETY: the caller upholds that the mutex is initialised.
    unsafe { field(mutex, KIND) & KERNEL != 0 }
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
    let kind = unsafe { field(mutex, KIND) };
    if kind & KERNEL != 0 {
        return block();
    }
    let attempt = || {
        // SAFETY: the same.
        let (result, owner) = unsafe {
            let result = with_green_tid(|| Real::pthread_mutex_trylock(mutex));
            (result, field(mutex, OWNER))
        };
        let is_own = || Some(owner) == mutex_owner_tid();
        if result == libc::EBUSY && kind & 3 == ERRORCHECK && is_own() { libc::EDEADLK } else { result }
    };
    let result = take(mutex, until, Interruptible::No, kind & SHARED != 0, attempt);
    // The C library notes the owner that will unlock the mutex.
    result.unwrap_or_else(|| with_green_tid(block))
}

interpose! { Locks;
    /// See pthread_mutex_lock(3).
    fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int,
        "C" => "parks; the owner is the green thread";
    {
        lock_mutex(mutex, None, || Real::pthread_mutex_lock(mutex))
    }

    /// See pthread_mutex_trylock(3).
    fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int, "C" => "the owner is the green thread"; {
        match is_kernel_mutex(mutex) {
            true => Real::pthread_mutex_trylock(mutex),
            false => with_green_tid(|| Real::pthread_mutex_trylock(mutex)),
        }
    }

    /// See pthread_mutex_timedlock(3).
    fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int, "C" => "parks"; {
        let time = Some((libc::CLOCK_REALTIME, *until));
        lock_mutex(mutex, time, || Real::pthread_mutex_timedlock(mutex, until))
    }

    /// See pthread_mutex_clocklock(3).
    fn pthread_mutex_clocklock(mutex: *mut pthread_mutex_t, clock: clockid_t, until: *const timespec) -> c_int,
        "C" => "parks";
    {
        if !is_clock(clock) {
            return libc::EINVAL;
        }
        lock_mutex(mutex, Some((clock, *until)), || Real::pthread_mutex_clocklock(mutex, clock, until))
    }

    /// See pthread_mutex_unlock(3). After the unlock only the address of the mutex is used.
    fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int, "C" => "wakes a green thread, too"; {
        if is_kernel_mutex(mutex) {
            return Real::pthread_mutex_unlock(mutex);
        }
        let result = with_green_tid(|| Real::pthread_mutex_unlock(mutex));
        wake(mutex, 1);
        result
    }

    /// See pthread_spin_lock(3). A parked green thread of the same OS thread may have the lock.
    fn pthread_spin_lock(lock: *mut pthread_spinlock_t) -> c_int,
        "C" => "lets the others run while it is taken";
    {
        let Some(hub) = hub() else { return Real::pthread_spin_lock(lock) };
        while libc::pthread_spin_trylock(lock) != 0 {
            hub.yield_now();
        }
        0
    }
}
