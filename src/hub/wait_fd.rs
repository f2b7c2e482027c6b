//! Waiting for a descriptor.

use super::fields::Hub;
use super::state::State;
use crate::fd_table;
use crate::fd_table::{FdListener, Generation};
use crate::ids::Direction;
use crate::ids::{ParkResult, Ticket, WaitReason, WakeReason};
use crate::reactor::{FdState, Registration};
use crate::sys::hint::unlikely;
use crate::time::Time;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

/// How a wait for a descriptor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FdWaitResult {
    /// Try now.
    Ready,
    Expired,
    /// A kill or a timeout is to be delivered; never when shielded.
    Interrupted,
    /// It was closed meanwhile.
    Closed,
    /// A signal was handled: only told to who waits for several.
    Signalled,
}

impl FdWaitResult {
    #[inline]
    fn of(wake: ParkResult) -> FdWaitResult {
        match wake {
            ParkResult::Notified => FdWaitResult::Ready,
            ParkResult::Expired => FdWaitResult::Expired,
            ParkResult::Interrupted => FdWaitResult::Interrupted,
            ParkResult::Deadlocked => unreachable!("the world outside may always do something"),
        }
    }
}

/// How long who cannot be woken waits before it looks again, in nanoseconds.
const RECHECK_INTERVAL: Time = 1_000_000;

impl Hub {
    /// Blocks who runs until `fd` may be ready in that direction, or the deadline. A `foreign` one
    /// may have been closed and opened behind our back.
    ///
    /// Errors: `fd` is not open; the kernel has no memory for another registration; no descriptor is left for the
    /// reactor.
    pub(crate) fn wait_fd(
        &self,
        fd: RawFd,
        direction: Direction,
        deadline: Time,
        foreign: bool,
        shield: bool,
    ) -> io::Result<FdWaitResult> {
        if foreign {
            self.revalidate_fd(fd);
        }
        let source = match self.source(fd)? {
            Registration::Registered(source) => source,
            Registration::Closing => return Ok(self.wait_for_close(fd, direction, deadline, shield)),
            Registration::AlwaysReady => return Ok(FdWaitResult::Ready),
        };
        // An edge that has come and was not used is as good as the next.
        if source.is_ready(direction) {
            return Ok(FdWaitResult::Ready);
        }
        Ok(self.wait_source(source, fd, direction, deadline, shield))
    }

    /// Blocks who runs until the next edge of `fd`, whose `source` is current, in that direction; or the deadline.
    #[inline(never)]
    pub(crate) fn wait_source(
        &self,
        source: &FdState,
        fd: RawFd,
        direction: Direction,
        deadline: Time,
        shield: bool,
    ) -> FdWaitResult {
        let generation = source.generation();
        let mut armed = false;
        // The handler of a signal may have parked since that was last looked at, and the hub have seen an edge.
        let arm = |ticket| {
            armed = !unlikely(source.is_ready(direction));
            if armed {
                source.push(direction, ticket);
                self.fd_waiters.set(self.fd_waiters.get() + 1);
            }
            armed
        };
        let (ticket, wake) = self.park_armed(arm, deadline, WaitReason::Io(fd, direction), shield);
        if armed {
            self.fd_waiters.set(self.fd_waiters.get() - 1);
        }
        let _entered = self.reactor.enter();
        source.remove(direction, ticket);
        if unlikely(generation.is_none() || source.current() != generation) {
            return FdWaitResult::Closed;
        }
        FdWaitResult::of(wake)
    }

    /// See [`Reactor::watch`](crate::reactor::Reactor::watch).
    #[inline]
    fn source(&self, fd: RawFd) -> io::Result<Registration<'_>> {
        let enlist = || {
            let inbox: Arc<dyn FdListener> = self.inbox()?.clone();
            Ok(fd_table::register_hub(Arc::downgrade(&inbox)))
        };
        self.reactor.watch(fd, enlist, |ticket| {
            self.wake(ticket);
        })
    }

    /// `fd` may have been closed, and its number used again, without a word to [`fds`]: if so, it is told now.
    pub(crate) fn revalidate_fd(&self, fd: RawFd) {
        if self.reactor.is_stale(fd) {
            fd_table::forget(fd);
        }
    }

    /// [`wait_fd`](Hub::wait_fd), for the next edge of any of several, or a signal's handler. Who calls has asked the
    /// kernel, and what it waits for is not so. Where one cannot be waited for, this ends soon, and who calls looks again.
    pub(crate) fn wait_fds(
        &self,
        fds: &[(RawFd, Direction)],
        deadline: Time,
        foreign: bool,
        shield: bool,
    ) -> FdWaitResult {
        if foreign {
            fds.iter().for_each(|&(fd, _)| self.revalidate_fd(fd));
        }
        let ticket = self.ticket();
        let mut armed = Vec::with_capacity(fds.len());
        let mut until = deadline;
        for &(fd, direction) in fds {
            match self.source(fd) {
                Ok(Registration::Registered(source)) => {
                    let _entered = self.reactor.enter();
                    source.push(direction, ticket);
                    armed.push((source, source.current(), direction));
                }
                // What is always ready, and not in the way that is waited for, never will be.
                Ok(Registration::AlwaysReady) => {}
                Ok(Registration::Closing) | Err(_) => {
                    until = deadline.min(self.clock.now() + RECHECK_INTERVAL)
                }
            }
        }
        let signals = self.reactor.signals();
        self.reactor.tell_of_signals(ticket, true);
        let wait = fds.first().map_or(WaitReason::Sleep, |&(fd, direction)| WaitReason::Io(fd, direction));
        self.fd_waiters.set(self.fd_waiters.get() + 1);
        let ended = FdWaitResult::of(self.park(ticket, until, wait, shield));
        self.fd_waiters.set(self.fd_waiters.get() - 1);
        self.reactor.tell_of_signals(ticket, false);
        let _entered = self.reactor.enter();
        let mut closed = false;
        for (source, generation, direction) in armed {
            source.remove(direction, ticket);
            closed |= generation.is_none() || source.current() != generation;
        }
        match ended {
            _ if closed => FdWaitResult::Closed,
            FdWaitResult::Ready if signals != self.reactor.signals() => FdWaitResult::Signalled,
            FdWaitResult::Expired if until < deadline => FdWaitResult::Ready,
            ended => ended,
        }
    }

    /// For who wants to wait for what is just being closed: it may try again in a moment.
    #[cold]
    fn wait_for_close(&self, fd: RawFd, direction: Direction, deadline: Time, shield: bool) -> FdWaitResult {
        let until = deadline.min(self.clock.now() + RECHECK_INTERVAL);
        match FdWaitResult::of(self.park(self.ticket(), until, WaitReason::Io(fd, direction), shield)) {
            FdWaitResult::Expired if until < deadline => FdWaitResult::Ready,
            ended => ended,
        }
    }

    /// That generation of `fd` is closed: those who wait for it are woken.
    pub(super) fn fd_closed(&self, fd: RawFd, generation: Generation) {
        self.reactor.closed(fd, generation, |ticket| {
            self.wake(ticket);
        });
    }

    /// Collects what has happened outside, for up to `timeout`, and makes ready whom it concerns.
    pub(super) fn poll_reactor(&self, timeout: Time) {
        if let Err(error) = self.reactor.collect(timeout) {
            return self.defer_log(log::Level::Error, format!("waiting for events: {error}"));
        }
        let mut state = self.state.borrow_mut();
        self.reactor.dispatch(|ticket| notify(&mut state, ticket));
        state.prefetch_first();
        self.poll_interval.record_reactor_poll(self.status.switches(), state.ready.len());
    }
}

/// Not inlined: it would be once for each direction.
#[inline(never)]
fn notify(state: &mut State, ticket: Ticket) {
    state.wake(ticket, WakeReason::Notified);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::current::current_hub;

    #[test]
    fn what_a_signal_interrupts_is_not_entered() {
        let hub = current_hub();
        assert!(hub.can_block());
        let enlist = || {
            assert!(!hub.can_block(), "who waits for what is being changed");
            Err(io::ErrorKind::Other.into())
        };
        assert!(hub.reactor().watch(0, enlist, |_| panic!("nobody waits")).is_err());
        assert!(hub.can_block());
    }
}
