//! The seam for crates that add a way to run code, as `greenline-process` adds processes: what they need of the runtime beside
//! its public interface. These names may change in any version.
//!
//! | for | names |
//! |---|---|
//! | forking a process that has hubs | [`fork`], [`forks`], [`become_independent`], [`hold_quiescent`], [`start_watchdog_as_in_parent`] |
//! | its end | [`at_exit`], [`wait_for_os_threads`] |
//! | code that must not park | [`with_blocking_disabled`], [`can_block`], [`can_block_here`], [`RawMutex`] |
//! | parking | [`park_for_edge`], [`RemoteTicket`], [`hub_address`], [`has_no_green_threads`] |
//! | the body of a thread | [`catch_body`], [`panic_message`], [`drop_ignoring_panics`] |
//! | system calls past the C library, whose functions may be interposed | [`syscall`], [`result`], [`invalidate_fd`], [`poll_now`], [`timespec_of`], [`gettid`], [`page_size`] |
//!
//! Next: `lib.rs`.

use crate::api::current_hub::{current_hub, current_or_init};
use crate::green::Interruptible;
use crate::hub::{OnInterrupt, try_current};
use crate::ids::{Direction::Read, ParkResult};
use crate::observe::watchdog;
use crate::sys::exit_hooks::{Stage, register};
use crate::time::NEVER;
use std::io;
use std::os::fd::RawFd;
use std::time::Instant;

pub use crate::arch::syscall::syscall;
pub use crate::fd_table::invalidate as invalidate_fd;
pub use crate::green::{catch_body, panic_message};
pub use crate::hub::{RemoteTicket, fork, with_blocking_disabled};
pub use crate::sys::at_fork::{become_independent, forks};
pub use crate::sys::catch::drop_ignoring_panics;
pub use crate::sys::page::page_size;
pub use crate::sys::poll_now::poll_now;
pub use crate::sys::quiescent::{QuiescentThreads, hold_quiescent};
pub use crate::sys::raw_mutex::{Guard, Lock as RawMutex};
pub use crate::sys::tid::gettid;
pub use crate::sys::timespec::timespec_of;

/// Calls `hook` with the exit code when this process ends, after its OS threads have ended. Replaces an earlier hook.
pub fn at_exit(hook: fn(i32)) {
    register(Stage::Children, hook);
}

/// Waits until all OS threads of [`Thread`](crate::thread::Thread) that are no daemons have ended. Blocks the OS thread.
pub fn wait_for_os_threads() {
    crate::thread::wait_for_all();
}

/// Starts the watchdog in a forked child if its parent had one.
pub fn start_watchdog_as_in_parent() {
    watchdog::start_as_in_parent();
}

/// Converts the result of a [`syscall`].
///
/// # Errors
/// The kernel's error number.
pub fn result(answer: isize) -> io::Result<usize> {
    crate::api::io::result(answer)
}

/// Returns whether the caller may park: this OS thread has a hub, and the hub is not in the middle of scheduling.
pub fn can_block() -> bool {
    try_current().is_some_and(|hub| hub.can_block())
}

/// Returns whether the caller may park, and makes the hub if there is none yet. `false` also while the OS thread exits.
pub fn can_block_here() -> bool {
    current_or_init().is_some_and(|hub| hub.can_block())
}

/// Returns a number that stands for the hub of this OS thread, among all that live.
pub fn hub_address() -> usize {
    std::ptr::from_ref(current_hub()) as usize
}

/// Returns whether the hub has no green thread beside the root, so that a root that spins keeps no other from running.
pub fn has_no_green_threads() -> bool {
    current_hub().has_no_green_threads()
}

/// Parks the running green thread until the kernel reports `fd` readable once more, which it does for each write to an event
/// counter (edge-triggered), or until `beside` may be readable. If the deadline has passed, returns `false`.
///
/// The caller has looked at its condition after it was woken and before this call. If no descriptor is left for the hub's
/// reactor, or no memory, it returns after a millisecond: that is no reason to fail.
///
/// Unwinds when the green thread is killed or a timeout around it fires.
pub fn park_for_edge(fd: RawFd, beside: Option<RawFd>, deadline: Option<Instant>) -> bool {
    let hub = current_hub();
    let switches = hub.status().switches();
    let deadline = deadline.map_or(NEVER, |deadline| hub.clock().at(deadline));
    // Only edges count that the hub collects from now on. Earlier ones came before the caller looked.
    if beside.is_none() {
        if let Ok(in_time) = hub.wait_next_edge(fd, Read, switches, deadline, OnInterrupt::Unwind) {
            return in_time;
        }
    }
    let fds = [(fd, Read), (beside.unwrap_or(fd), Read)];
    let fds = &fds[..1 + usize::from(beside.is_some())];
    let waited: io::Result<_> = hub.wait_fds(fds, switches, deadline, Interruptible::Yes);
    if let Ok(ParkResult::Interrupted) = waited {
        hub.throw_pending_interrupt();
    }
    !matches!(waited, Ok(ParkResult::Expired))
}

impl RemoteTicket {
    /// Takes a ticket for the next park of the running green thread.
    ///
    /// # Errors
    /// No file descriptor is left to wake the hub by.
    pub fn current() -> io::Result<RemoteTicket> {
        RemoteTicket::new(current_hub())
    }
}
