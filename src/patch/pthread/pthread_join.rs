//! Joining and detaching threads.
//!
//! Next: `patch/pthread/pthread_attr.rs`.

use super::clock_time::{ClockTime, check, deadline};
use crate::hub::futex;
use crate::hub::futex::{FutexWaitResult, Waiter};
use crate::hub::{Hub, try_current};
use crate::patch::kind::{Kind, offload_blocking, patched_hub};
use crate::patch::real;
use crate::patch::symbol::interpose;
use crate::thread::offload::WorkKind;
use crate::tls::{DETACHED, ENDED, Tcb, release};
use libc::{c_int, c_void, clockid_t, pthread_t, timespec};
use std::ptr::null_mut;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// Result of a thread that was cancelled, or killed.
pub(super) const CANCELED: *mut c_void = usize::MAX as *mut c_void;

interpose! { Threads;
    /// See pthread_join(3).
    fn pthread_join(thread: pthread_t, result: *mut *mut c_void) -> c_int,
        "std::thread, C" => "parks; for an OS thread, while a helper of its own joins it";
    {
        if let Some(tcb) = Tcb::of_pthread(thread) {
            return join(tcb, result, None);
        }
        // The C library reports a thread that joins itself.
        if thread == libc::pthread_self() || patched_hub(Kind::Threads).is_none() {
            return real::pthread_join(thread, result);
        }
        // A thread that has ended need not be waited for.
        match real::pthread_tryjoin_np(thread, result) {
            libc::EBUSY => join_os_thread(result, move |out| real::pthread_join(thread, out)),
            number => number,
        }
    }

    /// See pthread_tryjoin_np(3).
    fn pthread_tryjoin_np(thread: pthread_t, result: *mut *mut c_void) -> c_int,
        "C" => "answers for green threads, too";
    {
        let Some(tcb) = Tcb::of_pthread(thread) else { return real::pthread_tryjoin_np(thread, result) };
        if tcb.green_tls().join_state.load(Acquire) & ENDED == 0 {
            return libc::EBUSY;
        }
        join(tcb, result, None)
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
        let time = until.as_ref().copied();
        if let Some(tcb) = Tcb::of_pthread(thread) {
            return join(tcb, result, time.map(|time| (clock, time)));
        }
        match patched_hub(Kind::Threads).filter(|_| thread != libc::pthread_self()) {
            Some(_) => join_os_thread(result, move |out| {
                let until = time.as_ref().map_or(std::ptr::null(), |time| &raw const *time);
                real::pthread_clockjoin_np(thread, out, clock, until)
            }),
            None => real::pthread_clockjoin_np(thread, result, clock, until),
        }
    }

    /// See pthread_detach(3). A thread that has ended is released here. A thread that ends later is released by its hub.
    fn pthread_detach(thread: pthread_t) -> c_int, "std::thread, C" => "answers for green threads, too"; {
        let Some(tcb) = Tcb::of_pthread(thread) else { return real::pthread_detach(thread) };
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
/// Nobody else joins or detaches it, before or after; `result` is null or valid for a write.
unsafe fn join(tcb: Tcb, result: *mut *mut c_void, until: Option<ClockTime>) -> c_int {
    // SAFETY: the block lives until it is released, below.
    let green = unsafe { tcb.green_tls() };
    if tcb == Tcb::loaded() {
        return libc::EDEADLK;
    }
    if let Err(number) = check(until) {
        return number;
    }
    let word = &green.join_state;
    while word.load(Acquire) & ENDED == 0 {
        if word.load(Acquire) & DETACHED != 0 {
            return libc::EINVAL;
        }
        if let Err(number) = wait_for_end(word, until) {
            return number;
        }
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

/// Waits while the green thread of `word` has not ended: parks, or blocks an OS thread without a hub. May return early.
fn wait_for_end(word: &AtomicU32, until: Option<ClockTime>) -> Result<(), c_int> {
    let address = word.as_ptr() as usize;
    let wait = |waiter| futex::wait(waiter, address, u32::MAX, || word.load(Acquire) & ENDED == 0);
    let result = match try_current().filter(|hub| hub.can_block()) {
        Some(hub) => wait(Waiter::Green { hub, deadline: deadline(hub, until)?, shield: true }),
        None => FutexWaitResult::Unreachable,
    };
    let result = match result {
        FutexWaitResult::Deadlocked | FutexWaitResult::Unreachable => wait(Waiter::OsThread { until }),
        result => result,
    };
    if result == FutexWaitResult::Expired { Err(libc::ETIMEDOUT) } else { Ok(()) }
}

/// Joins an OS thread while the other green threads run: an OS thread of the pool blocks in the caller's place.
///
/// # Safety
/// As pthread_join(3).
unsafe fn join_os_thread(
    result: *mut *mut c_void,
    join: impl Fn(*mut *mut c_void) -> c_int + Send + 'static,
) -> c_int {
    let (number, value) = offload_blocking(WorkKind::ExternalWait, "an OS thread to end", move || {
        let mut result = null_mut();
        let number = join(&raw mut result);
        (number, result as usize)
    });
    if number == 0 && !result.is_null() {
        // SAFETY: the caller upholds that `result` is valid for a write.
        unsafe { result.write(value as *mut c_void) };
    }
    number
}
