//! Read-write locks.

use super::*;

/// `None`: block in the C library.
///
/// # Safety
/// As pthread_rwlock_rdlock(3).
unsafe fn lock_rwlock(
    rwlock: *mut pthread_rwlock_t,
    until: Option<(clockid_t, timespec)>,
    attempt: unsafe fn(*mut pthread_rwlock_t) -> c_int,
) -> Option<c_int> {
    let hub = hub()?;
    if let Some(Err(number)) = until.map(check) {
        return Some(number);
    }
    // SAFETY: the caller's.
    unsafe {
        let shared = field(rwlock, RWLOCK_SHARED) != 0;
        let attempt = || {
            let answer = with_green_tid(|| attempt(rwlock));
            let is_mine = || Some(field(rwlock, RWLOCK_WRITER)) == mutex_owner_tid();
            if answer == libc::EBUSY && is_mine() { libc::EDEADLK } else { answer }
        };
        lock(hub, rwlock, until, shared, attempt)
    }
}

/// See pthread_rwlock_rdlock(3).
///
/// # Safety
/// `rwlock` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_rdlock(rwlock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        lock_rwlock(rwlock, None, real::pthread_rwlock_tryrdlock)
            .unwrap_or_else(|| with_green_tid(|| real::pthread_rwlock_rdlock(rwlock)))
    }
}

/// See pthread_rwlock_wrlock(3).
///
/// # Safety
/// `rwlock` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_wrlock(rwlock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        lock_rwlock(rwlock, None, real::pthread_rwlock_trywrlock)
            .unwrap_or_else(|| with_green_tid(|| real::pthread_rwlock_wrlock(rwlock)))
    }
}

/// See pthread_rwlock_tryrdlock(3).
///
/// # Safety
/// `rwlock` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_tryrdlock(rwlock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's.
    with_green_tid(|| unsafe { real::pthread_rwlock_tryrdlock(rwlock) })
}

/// See pthread_rwlock_trywrlock(3). The C library notes the writer, and by that tells at the release what it was.
///
/// # Safety
/// `rwlock` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_trywrlock(rwlock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's.
    with_green_tid(|| unsafe { real::pthread_rwlock_trywrlock(rwlock) })
}

/// See pthread_rwlock_clockrdlock(3).
///
/// # Safety
/// `rwlock` is initialised, `until` points to a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_clockrdlock(
    rwlock: *mut pthread_rwlock_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        lock_rwlock(rwlock, Some((clock, *until)), real::pthread_rwlock_tryrdlock)
            .unwrap_or_else(|| with_green_tid(|| real::pthread_rwlock_clockrdlock(rwlock, clock, until)))
    }
}

/// See pthread_rwlock_clockwrlock(3).
///
/// # Safety
/// As pthread_rwlock_clockrdlock.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_clockwrlock(
    rwlock: *mut pthread_rwlock_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let block = || {
            let answer = with_green_tid(|| real::pthread_rwlock_clockwrlock(rwlock, clock, until));
            if answer == libc::ETIMEDOUT {
                // Readers may have let it go first.
                wake(rwlock, usize::MAX);
            }
            answer
        };
        lock_rwlock(rwlock, Some((clock, *until)), real::pthread_rwlock_trywrlock).unwrap_or_else(block)
    }
}

/// See pthread_rwlock_timedrdlock(3).
///
/// # Safety
/// As pthread_rwlock_clockrdlock.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_timedrdlock(
    rwlock: *mut pthread_rwlock_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { pthread_rwlock_clockrdlock(rwlock, libc::CLOCK_REALTIME, until) }
}

/// See pthread_rwlock_timedwrlock(3).
///
/// # Safety
/// As pthread_rwlock_clockrdlock.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_timedwrlock(
    rwlock: *mut pthread_rwlock_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { pthread_rwlock_clockwrlock(rwlock, libc::CLOCK_REALTIME, until) }
}

/// See pthread_rwlock_unlock(3).
///
/// # Safety
/// `rwlock` is initialised, and the caller has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_unlock(rwlock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's. Once it is released, only its address is used.
    let answer = with_green_tid(|| unsafe { real::pthread_rwlock_unlock(rwlock) });
    // All try again: one writer, or all readers.
    wake(rwlock, usize::MAX);
    answer
}
