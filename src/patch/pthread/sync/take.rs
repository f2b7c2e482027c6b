//! Trying to take an object of the C library, and waiting in between.
//!
//! Next: `patch/pthread/sync/owner.rs`.

use crate::green::Interruptible;
use crate::hub::futex;
use crate::hub::futex::{FutexWaitResult, Waiter};
use crate::hub::{Hub, OnInterrupt};
use crate::patch::kind;
use crate::patch::kind::{Kind, patched_hub};
use crate::patch::pthread::clock_time::{ClockTime, check, deadline, next_look};
use libc::c_int;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicU32};

/// Bits that meet those of every waker and of every waiter.
pub(super) const ANY: u32 = u32::MAX;

pub(super) fn hub() -> Option<&'static Hub> {
    patched_hub(Kind::Locks)
}

pub(super) fn is_patched() -> bool {
    kind::is_patched(Kind::Locks)
}

/// Wakes up to `most` waiters of the object at `address`.
pub(super) fn wake<T>(address: *mut T, most: usize) {
    if is_patched() {
        futex::wake(address as usize, most, ANY);
    }
}

/// Reads an `int` of a C library's object.
///
/// # Safety
/// `object` points to an object of the C library that has an `int` at this offset. The `probe` of the lock has checked it.
pub(super) unsafe fn field<T>(object: *const T, offset: usize) -> i32 {
    // SAFETY: the caller upholds that there is an `int`. Others write it atomically.
    unsafe { (*object.byte_add(offset).cast::<AtomicI32>()).load(Relaxed) }
}

/// Takes an object: calls `attempt` until it returns something else than `EBUSY`, and waits at `address` in between.
/// `is_shared`: other processes may release the object. Returns C's error number; it is `EINVAL` for a time that C refuses
/// only if the caller would have to wait.
///
/// If the caller has no hub, if no green thread of the hub can release the object, or if other OS threads cannot reach the
/// hub, returns `None`: the caller has to block in the C library.
pub(super) fn take<T>(
    address: *mut T,
    until: Option<ClockTime>,
    interruptible: Interruptible,
    is_shared: bool,
    attempt: impl Fn() -> c_int,
) -> Option<c_int> {
    let hub = hub()?;
    loop {
        let mut result = attempt();
        if result != libc::EBUSY {
            return Some(result);
        }
        if let Err(number) = check(until) {
            return Some(number);
        }
        let limit = deadline(hub, until);
        let deadline = next_look(hub, limit, is_shared);
        let interruptible = match interruptible {
            Interruptible::Yes => hub.interruptible(OnInterrupt::Eintr),
            Interruptible::No => Interruptible::No,
        };
        let still = || {
            result = attempt();
            result == libc::EBUSY
        };
        match futex::wait(Waiter::Green { hub, deadline, interruptible }, address as usize, ANY, still) {
            FutexWaitResult::Woken => {}
            FutexWaitResult::Refused => return Some(result),
            FutexWaitResult::Expired if deadline < limit => {}
            FutexWaitResult::Expired => return Some(libc::ETIMEDOUT),
            FutexWaitResult::Interrupted => {
                hub.consume_interrupt();
                return Some(libc::EINTR);
            }
            FutexWaitResult::Deadlocked | FutexWaitResult::Unreachable => return None,
        }
    }
}

/// Waits for wakers of `word` as long as `still` returns `true`: parks, or blocks an OS thread without a hub. Not
/// interrupted.
///
/// Errors: `ETIMEDOUT` at the time `until`, which `check` accepts.
pub(crate) fn wait_while(
    word: &AtomicU32,
    until: Option<ClockTime>,
    still: impl Fn() -> bool,
) -> Result<(), c_int> {
    let wait = |waiter| futex::wait(waiter, word.as_ptr() as usize, ANY, &still);
    while still() {
        let mut result = FutexWaitResult::Unreachable;
        if let Some(hub) = hub() {
            result =
                wait(Waiter::Green { hub, deadline: deadline(hub, until), interruptible: Interruptible::No });
        }
        if matches!(result, FutexWaitResult::Deadlocked | FutexWaitResult::Unreachable) {
            result = wait(Waiter::OsThread { until });
        }
        if result == FutexWaitResult::Expired {
            return Err(libc::ETIMEDOUT);
        }
    }
    Ok(())
}
