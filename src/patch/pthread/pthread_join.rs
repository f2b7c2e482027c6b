//! Joining and detaching threads.
//!
//! Next: `patch/pthread/pthread_attr.rs`.

use super::clock_time::{ClockTime, check};
use super::sync::take::wait_while;
use crate::hub::{Hub, try_current};
use crate::patch::kind::{Kind, offload_blocking, patched_hub};
use crate::patch::symbol::interpose;
use crate::thread::offload::WorkKind;
use crate::tls::{DETACHED, ENDED, Tcb, release};
use libc::{c_int, c_void, clockid_t, pthread_t, timespec};
use std::ptr::null_mut;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// Result of a thread that was cancelled, or killed.
const CANCELED: *mut c_void = usize::MAX as *mut c_void;

interpose! { Threads;
    /// See pthread_join(3).
    fn pthread_join(thread: pthread_t, result: *mut *mut c_void) -> c_int,
        "std::thread, C" => "parks; for an OS thread, while a helper of its own joins it";
    {
        join(thread, result, None, |out| Real::pthread_join(thread, out))
    }

    /// See pthread_tryjoin_np(3).
    fn pthread_tryjoin_np(thread: pthread_t, result: *mut *mut c_void) -> c_int,
        "C" => "answers for green threads, too";
    {
        let Some(tcb) = Tcb::of_pthread(thread) else { return Real::pthread_tryjoin_np(thread, result) };
        if tcb.green_tls().join_state.load(Acquire) & ENDED == 0 {
            return libc::EBUSY;
        }
        join_green_thread(tcb, result, None)
    }

    /// See pthread_timedjoin_np(3).
    fn pthread_timedjoin_np(thread: pthread_t, result: *mut *mut c_void, until: *const timespec) -> c_int,
        "C" => "parks";
    {
        pthread_clockjoin_np(thread, result, libc::CLOCK_REALTIME, until)
    }

    /// See pthread_clockjoin_np(3).
    fn pthread_clockjoin_np(
        thread: pthread_t,
        result: *mut *mut c_void,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int, "C" => "parks";
    {
        let (time, until) = (until.as_ref().map(|&time| (clock, time)), until as usize);
        join(thread, result, time, |out| Real::pthread_clockjoin_np(thread, out, clock, until as *const timespec))
    }

    /// See pthread_detach(3). A thread that has ended is released here. A thread that ends later is released by its hub.
    fn pthread_detach(thread: pthread_t) -> c_int, "std::thread, C" => "answers for green threads, too"; {
        let Some(tcb) = Tcb::of_pthread(thread) else { return Real::pthread_detach(thread) };
        let before = tcb.green_tls().join_state.fetch_or(DETACHED, AcqRel);
        if before & DETACHED != 0 {
            return libc::EINVAL;
        }
        if before & ENDED != 0 {
            release(tcb, try_current().map(Hub::tcbs));
        }
        0
    }
}

/// Waits until a green thread has ended, takes its result, and releases its thread control block.
///
/// # Safety
/// No other thread joins or detaches it, before or after; `result` is null or valid for a write.
unsafe fn join_green_thread(tcb: Tcb, result: *mut *mut c_void, until: Option<ClockTime>) -> c_int {
    // SAFETY: the block lives until it is released, below.
    let green = unsafe { tcb.green_tls() };
    if tcb == Tcb::loaded() {
        return libc::EDEADLK;
    }
    let word = &green.join_state;
    if word.load(Acquire) & DETACHED != 0 {
        return libc::EINVAL;
    }
    let ended = check(until).and_then(|()| wait_while(word, until, || word.load(Acquire) & ENDED == 0));
    if let Err(number) = ended {
        return number;
    }
    // SAFETY: the green thread has ended; the caller upholds the rest.
    unsafe {
        if !result.is_null() {
            result.write(green.result.get().unwrap_or(CANCELED));
        }
        release(tcb, try_current().map(Hub::tcbs));
    }
    0
}

/// Joins any thread. `join_os_thread` joins it if it is an OS thread, by the C library. If other green threads can run
/// meanwhile, an OS thread of the pool blocks in it in the caller's place.
///
/// # Safety
/// As pthread_join(3).
unsafe fn join(
    thread: pthread_t,
    result: *mut *mut c_void,
    until: Option<ClockTime>,
    join_os_thread: impl Fn(*mut *mut c_void) -> c_int + Sync,
) -> c_int {
    // SAFETY: the caller upholds the contract of pthread_join(3).
    unsafe {
        if let Some(tcb) = Tcb::of_pthread(thread) {
            return join_green_thread(tcb, result, until);
        }
        // The C library reports a thread that joins itself.
        if thread == libc::pthread_self() || patched_hub(Kind::Threads).is_none() {
            return join_os_thread(result);
        }
        // A thread that has ended need not be waited for.
        let number = Real::pthread_tryjoin_np(thread, result);
        if number != libc::EBUSY {
            return number;
        }
        let (number, value) = offload_blocking(WorkKind::ExternalWait, "an OS thread to end", || {
            let mut result = null_mut();
            let number = join_os_thread(&raw mut result);
            (number, result as usize)
        });
        if number == 0 && !result.is_null() {
            result.write(value as *mut c_void);
        }
        number
    }
}
