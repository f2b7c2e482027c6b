//! Semaphores.

use super::*;

/// `None`: block in the C library.
///
/// # Safety
/// As sem_wait(3).
unsafe fn wait_semaphore(sem: *mut sem_t, until: Option<(clockid_t, timespec)>) -> Option<c_int> {
    let hub = hub()?;
    // SAFETY: the caller's.
    let attempt = || unsafe { if libc::sem_trywait(sem) == 0 { 0 } else { libc::EBUSY } };
    let limit = match until.map(|(clock, until)| deadline(hub, clock, until)) {
        None => Ok(NEVER),
        Some(limit) => limit,
    };
    // SAFETY: the caller's.
    let shared = unsafe { field(sem, SEM_SHARED) != 0 };
    let number = match limit {
        Err(number) => number,
        Ok(limit) => match take(hub, sem, limit, hub.was_cut_short(), shared, attempt) {
            Taken::Answer(answer) => answer,
            Taken::Expired => libc::ETIMEDOUT,
            Taken::Interrupted => {
                hub.consume_interrupt();
                libc::EINTR
            }
            Taken::Block => return None,
        },
    };
    if number == 0 {
        return Some(0);
    }
    set_errno(number);
    Some(-1)
}

/// See sem_wait(3).
///
/// # Safety
/// `sem` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_wait(sem: *mut sem_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { wait_semaphore(sem, None).unwrap_or_else(|| real::sem_wait(sem)) }
}

/// See sem_clockwait(3).
///
/// # Safety
/// `sem` is initialised, `until` points to a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_clockwait(sem: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        wait_semaphore(sem, Some((clock, *until))).unwrap_or_else(|| real::sem_clockwait(sem, clock, until))
    }
}

/// See sem_timedwait(3).
///
/// # Safety
/// As sem_clockwait.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_timedwait(sem: *mut sem_t, until: *const timespec) -> c_int {
    // SAFETY: the caller's.
    unsafe { sem_clockwait(sem, libc::CLOCK_REALTIME, until) }
}

/// See sem_post(3).
///
/// # Safety
/// `sem` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_post(sem: *mut sem_t) -> c_int {
    // SAFETY: the caller's. Afterwards only its address is used.
    let answer = unsafe { real::sem_post(sem) };
    wake(sem, 1);
    answer
}
