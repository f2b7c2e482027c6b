//! The process's signal handler: it counts each signal and adds one to an eventfd.
//!
//! A handler interrupts any code on any OS thread: the allocator, a switch, code that holds a lock. So this one does three
//! things that are always allowed: it adds one to the signal's count, adds one to the count of all signals, and adds one
//! to an eventfd by a bare system call. Every hub with a subscription has the eventfd among the descriptors that it waits
//! for (the self-pipe trick). No code reads the eventfd: each write is an edge.
//!
//! ```text
//!   handler:  count the signal;  count all;                      write the eventfd
//!   hub:                         count of all unchanged? sleep   (the write has come meanwhile: the sleep ends at once)
//! ```
//!
//! So no signal is lost between the hub's look at the counts and its sleep, whatever code is interrupted.
//!
//! Next: `hub/signals.rs`, where the counts become green threads.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use crate::sys::at_fork;
use crate::sys::raw_mutex::Lock;
use crate::sys::signal_chain::{self, exchange};
use libc::{c_int, c_void, sigaction, siginfo_t};
use std::io;
use std::mem::zeroed;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicI32, AtomicU32};

/// The largest signal number, on Linux.
pub(crate) const SIGRTMAX_NR: c_int = 64;

/// Number of deliveries of each signal while it was subscribed to. Wraps around.
static DELIVERED: [AtomicU32; SIGRTMAX_NR as usize + 1] =
    [const { AtomicU32::new(0) }; SIGRTMAX_NR as usize + 1];
/// Number of deliveries of all those signals. Wraps around.
static TOTAL: AtomicU32 = AtomicU32::new(0);

/// The eventfd; `NONE` until the first subscription.
static EVENTFD: AtomicI32 = AtomicI32::new(NONE);
const NONE: RawFd = -1;

/// The subscriptions. The handler does not use them.
static TABLE: Lock<Table> = Lock::new(NO_HANDLERS);

type Table = [Entry; SIGRTMAX_NR as usize + 1];

const NO_HANDLERS: Table = [Entry { subscriptions: 0, former: None }; SIGRTMAX_NR as usize + 1];

#[derive(Clone, Copy)]
struct Entry {
    subscriptions: u32,
    /// The action before the first subscription.
    former: Option<sigaction>,
}

extern "C" fn handler(signal: c_int, _: *mut siginfo_t, _: *mut c_void) {
    if let Some(count) = DELIVERED.get(signal as usize) {
        count.fetch_add(1, SeqCst);
    }
    TOTAL.fetch_add(1, SeqCst);
    let one = 1u64;
    // SAFETY: eight bytes of this frame. In a forked child the descriptor may be closed; then the write fails. The call
    // bypasses the C library, so it does not change the interrupted code's errno.
    unsafe {
        syscall(libc::SYS_write, [EVENTFD.load(Acquire) as usize, &raw const one as usize, 8, 0, 0, 0])
    };
}

/// Returns how many subscribed signals were delivered. Wraps around.
#[inline]
pub(crate) fn total_count() -> u32 {
    TOTAL.load(SeqCst)
}

/// Returns how often `signal` was delivered while it was subscribed to. Wraps around.
pub(crate) fn count(signal: c_int) -> u32 {
    DELIVERED.get(signal as usize).map_or(0, |count| count.load(SeqCst))
}

/// Returns the eventfd, which exists as long as the process. Creates it if there is none yet.
///
/// Errors: no descriptor is left.
pub(crate) fn eventfd() -> io::Result<RawFd> {
    // Before the lock is taken: a child that another OS thread forks meanwhile has to release it.
    at_fork::register(reset_after_fork);
    // The lock lets one OS thread create it.
    let _table = TABLE.lock();
    let eventfd = EVENTFD.load(Relaxed);
    if eventfd != NONE {
        return Ok(eventfd);
    }
    // SAFETY: no pointers.
    let eventfd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if eventfd < 0 {
        return Err(io::Error::last_os_error());
    }
    EVENTFD.store(eventfd, SeqCst);
    Ok(eventfd)
}

/// Installs the handler for `signal`, if it is not installed, and counts one more subscription. The caller calls
/// `unsubscribe` later.
///
/// Errors: there is no such signal, or it is one of the C library's own.
pub(crate) fn subscribe(signal: c_int) -> io::Result<()> {
    let mut table = TABLE.lock();
    let entry = &mut table[signal as usize];
    // SAFETY: `handler` may run anywhere at any time.
    let former = unsafe { signal_chain::install(signal, handler, libc::SA_RESTART)? };
    // The program may have installed another handler since the last subscription.
    if former.sa_sigaction != our_handler() {
        entry.former = Some(former);
    }
    entry.subscriptions += 1;
    Ok(())
}

/// Counts one subscription less. After the last one, restores the former action, unless the program has installed another
/// handler since.
pub(crate) fn unsubscribe(signal: c_int) {
    let mut table = TABLE.lock();
    let entry = &mut table[signal as usize];
    entry.subscriptions -= 1;
    if entry.subscriptions == 0 {
        restore(signal, entry.former.take());
    }
}

/// Restores all former actions: the child's hub is new, and has no subscriptions.
fn reset_after_fork() {
    // If another OS thread of the parent held the lock, the table may be half changed, and is not used.
    if !TABLE.is_taken() {
        let table = std::mem::replace(&mut *TABLE.lock(), NO_HANDLERS);
        for (signal, entry) in table.iter().enumerate().filter(|(_, entry)| entry.subscriptions > 0) {
            restore(signal as c_int, entry.former);
        }
    }
    // SAFETY: the child has one OS thread, and it does not hold the lock.
    unsafe { TABLE.reset_after_fork(NO_HANDLERS) };
    let eventfd = EVENTFD.swap(NONE, SeqCst);
    if eventfd != NONE {
        // SAFETY: no pointers. The descriptor is this module's, and no code uses its number from here on.
        unsafe { syscall(libc::SYS_close, [eventfd as usize, 0, 0, 0, 0, 0]) };
    }
}

fn restore(signal: c_int, former: Option<sigaction>) {
    // SAFETY: all zeros is the default action; otherwise it is one that sigaction has returned.
    unsafe {
        let former = former.unwrap_or_else(|| zeroed());
        if exchange(signal, None).is_ok_and(|now| now.sa_sigaction == our_handler()) {
            let _ = exchange(signal, Some(&former));
        }
    }
}

fn our_handler() -> usize {
    handler as *const () as usize
}
