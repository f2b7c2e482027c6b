//! Conditions. They cannot be tried, so they are made of the table alone.
//!
//! Next: `patch/pthread/sync/pthread_rwlock.rs`.

use super::pthread_mutex::{is_kernel_mutex, pthread_mutex_lock, pthread_mutex_unlock};
use super::take::{ANY, field, hub, is_patched, wake};
use crate::hub::OnInterrupt;
use crate::hub::futex;
use crate::hub::futex::{FutexWaitResult, Waiter};
use crate::patch::pthread::clock_time::{ClockTime, check, deadline};
use crate::patch::symbol::interpose;
use libc::{c_int, clockid_t, pthread_cond_t, pthread_mutex_t, timespec};
use std::mem::MaybeUninit;

/// Place of the flags in a `pthread_cond_t`.
const FLAGS: usize = 36;
const SHARED: i32 = 1;
const MONOTONIC: i32 = 2;

/// Returns whether the flags of a condition are where they are expected.
pub(super) fn probe() -> bool {
    let (private, shared) = (libc::PTHREAD_PROCESS_PRIVATE, libc::PTHREAD_PROCESS_SHARED);
    let all = [
        (libc::CLOCK_REALTIME, private, 0),
        (libc::CLOCK_MONOTONIC, private, MONOTONIC),
        (libc::CLOCK_REALTIME, shared, SHARED),
    ];
    all.into_iter().all(|(clock, shared, expected)| {
        let (mut attr, mut cond) = (MaybeUninit::uninit(), MaybeUninit::<pthread_cond_t>::zeroed());
        // SAFETY: both are locals, which are initialised first, and destroyed last.
        unsafe {
            libc::pthread_condattr_init(attr.as_mut_ptr());
            libc::pthread_condattr_setclock(attr.as_mut_ptr(), clock);
            libc::pthread_condattr_setpshared(attr.as_mut_ptr(), shared);
            libc::pthread_cond_init(cond.as_mut_ptr(), attr.as_ptr());
            let flags = field(cond.as_ptr(), FLAGS);
            libc::pthread_cond_destroy(cond.as_mut_ptr());
            libc::pthread_condattr_destroy(attr.as_mut_ptr());
            flags == expected
        }
    })
}

/// Enters the table, releases the mutex, waits for the condition, and takes the mutex again. A thread that signals after the
/// release finds the waiter in the table. An OS thread without a hub waits here, too: it releases the mutex, for which green
/// threads may wait. Returns `None` if the caller has to wait in the C library.
///
/// # Safety
/// As pthread_cond_wait(3).
unsafe fn wait_condition(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: Option<ClockTime>,
) -> Option<c_int> {
    // SAFETY: the caller upholds that both are initialised.
    if !is_patched() || unsafe { field(cond, FLAGS) & SHARED != 0 || is_kernel_mutex(mutex) } {
        return None;
    }
    if let Err(number) = check(until) {
        return Some(number);
    }
    let (hub, mut released) = (hub(), 0);
    let mut release = || {
        // SAFETY: the caller has the mutex, and it is released once: a wait that is unreachable does not begin.
        released = unsafe { pthread_mutex_unlock(mutex) };
        released == 0
    };
    let mut wait = |waiter| futex::wait_after(waiter, cond as usize, ANY, || true, &mut release);
    let mut result = FutexWaitResult::Unreachable;
    if let Some(hub) = hub {
        let interruptible = hub.interruptible(OnInterrupt::Eintr);
        result = wait(Waiter::Green { hub, deadline: deadline(hub, until), interruptible });
    }
    if result == FutexWaitResult::Unreachable {
        result = wait(Waiter::OsThread { until });
    }
    if released != 0 {
        return Some(released);
    }
    if let (FutexWaitResult::Interrupted, Some(hub)) = (result, hub) {
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

interpose! { Locks;
    /// See pthread_cond_wait(3).
    fn pthread_cond_wait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int,
        "C" => "parks; may end early for a kill or a timeout";
    {
        wait_condition(cond, mutex, None).unwrap_or_else(|| Real::pthread_cond_wait(cond, mutex))
    }

    /// See pthread_cond_timedwait(3).
    fn pthread_cond_timedwait(
        cond: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        until: *const timespec,
    ) -> c_int, "C" => "the same";
    {
        let is_monotonic = field(cond, FLAGS) & MONOTONIC != 0;
        let clock = if is_monotonic { libc::CLOCK_MONOTONIC } else { libc::CLOCK_REALTIME };
        wait_condition(cond, mutex, Some((clock, *until)))
            .unwrap_or_else(|| Real::pthread_cond_timedwait(cond, mutex, until))
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
            .unwrap_or_else(|| Real::pthread_cond_clockwait(cond, mutex, clock, until))
    }

    /// See pthread_cond_signal(3). A thread may have waited in the C library since before the patch.
    fn pthread_cond_signal(cond: *mut pthread_cond_t) -> c_int, "C" => "wakes a green thread, else an OS thread"; {
        if is_patched() && futex::wake(cond as usize, 1, ANY) > 0 {
            return 0;
        }
        Real::pthread_cond_signal(cond)
    }

    /// See pthread_cond_broadcast(3).
    fn pthread_cond_broadcast(cond: *mut pthread_cond_t) -> c_int, "C" => "wakes all of both"; {
        wake(cond, usize::MAX);
        Real::pthread_cond_broadcast(cond)
    }
}
