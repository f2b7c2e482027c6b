//! Conditions: made of the table alone, for one cannot try them.

use super::mutex::{is_the_kernels, pthread_mutex_lock, pthread_mutex_unlock};
use super::*;

/// `None`: let the C library wait.
///
/// # Safety
/// As pthread_cond_wait(3).
unsafe fn wait_condition(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: Option<(clockid_t, timespec)>,
) -> Option<c_int> {
    if !is_patched() {
        return None;
    }
    // SAFETY: the caller's.
    if unsafe { field(cond, COND_FLAGS) & COND_SHARED != 0 || is_the_kernels(mutex) } {
        return None;
    }
    let hub = hub();
    if let Some(Err(number)) = until.map(check) {
        return Some(number);
    }
    // Not an OS thread's own affair: it releases the mutex, and green threads may wait for that.
    let who = match hub {
        Some(hub) => {
            let deadline = match until.map(|(clock, until)| deadline(hub, clock, until)) {
                None => NEVER,
                Some(Ok(deadline)) => deadline,
                Some(Err(number)) => return Some(number),
            };
            Waiter::Green { hub, deadline, shield: hub.was_cut_short() }
        }
        None => Waiter::OsThread { until },
    };
    let mut unlocked = 0;
    // We are in the table before the mutex is released; so whoever signals afterwards finds us.
    // SAFETY: the caller has the mutex.
    let mut release = || unsafe {
        unlocked = pthread_mutex_unlock(mutex);
        unlocked == 0
    };
    let mut waited = futex::wait_after(who, cond as usize, ANY, || true, &mut release);
    if waited == FutexWaitResult::Unreachable {
        // It never began, and has to be the OS thread that waits.
        let who = Waiter::OsThread { until };
        waited = futex::wait_after(who, cond as usize, ANY, || true, release);
    }
    if unlocked != 0 {
        return Some(unlocked);
    }
    if let (FutexWaitResult::Interrupted, Some(hub)) = (waited, hub) {
        hub.consume_interrupt();
    }
    // SAFETY: we had it.
    let locked = unsafe { pthread_mutex_lock(mutex) };
    match waited {
        _ if locked != 0 => Some(locked),
        FutexWaitResult::Expired => Some(libc::ETIMEDOUT),
        FutexWaitResult::Deadlocked => {
            if let Some(hub) = hub {
                hub.tell_deadlock(cond as usize);
            }
            None
        }
        _ => Some(0),
    }
}

/// See pthread_cond_wait(3).
///
/// # Safety
/// Both are initialised, and the caller has the mutex.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_wait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { wait_condition(cond, mutex, None).unwrap_or_else(|| real::pthread_cond_wait(cond, mutex)) }
}

/// See pthread_cond_timedwait(3).
///
/// # Safety
/// As pthread_cond_wait, and `until` points to a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_timedwait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let monotonic = field(cond, COND_FLAGS) & COND_MONOTONIC != 0;
        let clock = if monotonic { libc::CLOCK_MONOTONIC } else { libc::CLOCK_REALTIME };
        wait_condition(cond, mutex, Some((clock, *until)))
            .unwrap_or_else(|| real::pthread_cond_timedwait(cond, mutex, until))
    }
}

/// See pthread_cond_clockwait(3).
///
/// # Safety
/// As pthread_cond_timedwait.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_clockwait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        wait_condition(cond, mutex, Some((clock, *until)))
            .unwrap_or_else(|| real::pthread_cond_clockwait(cond, mutex, clock, until))
    }
}

/// See pthread_cond_signal(3).
///
/// # Safety
/// `cond` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_signal(cond: *mut pthread_cond_t) -> c_int {
    if is_patched() && futex::wake(cond as usize, 1, ANY) > 0 {
        return 0;
    }
    // SAFETY: the caller's. Somebody may have waited since before the patch.
    unsafe { real::pthread_cond_signal(cond) }
}

/// See pthread_cond_broadcast(3).
///
/// # Safety
/// `cond` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_broadcast(cond: *mut pthread_cond_t) -> c_int {
    wake(cond, usize::MAX);
    // SAFETY: the caller's.
    unsafe { real::pthread_cond_broadcast(cond) }
}
