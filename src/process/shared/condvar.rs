//! Where waiters of any process wait: an event counter (eventfd(2)), which is inherited by fork(2).
//!
//! It is written to and never read. A hub watches it edge-triggered, as all descriptors, and each write is an edge, of
//! which every hub of every process is told, and has all its green threads look again that wait there. So there is no
//! wake-up to be taken, and none is lost with a waiter that is killed: who has slept in vain sleeps on.

use crate::fd_table;
use crate::hub;
use crate::hub::FdWaitResult;
use crate::ids::Direction::Read;
use crate::time::NEVER;
use std::hint::spin_loop;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(super) struct CondVar {
    counter: OwnedFd,
    /// How many of the next waits, in this process, are to begin by looking; at 0 and below, how many have not.
    credit: AtomicI32,
}

/// How often who does not sleep looks: for some 50 microseconds, since to be woken on another core takes as long.
const LOOKS: u32 = 2000;

/// So many waits in a row may look in vain, until it is seen that the other one needs this core, or is slow.
const CREDIT: i32 = 4;

/// After so many waits without, another one looks.
const BORROW: i32 = 64;

/// How long who cannot wait for descriptors sleeps before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

impl CondVar {
    /// Errors: no descriptor left.
    pub(super) fn new() -> io::Result<CondVar> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            let text = format!("no descriptor for processes to wait by: {error}");
            return Err(io::Error::new(error.kind(), text));
        }
        fd_table::forget(fd);
        // SAFETY: the kernel has just made it for us.
        Ok(CondVar { counter: unsafe { OwnedFd::from_raw_fd(fd) }, credit: AtomicI32::new(CREDIT) })
    }

    /// Has all who wait look again.
    pub(super) fn notify_all(&self) {
        let one = 1u64.to_ne_bytes();
        let args = [self.counter.as_raw_fd() as usize, one.as_ptr() as usize, one.len(), 0, 0, 0];
        // SAFETY: eight bytes of this frame. Past the C library, whose function may be patched. It fails if it was opened
        // 2^64 times, or if somebody has closed a descriptor that is not theirs.
        unsafe { crate::arch::syscall::syscall(libc::SYS_write, args) };
    }

    /// As [`wait`](CondVar::wait), by who expects an answer soon: looks for a while whether it `is_open`, and then only
    /// sleeps. Not so if that was in vain the last times, or keeps a green thread from running.
    pub(super) fn expect(
        &self,
        is_open: impl Fn() -> bool,
        deadline: Option<Instant>,
        beside: Option<RawFd>,
    ) -> bool {
        let credit = self.credit.load(Relaxed);
        if credit > 0 && hub::current().has_no_green_threads() {
            for _ in 0..LOOKS {
                if is_open() {
                    self.credit.store(CREDIT, Relaxed);
                    return true;
                }
                spin_loop();
            }
        }
        self.credit.store(if credit > -BORROW { credit - 1 } else { 1 }, Relaxed);
        self.wait(deadline, beside)
    }

    /// Blocks the current green thread until somebody may have opened the gate since the caller was last woken, or
    /// `beside` may be readable, or the deadline has passed: `false`.
    ///
    /// The caller has looked at what it waits for after it was woken, and before it calls; and whoever changes that opens
    /// the gate before it can be seen.
    ///
    /// Unwinds when the green thread is killed or a timeout around it fires.
    pub(super) fn wait(&self, deadline: Option<Instant>, beside: Option<RawFd>) -> bool {
        let hub = hub::current();
        let until = deadline.map_or(NEVER, |deadline| hub.clock().at(deadline));
        let fd = self.counter.as_raw_fd();
        // Edges that the hub has collected by now came before the caller looked.
        hub.reactor().drained(fd, Read);
        let ended = match beside {
            None => hub.wait_fd(fd, Read, until, false, false),
            Some(beside) => Ok(hub.wait_fds(&[(fd, Read), (beside, Read)], until, false, false)),
        };
        match ended {
            Ok(FdWaitResult::Ready | FdWaitResult::Closed | FdWaitResult::Signalled) => true,
            Ok(FdWaitResult::Expired) => false,
            Ok(FdWaitResult::Interrupted) => {
                hub.throw_pending_interrupt();
                true
            }
            // No descriptor is left for the hub's reactor, or no memory. That is no reason to fail.
            Err(_) => {
                let soon = Instant::now() + LOOK_AGAIN;
                let until = deadline.map_or(soon, |deadline| deadline.min(soon));
                crate::sleep_until(until);
                deadline.is_none_or(|deadline| Instant::now() < deadline)
            }
        }
    }

    #[cfg(test)]
    pub(super) fn as_raw(&self) -> RawFd {
        self.counter.as_raw_fd()
    }
}

impl Drop for CondVar {
    fn drop(&mut self) {
        fd_table::forget(self.counter.as_raw_fd());
    }
}
