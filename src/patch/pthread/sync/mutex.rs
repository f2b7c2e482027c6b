//! Mutexes.

use super::*;

/// Whether the kernel has a part in it, and is to have all of it.
///
/// # Safety
/// A mutex, initialised.
pub(super) unsafe fn is_the_kernels(mutex: *mut pthread_mutex_t) -> bool {
    // SAFETY: the caller's.
    unsafe { field(mutex, MUTEX_KIND) & MUTEX_KERNEL != 0 }
}

/// # Safety
/// As pthread_mutex_trylock(3).
unsafe fn try_lock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's.
    with_green_tid(|| unsafe { real::pthread_mutex_trylock(mutex) })
}

/// `None`: block in the C library.
///
/// # Safety
/// As pthread_mutex_lock(3).
unsafe fn lock_mutex(mutex: *mut pthread_mutex_t, until: Option<(clockid_t, timespec)>) -> Option<c_int> {
    let hub = hub()?;
    // SAFETY: the caller's.
    unsafe {
        if is_the_kernels(mutex) {
            return None;
        }
        let kind = field(mutex, MUTEX_KIND);
        let attempt = || {
            let answer = try_lock(mutex);
            let is_mine = || Some(field(mutex, MUTEX_OWNER)) == mutex_owner_tid();
            if answer == libc::EBUSY && kind & 3 == ERRORCHECK && is_mine() { libc::EDEADLK } else { answer }
        };
        lock(hub, mutex, until, kind & MUTEX_SHARED != 0, attempt)
    }
}

/// Has the C library lock it, and block if need be: with the owner that will unlock it.
///
/// # Safety
/// A mutex, initialised; `call` does not switch.
unsafe fn lock_in_library(mutex: *mut pthread_mutex_t, call: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the caller's.
    match unsafe { is_the_kernels(mutex) } {
        true => call(),
        false => with_green_tid(call),
    }
}

/// See pthread_mutex_lock(3).
///
/// # Safety
/// `mutex` is initialised.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let block = || lock_in_library(mutex, || real::pthread_mutex_lock(mutex));
        lock_mutex(mutex, None).unwrap_or_else(block)
    }
}

/// See pthread_mutex_trylock(3).
///
/// # Safety
/// `mutex` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        match is_the_kernels(mutex) {
            true => real::pthread_mutex_trylock(mutex),
            false => try_lock(mutex),
        }
    }
}

/// See pthread_mutex_timedlock(3).
///
/// # Safety
/// `mutex` is initialised, `until` points to a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let block = || lock_in_library(mutex, || real::pthread_mutex_timedlock(mutex, until));
        lock_mutex(mutex, Some((libc::CLOCK_REALTIME, *until))).unwrap_or_else(block)
    }
}

/// See pthread_mutex_clocklock(3).
///
/// # Safety
/// As pthread_mutex_timedlock.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_clocklock(
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    if !is_clock(clock) {
        return libc::EINVAL;
    }
    // SAFETY: the caller's.
    unsafe {
        let block = || lock_in_library(mutex, || real::pthread_mutex_clocklock(mutex, clock, until));
        lock_mutex(mutex, Some((clock, *until))).unwrap_or_else(block)
    }
}

/// See pthread_mutex_unlock(3).
///
/// # Safety
/// `mutex` is initialised, and the caller has it.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's. Once it is released, only its address is used.
    unsafe {
        if is_the_kernels(mutex) {
            return real::pthread_mutex_unlock(mutex);
        }
        let answer = with_green_tid(|| real::pthread_mutex_unlock(mutex));
        wake(mutex, 1);
        answer
    }
}
