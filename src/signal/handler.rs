//! The process's handler of signals: it counts, and rings.
//!
//! A handler runs in the middle of anything, on any OS thread: in the allocator, in a switch, with a lock held. So it does
//! three things that are always allowed: it counts the signal up, it counts all of them up, it adds one to an
//! event counter, the bell, by a plain system call. Each hub with a subscription has the bell among the descriptors
//! that it waits for. Nobody ever reads from it: each ring is an edge.
//!
//! ```text
//!   handler:  count the signal;  count all;                 ring
//!   hub:                         all as I know it? sleep    (the bell has rung meanwhile: the sleep ends at once)
//! ```
//!
//! So no signal is lost between the look and the sleep, whoever is interrupted where.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use crate::fd_table;
use crate::sys::raw_mutex::Lock;
use libc::{c_int, sigaction};
use std::io;
use std::mem::zeroed;
use std::os::fd::RawFd;
use std::ptr::null;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicI32, AtomicU32};

/// The last signal that there is, on Linux.
pub(crate) const LAST: c_int = 64;

/// How often each was delivered while it was subscribed to.
static DELIVERED: [AtomicU32; LAST as usize + 1] = [const { AtomicU32::new(0) }; LAST as usize + 1];
/// How often any was.
static ANY: AtomicU32 = AtomicU32::new(0);

/// The event counter; none until the first subscription.
static BELL: AtomicI32 = AtomicI32::new(NONE);
const NONE: RawFd = -1;

/// What is known of each signal. Not for the handler.
static TABLE: Lock<Table> = Lock::new(NOBODY);

type Table = [Entry; LAST as usize + 1];

const NOBODY: Table = [Entry { subscriptions: 0, former: None }; LAST as usize + 1];

#[derive(Clone, Copy)]
struct Entry {
    subscriptions: u32,
    /// What was done with it before.
    former: Option<sigaction>,
}

extern "C" fn handler(signal: c_int) {
    if let Some(count) = DELIVERED.get(signal as usize) {
        count.fetch_add(1, SeqCst);
    }
    ANY.fetch_add(1, SeqCst);
    let one = 1u64;
    // SAFETY: eight bytes of this frame. What is no descriptor any more, in a child that begins anew, refuses them. Past
    // the C library, so that nobody's errno is changed.
    unsafe { syscall(libc::SYS_write, [BELL.load(Acquire) as usize, &raw const one as usize, 8, 0, 0, 0]) };
}

/// How often a signal that was subscribed to has come; any, or that one. They wrap around.
#[inline]
pub(crate) fn any() -> u32 {
    ANY.load(SeqCst)
}

pub(crate) fn delivered(signal: c_int) -> u32 {
    DELIVERED.get(signal as usize).map_or(0, |count| count.load(SeqCst))
}

/// The bell, made if need be; it is there for as long as the process.
///
/// Errors: no descriptor is left.
pub(crate) fn bell() -> io::Result<RawFd> {
    // Made by one at a time.
    let _table = TABLE.lock();
    let bell = BELL.load(Relaxed);
    if bell != NONE {
        return Ok(bell);
    }
    // SAFETY: no pointers.
    let bell = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if bell < 0 {
        return Err(io::Error::last_os_error());
    }
    // The number may have been another's, closed where it was not seen.
    fd_table::forget(bell);
    BELL.store(bell, SeqCst);
    Ok(bell)
}

/// Has the signal handled by ours, if it is not already. To be followed by `unsubscribe`.
///
/// Errors: there is no such signal, or it is the C library's own.
pub(crate) fn subscribe(signal: c_int) -> io::Result<()> {
    let mut table = TABLE.lock();
    let entry = &mut table[signal as usize];
    // SAFETY: a valid action, whose handler may run anywhere at any time.
    let former = unsafe {
        let mut action: sigaction = zeroed();
        action.sa_sigaction = ours();
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        exchange(signal, Some(&action))?
    };
    // Somebody else may have taken it since we did.
    if former.sa_sigaction != ours() {
        entry.former = Some(former);
    }
    entry.subscriptions += 1;
    Ok(())
}

/// Has it handled as it was before, when nobody subscribes to it any more; unless it was given to somebody else since.
pub(crate) fn unsubscribe(signal: c_int) {
    let mut table = TABLE.lock();
    let entry = &mut table[signal as usize];
    entry.subscriptions -= 1;
    if entry.subscriptions == 0 {
        put_back(signal, entry.former.take());
    }
}

/// In the child of a fork: its hub is new, and nobody subscribes to anything.
pub(crate) fn reset_after_fork() {
    // Where another OS thread was about to change it in the parent, it cannot be told what is right.
    if !TABLE.is_taken() {
        let table = std::mem::replace(&mut *TABLE.lock(), NOBODY);
        for (signal, entry) in table.iter().enumerate().filter(|(_, entry)| entry.subscriptions > 0) {
            put_back(signal as c_int, entry.former);
        }
    }
    // SAFETY: the one OS thread of the child, which is not in here otherwise.
    unsafe { TABLE.reset_after_fork(NOBODY) };
    let bell = BELL.swap(NONE, SeqCst);
    if bell != NONE {
        fd_table::forget(bell);
        // SAFETY: no pointers; it is ours, and nobody has its number from here on.
        unsafe { syscall(libc::SYS_close, [bell as usize, 0, 0, 0, 0, 0]) };
    }
}

fn put_back(signal: c_int, former: Option<sigaction>) {
    // SAFETY: all zeros is the default; or what sigaction has answered.
    unsafe {
        let former = former.unwrap_or_else(|| zeroed());
        if exchange(signal, None).is_ok_and(|now| now.sa_sigaction == ours()) {
            let _ = exchange(signal, Some(&former));
        }
    }
}

fn ours() -> usize {
    handler as *const () as usize
}

/// # Safety
/// The handler of `new` may run anywhere at any time.
unsafe fn exchange(signal: c_int, new: Option<&sigaction>) -> io::Result<sigaction> {
    // SAFETY: null or a valid action; all zeros is one, too, to be written to.
    unsafe {
        let mut old: sigaction = zeroed();
        let new = new.map_or(null(), |new| &raw const *new);
        match libc::sigaction(signal, new, &raw mut old) {
            0 => Ok(old),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
