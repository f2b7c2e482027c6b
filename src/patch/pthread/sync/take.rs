//! Trying to take an object of the C library, and waiting in between.
//!
//! Next: `patch/pthread/sync/glibc_fields.rs`.

use crate::hub::Hub;
use crate::hub::futex;
use crate::hub::futex::{FutexWaitResult, Waiter};
use crate::patch::kind;
use crate::patch::kind::{Kind, patched_hub};
use crate::patch::pthread::clock_time::{ClockTime, deadline};
use crate::time::{NEVER, Time};
use libc::c_int;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

/// Bits that meet those of every waker and of every waiter.
pub(super) const ANY: u32 = u32::MAX;
/// How long a green thread waits for an object that another process may release, before it tries again.
const RECHECK_INTERVAL: Duration = Duration::from_millis(5);

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

/// How taking an object ended.
pub(super) enum Taken {
    /// The C library's result: the caller has the object, or is refused.
    Result(c_int),
    Expired,
    Interrupted,
    /// No green thread of this hub can release the object, or other OS threads cannot reach the hub. The caller has to
    /// block in the C library.
    Block,
}

/// Whether a kill or a timeout ends the wait for an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Interruptible {
    Yes,
    No,
}

/// Calls `attempt` until it returns something else than `EBUSY`, and waits at `address` in between. `is_shared`: other
/// processes may release the object.
pub(super) fn take<T>(
    hub: &'static Hub,
    address: *mut T,
    limit: Time,
    interruptible: Interruptible,
    is_shared: bool,
    attempt: impl Fn() -> c_int,
) -> Taken {
    loop {
        let mut result = attempt();
        if result != libc::EBUSY {
            return Taken::Result(result);
        }
        let deadline = if is_shared { limit.min(hub.clock().after(RECHECK_INTERVAL)) } else { limit };
        let shield = interruptible == Interruptible::No || hub.was_cut_short();
        let still = || {
            result = attempt();
            result == libc::EBUSY
        };
        match futex::wait(Waiter::Green { hub, deadline, shield }, address as usize, ANY, still) {
            FutexWaitResult::Woken => {}
            FutexWaitResult::Refused => return Taken::Result(result),
            FutexWaitResult::Expired if deadline < limit => {}
            FutexWaitResult::Expired => return Taken::Expired,
            FutexWaitResult::Interrupted => return Taken::Interrupted,
            FutexWaitResult::Deadlocked | FutexWaitResult::Unreachable => return Taken::Block,
        }
    }
}

/// Takes a lock as [`take`] does, without interrupts. Returns `None` if the caller has to block in the C library.
pub(super) fn lock<T>(
    hub: &'static Hub,
    address: *mut T,
    until: Option<ClockTime>,
    is_shared: bool,
    attempt: impl Fn() -> c_int,
) -> Option<c_int> {
    let limit = match deadline(hub, until) {
        Ok(limit) => limit,
        // C refuses the time only if the caller would have to wait.
        Err(number) => {
            let result = attempt();
            return Some(if result == libc::EBUSY { number } else { result });
        }
    };
    match take(hub, address, limit, Interruptible::No, is_shared, attempt) {
        Taken::Result(result) => Some(result),
        Taken::Expired => Some(libc::ETIMEDOUT),
        Taken::Interrupted | Taken::Block => None,
    }
}

/// Waits until `word` is not `value`: parks, or blocks an OS thread without a hub. Not interrupted.
pub(super) fn wait_while(word: &AtomicU32, value: u32) {
    let mut parks = true;
    while word.load(Acquire) == value {
        let waiter = match hub().filter(|_| parks) {
            Some(hub) => Waiter::Green { hub, deadline: NEVER, shield: true },
            None => Waiter::OsThread { until: None },
        };
        let result = futex::wait(waiter, word.as_ptr() as usize, ANY, || word.load(Acquire) == value);
        if matches!(result, FutexWaitResult::Deadlocked | FutexWaitResult::Unreachable) {
            parks = false;
        }
    }
}
