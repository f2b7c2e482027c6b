//! Sleeping and yielding.
//!
//! Next: `patch/pthread/mod.rs`, threads.

use super::kind::{Kind, patched_hub};
use super::symbol::{failed, interpose, kernel, with_errno};
use crate::hub::{Hub, OnInterrupt, keep_errno};
use crate::ids::{ParkResult, WaitReason};
use crate::sys::timespec::{ZERO, duration_of, now, timespec_of};
use libc::{c_int, c_uint, clockid_t, timespec};
use std::ptr::null_mut;
use std::time::Duration;

/// Parks for `duration`. An interrupt ends the park early, after the other green threads have run.
fn park_for(hub: &Hub, duration: Duration) {
    if duration.is_zero() {
        return keep_errno(|| hub.yield_now());
    }
    let deadline = hub.clock().after(duration);
    loop {
        // An interrupt cuts a sleep short only once, so that a loop of sleeps does not spin.
        let interruptible = hub.interruptible(OnInterrupt::Eintr);
        match keep_errno(|| hub.park(hub.ticket(), deadline, WaitReason::Sleep, interruptible)) {
            ParkResult::Expired => return,
            // The root sleeps forever, and there is no other green thread: the kernel does that.
            ParkResult::Deadlocked => {
                let time = timespec_of(duration);
                // SAFETY: a local is read, nothing is written.
                unsafe { kernel(libc::SYS_nanosleep, [&raw const time as usize, 0]) };
                return;
            }
            ParkResult::Interrupted => return hub.consume_interrupt(),
            ParkResult::Notified => {}
        }
    }
}

interpose! { Sleep;
    /// See clock_nanosleep(2). Returns 0 or an error number; never `EINTR` when it parks.
    fn clock_nanosleep(
        clock: clockid_t,
        flags: c_int,
        request: *const timespec,
        left: *mut timespec,
    ) -> c_int, "std::thread::{sleep, sleep_until}" => "parks until the time; CPU-time clocks go to the kernel";
    {
        let parks = matches!(
            clock,
            libc::CLOCK_MONOTONIC | libc::CLOCK_REALTIME | libc::CLOCK_BOOTTIME | libc::CLOCK_TAI
        );
        let Some(hub) = patched_hub(Kind::Sleep).filter(|_| parks && !request.is_null()) else {
            let args = [clock as usize, flags as usize, request as usize, left as usize];
            return -kernel(libc::SYS_clock_nanosleep, args) as c_int;
        };
        let mut duration = match duration_of(*request) {
            Ok(duration) => duration,
            Err(number) => return number,
        };
        if flags & libc::TIMER_ABSTIME != 0 {
            duration = duration.saturating_sub(now(clock));
        }
        park_for(hub, duration);
        0
    }

    /// See nanosleep(2).
    fn nanosleep(request: *const timespec, left: *mut timespec) -> c_int, "C" => "parks until the time"; {
        with_errno(failed(clock_nanosleep(libc::CLOCK_MONOTONIC, 0, request, left)))
    }

    /// See usleep(3).
    fn usleep(micros: c_uint) -> c_int, "C" => "parks until the time"; {
        let time = timespec_of(Duration::from_micros(micros.into()));
        nanosleep(&raw const time, null_mut())
    }

    /// See sleep(3). Returns 0 when it parks, and otherwise the seconds left when a signal was handled.
    fn sleep(seconds: c_uint) -> c_uint, "C" => "parks until the time"; {
        let (time, mut left) = (timespec_of(Duration::from_secs(seconds.into())), ZERO);
        if nanosleep(&raw const time, &raw mut left) == 0 { 0 } else { left.tv_sec as c_uint }
    }

    /// See sched_yield(2).
    fn sched_yield() -> c_int, "std::thread::yield_now, spin locks" => "lets the other green threads run"; {
        match patched_hub(Kind::Sleep) {
            Some(hub) => {
                keep_errno(|| hub.yield_now());
                0
            }
            None => with_errno(kernel(libc::SYS_sched_yield, [])),
        }
    }
}
