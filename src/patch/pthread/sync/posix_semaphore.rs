//! Semaphores.
//!
//! Next: `patch/nanosleep.rs`.

use super::take::{field, take, wake};
use crate::green::Interruptible;
use crate::patch::pthread::clock_time::{ClockTime, check};
use crate::patch::symbol::{failed, interpose, with_errno};
use libc::{c_int, clockid_t, sem_t, timespec};
use std::mem::MaybeUninit;

/// Place of a word in a `sem_t` that is not 0 if processes share it.
const SHARED: usize = 8;

/// Returns whether that word is where it is expected.
pub(super) fn probe() -> bool {
    [0, 1].into_iter().all(|shared| {
        let mut sem = MaybeUninit::<sem_t>::zeroed();
        // SAFETY: a local, which is initialised first, and destroyed last.
        unsafe {
            libc::sem_init(sem.as_mut_ptr(), shared, 1);
            let is_shared = field(sem.as_ptr(), SHARED) != 0;
            libc::sem_destroy(sem.as_mut_ptr());
            is_shared == (shared != 0)
        }
    })
}

/// Takes the semaphore. Returns `None` if the caller has to block in the C library.
///
/// # Safety
/// As sem_wait(3).
unsafe fn wait_semaphore(sem: *mut sem_t, until: Option<ClockTime>) -> Option<c_int> {
    // SAFETY: the caller upholds that the semaphore is initialised.
    let attempt = || unsafe { if libc::sem_trywait(sem) == 0 { 0 } else { libc::EBUSY } };
    // SAFETY: the same.
    let is_shared = unsafe { field(sem, SHARED) != 0 };
    let number = match check(until) {
        Ok(()) => take(sem, until, Interruptible::Yes, is_shared, attempt)?,
        Err(number) => number,
    };
    Some(with_errno(failed(number)))
}

interpose! { Locks;
    /// See sem_wait(3).
    fn sem_wait(sem: *mut sem_t) -> c_int, "C" => "parks; EINTR for a kill or a timeout"; {
        wait_semaphore(sem, None).unwrap_or_else(|| Real::sem_wait(sem))
    }

    /// See sem_timedwait(3).
    fn sem_timedwait(sem: *mut sem_t, until: *const timespec) -> c_int, "C" => "the same"; {
        sem_clockwait(sem, libc::CLOCK_REALTIME, until)
    }

    /// See sem_clockwait(3).
    fn sem_clockwait(sem: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int, "C" => "the same"; {
        wait_semaphore(sem, Some((clock, *until))).unwrap_or_else(|| Real::sem_clockwait(sem, clock, until))
    }

    /// See sem_post(3). Afterwards only the address of the semaphore is used.
    fn sem_post(sem: *mut sem_t) -> c_int, "C" => "wakes a green thread, too"; {
        let result = Real::sem_post(sem);
        wake(sem, 1);
        result
    }
}
