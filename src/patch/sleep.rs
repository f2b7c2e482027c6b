//! Sleeping and giving way.

use super::{Covered, Kind, patched_hub};
use crate::arch::syscall::syscall;
use crate::hub::{Hub, keep_errno};
use crate::ids::{ParkResult, WaitReason};
use crate::time::Time;
use libc::{c_int, c_uint, clockid_t, timespec};
use std::ptr::null_mut;
use std::time::Duration;

pub(super) const COVERAGE: &[Covered] = &[
    Covered {
        symbol: "clock_nanosleep",
        kind: Kind::Sleep,
        called_by: "std::thread::{sleep, sleep_until}",
        when_patched: "parks until the time; CPU-time clocks go to the kernel",
    },
    Covered { symbol: "nanosleep", kind: Kind::Sleep, called_by: "C", when_patched: "parks until the time" },
    Covered { symbol: "usleep", kind: Kind::Sleep, called_by: "C", when_patched: "parks until the time" },
    Covered { symbol: "sleep", kind: Kind::Sleep, called_by: "C", when_patched: "parks until the time" },
    Covered {
        symbol: "sched_yield",
        kind: Kind::Sleep,
        called_by: "std::thread::yield_now, spin locks",
        when_patched: "lets the other green threads run",
    },
];

/// Parks for `duration`. Cannot fail: an interrupt ends it early, after the others have run.
fn park_for(hub: &Hub, duration: Duration) {
    if duration.is_zero() {
        return keep_errno(|| hub.yield_now());
    }
    keep_errno(|| park_until(hub, hub.clock().after(duration), duration));
}

fn park_until(hub: &Hub, deadline: Time, duration: Duration) {
    loop {
        // Cut short once for a kill or a timeout; a loop of such calls is not to spin.
        let shield = hub.was_cut_short();
        match hub.park(hub.ticket(), deadline, WaitReason::Sleep, shield) {
            ParkResult::Expired => return,
            // For ever, on the root, with nobody else: that is for the kernel to sleep.
            ParkResult::Deadlocked => {
                let time =
                    timespec { tv_sec: duration.as_secs() as _, tv_nsec: duration.subsec_nanos() as _ };
                let args = [&raw const time as usize, 0, 0, 0, 0, 0];
                // SAFETY: a time of our own; nothing is written.
                unsafe { syscall(libc::SYS_nanosleep, args) };
                return;
            }
            ParkResult::Interrupted => {
                hub.cut_short();
                return hub.yield_now();
            }
            ParkResult::Notified => {}
        }
    }
}

/// The length of a `timespec`; `None` for one that the kernel refuses.
fn length(time: timespec) -> Option<Duration> {
    let nanos = u32::try_from(time.tv_nsec).ok().filter(|&nanos| nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, nanos))
}

/// `errno`'s way of a raw answer: -1 and the number.
fn with_errno(answer: isize) -> c_int {
    if answer < 0 {
        // SAFETY: the address is this thread's own.
        unsafe { *libc::__errno_location() = -answer as c_int };
        return -1;
    }
    answer as c_int
}

/// See clock_nanosleep(2): answers 0 or an error number. Never `EINTR` when it parks.
///
/// # Safety
/// `request` is null or points to a `timespec`; `left` likewise, for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    request: *const timespec,
    left: *mut timespec,
) -> c_int {
    // SAFETY: the caller's pointers go to the kernel unchanged.
    let kernel = || unsafe {
        let args = [clock as usize, flags as usize, request as usize, left as usize, 0, 0];
        -syscall(libc::SYS_clock_nanosleep, args) as c_int
    };
    let Some(hub) = patched_hub(Kind::Sleep) else { return kernel() };
    let parks = matches!(
        clock,
        libc::CLOCK_MONOTONIC | libc::CLOCK_REALTIME | libc::CLOCK_BOOTTIME | libc::CLOCK_TAI
    );
    if !parks || request.is_null() {
        return kernel();
    }
    // SAFETY: not null, and the caller says what it points to.
    let Some(mut duration) = length(unsafe { *request }) else { return libc::EINVAL };
    if flags & libc::TIMER_ABSTIME != 0 {
        let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is ours to be written.
        unsafe { libc::clock_gettime(clock, &raw mut now) };
        duration = duration.saturating_sub(length(now).unwrap_or_default());
    }
    park_for(hub, duration);
    0
}

/// See nanosleep(2).
///
/// # Safety
/// As clock_nanosleep.
#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(request: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: the caller's pointers, and the same contract.
    with_errno(-unsafe { clock_nanosleep(libc::CLOCK_MONOTONIC, 0, request, left) } as isize)
}

/// See usleep(3).
#[unsafe(no_mangle)]
extern "C" fn usleep(micros: c_uint) -> c_int {
    let time = timespec {
        tv_sec: (micros / 1_000_000) as libc::time_t,
        tv_nsec: (micros % 1_000_000 * 1_000) as libc::c_long,
    };
    // SAFETY: a time of our own; nothing is written.
    unsafe { nanosleep(&raw const time, null_mut()) }
}

/// See sleep(3): answers 0 when it parks, and otherwise the seconds left when a signal was handled.
#[unsafe(no_mangle)]
extern "C" fn sleep(seconds: c_uint) -> c_uint {
    let time = timespec { tv_sec: seconds as libc::time_t, tv_nsec: 0 };
    let mut left = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both are ours.
    if unsafe { nanosleep(&raw const time, &raw mut left) } == 0 { 0 } else { left.tv_sec as c_uint }
}

/// See sched_yield(2).
#[unsafe(no_mangle)]
extern "C" fn sched_yield() -> c_int {
    match patched_hub(Kind::Sleep) {
        Some(hub) => {
            keep_errno(|| hub.yield_now());
            0
        }
        // SAFETY: it has no arguments.
        None => with_errno(unsafe { syscall(libc::SYS_sched_yield, [0; 6]) }),
    }
}
