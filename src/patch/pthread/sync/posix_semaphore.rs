//! Semaphores.
//!
//! Next: `patch/nanosleep.rs`.

use super::glibc_fields::{SEM_SHARED, field};
use super::take::{Interruptible, Taken, hub, take, wake};
use crate::patch::pthread::clock_time::{ClockTime, deadline};
use crate::patch::real;
use crate::patch::symbol::{failed, interpose, with_errno};
use libc::{c_int, clockid_t, sem_t, timespec};

/// Takes the semaphore. Returns `None` if the caller has to block in the C library.
///
/// # Safety
/// As sem_wait(3).
unsafe fn wait_semaphore(sem: *mut sem_t, until: Option<ClockTime>) -> Option<c_int> {
    let hub = hub()?;
    // SAFETY: the caller upholds that the semaphore is initialised.
    let attempt = || unsafe { if libc::sem_trywait(sem) == 0 { 0 } else { libc::EBUSY } };
    // SAFETY: the same.
    let is_shared = unsafe { field(sem, SEM_SHARED) != 0 };
    let number = match deadline(hub, until) {
        Err(number) => number,
        Ok(limit) => match take(hub, sem, limit, Interruptible::Yes, is_shared, attempt) {
            Taken::Result(number) => number,
            Taken::Expired => libc::ETIMEDOUT,
            Taken::Interrupted => {
                hub.consume_interrupt();
                libc::EINTR
            }
            Taken::Block => return None,
        },
    };
    Some(with_errno(failed(number)))
}

interpose! { Locks;
    /// See sem_wait(3).
    fn sem_wait(sem: *mut sem_t) -> c_int, "C" => "parks; EINTR for a kill or a timeout"; {
        wait_semaphore(sem, None).unwrap_or_else(|| real::sem_wait(sem))
    }

    /// See sem_timedwait(3).
    fn sem_timedwait(sem: *mut sem_t, until: *const timespec) -> c_int, "C" => "the same"; {
        sem_clockwait(sem, libc::CLOCK_REALTIME, until)
    }

    /// See sem_clockwait(3).
    fn sem_clockwait(sem: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int, "C" => "the same"; {
        wait_semaphore(sem, Some((clock, *until))).unwrap_or_else(|| real::sem_clockwait(sem, clock, until))
    }

    /// See sem_post(3). Afterwards only the address of the semaphore is used.
    fn sem_post(sem: *mut sem_t) -> c_int, "C" => "wakes a green thread, too"; {
        let result = real::sem_post(sem);
        wake(sem, 1);
        result
    }
}
