//! `syscall(SYS_futex, ...)`: by it blocks whatever std, parking_lot and their like wait for.
//!
//! C declares `syscall` with a variable number of arguments; with integers and pointers only, as the kernel has
//! them, both processors pass them as they would seven plain words.

use super::{Kind, deadline, length, patched_hub, with_errno};
use crate::arch::syscall::syscall as kernel;
use crate::hub::Hub;
use crate::hub::futex;
use crate::hub::futex::{FutexWaitResult, Waiter};
use crate::time::NEVER;
use libc::{c_int, c_long, timespec};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// See syscall(2).
///
/// # Safety
/// That of the system call.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let args = [a, b, c, d, e, f];
    // SAFETY: the caller's contract is the kernel's.
    let answer = unsafe {
        if number == libc::SYS_futex && super::super::is_patched(Kind::Locks) {
            patched(args)
        } else {
            kernel(number, args)
        }
    };
    with_errno(answer) as c_long
}

/// Answers as the kernel does. OS threads without a hub come here to wake green threads.
///
/// # Safety
/// As futex(2).
unsafe fn patched(args: [usize; 6]) -> isize {
    let [word, operation, value, fourth, other, bits] = args;
    let operation = operation as c_int;
    let command = operation & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    // SAFETY: the caller's.
    let kernel = |args| unsafe { kernel(libc::SYS_futex, args) };
    let value = value as u32;
    match command {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => {
            let bits = if command == libc::FUTEX_WAIT { u32::MAX } else { bits as u32 };
            match patched_hub(Kind::Locks).filter(|_| word % 4 == 0 && bits != 0) {
                // SAFETY: the caller's.
                Some(hub) => unsafe { wait(hub, command, args, bits) }.unwrap_or_else(|| kernel(args)),
                None => kernel(args),
            }
        }
        libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET => {
            let bits = if command == libc::FUTEX_WAKE { u32::MAX } else { bits as u32 };
            // The kernel wakes one where it is asked to wake none, or fewer; so do we.
            let most = (value as i32).max(1) as u32;
            let woken = futex::wake(word, most as usize, bits) as u32;
            if woken >= most {
                return woken as isize;
            }
            let left = kernel([word, args[1], (most - woken) as usize, fourth, other, args[5]]);
            if left < 0 && woken > 0 { woken as isize } else { left + woken as isize }
        }
        libc::FUTEX_REQUEUE | libc::FUTEX_CMP_REQUEUE if value as i32 >= 0 && fourth as i32 >= 0 => {
            // SAFETY: the caller's: a readable word.
            if command == libc::FUTEX_CMP_REQUEUE && unsafe { load(word) } != bits as u32 {
                return -libc::EAGAIN as isize;
            }
            let woken = futex::wake(word, value as usize, u32::MAX);
            let moved = futex::requeue(word, other, fourth);
            let left = kernel([word, args[1], value as usize - woken, fourth - moved, other, args[5]]);
            // What was done is not undone by what the kernel says of the rest. It, too, counts both together.
            let done = (woken + moved) as isize;
            if left < 0 && done > 0 { done } else { left + done }
        }
        _ => kernel(args),
    }
}

/// # Safety
/// `word` is aligned, and readable.
unsafe fn load(word: usize) -> u32 {
    // SAFETY: the caller's. Others write it atomically.
    unsafe { (*(word as *const AtomicU32)).load(SeqCst) }
}

/// How long a green thread waits for a word that another process may change, before it looks again. That one's
/// wake-up cannot reach it.
const SHARED: Duration = Duration::from_millis(5);

/// `None`: wait in the kernel.
///
/// # Safety
/// As futex(2).
unsafe fn wait(hub: &'static Hub, command: c_int, args: [usize; 6], bits: u32) -> Option<isize> {
    let [word, operation, value, time, ..] = args;
    let operation = operation as c_int;
    let error = |number: c_int| Some(-number as isize);
    // Whether the page is there at all is the kernel's to say, in an error and not in a fault.
    if word < 4096 {
        return None;
    }
    let time = time as *const timespec;
    // SAFETY: null, or the caller's.
    let time = unsafe { time.as_ref() }.copied();
    let realtime = operation & libc::FUTEX_CLOCK_REALTIME != 0;
    let limit = match time {
        None => Ok(NEVER),
        Some(time) if command == libc::FUTEX_WAIT => length(time).map(|length| hub.clock().after(length)),
        Some(time) if time.tv_sec < 0 => Err(libc::EINVAL),
        Some(time) => {
            deadline(hub, if realtime { libc::CLOCK_REALTIME } else { libc::CLOCK_MONOTONIC }, time)
        }
    };
    let limit = match limit {
        Ok(limit) => limit,
        Err(number) => return error(number),
    };
    let is_private = operation & libc::FUTEX_PRIVATE_FLAG != 0;
    loop {
        let until = if is_private { limit } else { limit.min(hub.clock().after(SHARED)) };
        // SAFETY: the caller's.
        let still = || unsafe { load(word) == value as u32 };
        let who = Waiter::Green { hub, deadline: until, shield: hub.was_cut_short() };
        match futex::wait(who, word, bits, still) {
            FutexWaitResult::Woken => return Some(0),
            FutexWaitResult::Refused => return error(libc::EAGAIN),
            FutexWaitResult::Expired if until < limit => {}
            FutexWaitResult::Expired => return error(libc::ETIMEDOUT),
            FutexWaitResult::Interrupted => {
                hub.consume_interrupt();
                return Some(0);
            }
            FutexWaitResult::Deadlocked => {
                hub.tell_deadlock(word);
                return None;
            }
            FutexWaitResult::Unreachable => return None,
        }
    }
}
