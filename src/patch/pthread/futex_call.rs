//! `syscall(SYS_futex, ...)`, by which std, parking_lot and their like block.
//!
//! C declares `syscall` with a variable number of arguments. If they are integers and pointers only, as the kernel's are,
//! both processors pass them as seven plain words.
//!
//! Next: `patch/pthread/sync/mod.rs`, C's locks.

use super::clock_time::{check, deadline, next_look};
use crate::hub::futex;
use crate::hub::futex::{FutexWaitResult, Waiter};
use crate::hub::{Hub, OnInterrupt};
use crate::patch::kind::{Kind, is_patched, patched_hub};
use crate::patch::symbol::{failed, interpose, kernel, with_errno};
use crate::sys::timespec::duration_of;
use crate::time::{NEVER, Time};
use libc::{c_int, c_long, timespec};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

interpose! { Locks;
    /// See syscall(2).
    fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long,
        "std::sync, std::thread::park, parking_lot; other code" =>
        "FUTEX_WAIT and its like park; FUTEX_WAKE and its like wake green threads, then OS threads; all else, and \
         futexes with priority inheritance, go to the kernel";
    {
        let args = [a, b, c, d, e, f];
        let is_futex = number == libc::SYS_futex && is_patched(Kind::Locks);
        with_errno::<isize>(if is_futex { patched_futex(args) } else { kernel(number, args) }) as c_long
    }
}

/// Returns the kernel's raw answer to futex(2). OS threads without a hub call this, too, to wake green threads.
///
/// # Safety
/// As futex(2).
unsafe fn patched_futex(args: [usize; 6]) -> isize {
    let [word, operation, value, fourth, _, last] = args;
    let command = operation as c_int & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    let is_bitset = matches!(command, libc::FUTEX_WAIT_BITSET | libc::FUTEX_WAKE_BITSET);
    let bits = if is_bitset { last as u32 } else { u32::MAX };
    // SAFETY: the caller upholds the contract of futex(2).
    unsafe {
        match command {
            libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => {
                let hub = patched_hub(Kind::Locks).filter(|_| word % 4 == 0 && bits != 0);
                let answer = hub.and_then(|hub| wait(hub, command, args, bits));
                answer.unwrap_or_else(|| kernel(libc::SYS_futex, args))
            }
            libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET => wake(args, bits),
            libc::FUTEX_REQUEUE | libc::FUTEX_CMP_REQUEUE if value as i32 >= 0 && fourth as i32 >= 0 => {
                if command == libc::FUTEX_CMP_REQUEUE && load(word) != last as u32 {
                    return failed(libc::EAGAIN);
                }
                requeue(args)
            }
            _ => kernel(libc::SYS_futex, args),
        }
    }
}

/// Wakes green threads, and then OS threads up to the wanted number.
///
/// # Safety
/// As futex(2).
unsafe fn wake([word, operation, value, fourth, other, last]: [usize; 6], bits: u32) -> isize {
    // The kernel wakes one thread even if the number is 0 or negative. This function does the same.
    let most = (value as i32).max(1) as usize;
    let woken = futex::wake(word, most, bits);
    if woken >= most {
        return woken as isize;
    }
    // SAFETY: the caller upholds the contract of futex(2).
    let rest = unsafe { kernel(libc::SYS_futex, [word, operation, most - woken, fourth, other, last]) };
    add(woken, rest)
}

/// Wakes `value` waiters and moves `fourth` others to the word `other`, green threads first.
///
/// # Safety
/// As futex(2).
unsafe fn requeue([word, operation, value, fourth, other, last]: [usize; 6]) -> isize {
    let (value, fourth) = (value as u32 as usize, fourth as u32 as usize);
    let woken = futex::wake(word, value, u32::MAX);
    let moved = futex::requeue(word, other, fourth);
    let args = [word, operation, value - woken, fourth - moved, other, last];
    // The kernel, too, returns the sum of both.
    // SAFETY: the caller upholds the contract of futex(2).
    add(woken + moved, unsafe { kernel(libc::SYS_futex, args) })
}

/// Adds `done` to the kernel's answer for the rest. If the kernel reports an error, that does not undo what was done.
fn add(done: usize, rest: isize) -> isize {
    if rest < 0 && done > 0 { done as isize } else { rest + done as isize }
}

/// # Safety
/// `word` is aligned, and readable.
unsafe fn load(word: usize) -> u32 {
    // SAFETY: the caller upholds that the word is readable. Others write it atomically.
    unsafe { (*(word as *const AtomicU32)).load(SeqCst) }
}

/// Parks the running green thread. Returns `None` if the OS thread has to wait in the kernel.
///
/// # Safety
/// As futex(2).
unsafe fn wait(hub: &'static Hub, command: c_int, args: [usize; 6], bits: u32) -> Option<isize> {
    let [word, operation, value, time, ..] = args;
    // The kernel reports a page that does not exist by an error. Reading it here would be a fault.
    if word < 4096 {
        return None;
    }
    // SAFETY: the caller upholds that `time` is null or points to a time.
    let time = unsafe { (time as *const timespec).as_ref() }.copied();
    let limit = match wait_deadline(hub, command, operation as c_int, time) {
        Ok(limit) => limit,
        Err(number) => return Some(failed(number)),
    };
    let is_private = operation as c_int & libc::FUTEX_PRIVATE_FLAG != 0;
    // SAFETY: the caller upholds that the word is readable.
    let still = || unsafe { load(word) == value as u32 };
    loop {
        let deadline = next_look(hub, limit, !is_private);
        let interruptible = hub.interruptible(OnInterrupt::Eintr);
        let waiter = Waiter::Green { hub, deadline, interruptible };
        return match futex::wait(waiter, word, bits, still) {
            FutexWaitResult::Woken => Some(0),
            FutexWaitResult::Refused => Some(failed(libc::EAGAIN)),
            FutexWaitResult::Expired if deadline < limit => continue,
            FutexWaitResult::Expired => Some(failed(libc::ETIMEDOUT)),
            FutexWaitResult::Interrupted => {
                hub.consume_interrupt();
                Some(0)
            }
            FutexWaitResult::Deadlocked | FutexWaitResult::Unreachable => None,
        };
    }
}

/// Returns the hub's time at which the wait ends. The time of `FUTEX_WAIT` is relative, the others' are absolute.
fn wait_deadline(hub: &Hub, command: c_int, operation: c_int, time: Option<timespec>) -> Result<Time, c_int> {
    match time {
        None => Ok(NEVER),
        Some(time) if command == libc::FUTEX_WAIT => Ok(hub.clock().after(duration_of(time)?)),
        Some(time) if time.tv_sec < 0 => Err(libc::EINVAL),
        Some(time) => {
            let is_realtime = operation & libc::FUTEX_CLOCK_REALTIME != 0;
            let clock = if is_realtime { libc::CLOCK_REALTIME } else { libc::CLOCK_MONOTONIC };
            let until = Some((clock, time));
            check(until).map(|()| deadline(hub, until))
        }
    }
}
