//! Conditions. They cannot be tried, so they are made of the table alone.
//!
//! Next: `patch/pthread/sync/pthread_rwlock.rs`.

use super::glibc_fields::{COND_FLAGS, COND_MONOTONIC, COND_SHARED, field};
use super::pthread_mutex::{is_kernel_mutex, pthread_mutex_lock, pthread_mutex_unlock};
use super::take::{ANY, hub, is_patched, wake};
use crate::hub::futex;
use crate::hub::futex::{FutexWaitResult, Waiter};
use crate::patch::pthread::clock_time::{ClockTime, check, deadline};
use crate::patch::real;
use crate::patch::symbol::interpose;
use libc::{c_int, clockid_t, pthread_cond_t, pthread_mutex_t, timespec};

/// Waits for the condition. Returns `None` if the caller has to wait in the C library.
///
/// # Safety
/// As pthread_cond_wait(3).
unsafe fn wait_condition(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: Option<ClockTime>,
) -> Option<c_int> {
    // SAFETY: the caller upholds that both are initialised.
    if !is_patched() || unsafe { field(cond, COND_FLAGS) & COND_SHARED != 0 || is_kernel_mutex(mutex) } {
        return None;
    }
    if let Err(number) = check(until) {
        return Some(number);
    }
    // SAFETY: the caller has the mutex.
    let result = match unsafe { release_and_wait(cond, mutex, until) } {
        Ok(result) => result,
        Err(number) => return Some(number),
    };
    if let (FutexWaitResult::Interrupted, Some(hub)) = (result, hub()) {
        hub.consume_interrupt();
    }
    // SAFETY: the caller had the mutex.
    let locked = unsafe { pthread_mutex_lock(mutex) };
    match result {
        _ if locked != 0 => Some(locked),
        FutexWaitResult::Expired => Some(libc::ETIMEDOUT),
        FutexWaitResult::Deadlocked => None,
        _ => Some(0),
    }
}

/// Enters the table, releases the mutex, and waits. A thread that signals after the release finds the waiter in the table.
/// An OS thread without a hub waits here, too: it releases the mutex, for which green threads may wait.
///
/// Errors: the error number of the release.
///
/// # Safety
/// The caller has the mutex.
unsafe fn release_and_wait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: Option<ClockTime>,
) -> Result<FutexWaitResult, c_int> {
    let mut released = 0;
    let mut wait = |waiter| {
        futex::wait_after(
            waiter,
            cond as usize,
            ANY,
            || true,
            || {
                // SAFETY: the caller has the mutex, and it is released once: a wait that is unreachable does not begin.
                released = unsafe { pthread_mutex_unlock(mutex) };
                released == 0
            },
        )
    };
    let mut result = FutexWaitResult::Unreachable;
    if let Some(hub) = hub() {
        result = wait(Waiter::Green { hub, deadline: deadline(hub, until)?, shield: hub.was_cut_short() });
    }
    if result == FutexWaitResult::Unreachable {
        result = wait(Waiter::OsThread { until });
    }
    if released == 0 { Ok(result) } else { Err(released) }
}

interpose! { Locks;
    /// See pthread_cond_wait(3).
    fn pthread_cond_wait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int,
        "C" => "parks; may end early for a kill or a timeout";
    {
        wait_condition(cond, mutex, None).unwrap_or_else(|| real::pthread_cond_wait(cond, mutex))
    }

    /// See pthread_cond_timedwait(3).
    fn pthread_cond_timedwait(
        cond: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        until: *const timespec,
    ) -> c_int, "C" => "the same";
    {
        let is_monotonic = field(cond, COND_FLAGS) & COND_MONOTONIC != 0;
        let clock = if is_monotonic { libc::CLOCK_MONOTONIC } else { libc::CLOCK_REALTIME };
        wait_condition(cond, mutex, Some((clock, *until)))
            .unwrap_or_else(|| real::pthread_cond_timedwait(cond, mutex, until))
    }

    /// See pthread_cond_clockwait(3).
    fn pthread_cond_clockwait(
        cond: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int, "C" => "the same";
    {
        wait_condition(cond, mutex, Some((clock, *until)))
            .unwrap_or_else(|| real::pthread_cond_clockwait(cond, mutex, clock, until))
    }

    /// See pthread_cond_signal(3). A thread may have waited in the C library since before the patch.
    fn pthread_cond_signal(cond: *mut pthread_cond_t) -> c_int, "C" => "wakes a green thread, else an OS thread"; {
        if is_patched() && futex::wake(cond as usize, 1, ANY) > 0 {
            return 0;
        }
        real::pthread_cond_signal(cond)
    }

    /// See pthread_cond_broadcast(3).
    fn pthread_cond_broadcast(cond: *mut pthread_cond_t) -> c_int, "C" => "wakes all of both"; {
        wake(cond, usize::MAX);
        real::pthread_cond_broadcast(cond)
    }
}
