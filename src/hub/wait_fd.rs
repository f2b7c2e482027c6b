//! Parking until a descriptor is ready, and what the reactor's events wake.
//!
//! Next: `reactor/mod.rs`, which knows the descriptors.

use super::fields::Hub;
use super::state::HubState;
use crate::fd_table;
use crate::fd_table::{FdListener, Generation};
use crate::ids::{Direction, ParkResult, Ticket, WaitReason, WakeReason};
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
    /// A kill or a timeout is to be delivered. Never if the wait was shielded.
    Interrupted,
    /// The descriptor was closed meanwhile.
    Closed,
    /// A signal was handled. Only `wait_fds` returns it.
    Signalled,
}

impl FdWaitResult {
    #[inline]
    fn of(wake: ParkResult) -> FdWaitResult {
        match wake {
            ParkResult::Notified => FdWaitResult::Ready,
            ParkResult::Expired => FdWaitResult::Expired,
            ParkResult::Interrupted => FdWaitResult::Interrupted,
            ParkResult::Deadlocked => unreachable!("a descriptor may always become ready"),
        }
    }
}

/// How long a green thread waits for a descriptor that cannot be registered just now, in nanoseconds.
const RECHECK_INTERVAL: Time = 1_000_000;

impl Hub {
    /// Parks the running green thread until `fd` may be ready in that direction, or until the deadline. If `shield`,
    /// an interrupt does not end the wait.
    ///
    /// Errors: `fd` is not open; the kernel has no memory for another registration; no descriptor is left for the
    /// reactor.
    pub(crate) fn wait_fd(
        &self,
        fd: RawFd,
        direction: Direction,
        deadline: Time,
        shield: bool,
    ) -> io::Result<FdWaitResult> {
        let state = match self.register(fd)? {
            Registration::Registered(state) => state,
            Registration::Closing => return Ok(self.wait_for_close(fd, direction, deadline, shield)),
            Registration::AlwaysReady => return Ok(FdWaitResult::Ready),
        };
        // An edge that has come and was not used up is as good as the next.
        if state.is_ready(direction) {
            return Ok(FdWaitResult::Ready);
        }
        Ok(self.wait_state(state, fd, direction, deadline, shield))
    }

    /// Parks the running green thread until the next edge of `fd` in that direction, or until the deadline. `state` is
    /// the current state of `fd`.
    #[inline(never)]
    pub(crate) fn wait_state(
        &self,
        state: &FdState,
        fd: RawFd,
        direction: Direction,
        deadline: Time,
        shield: bool,
    ) -> FdWaitResult {
        let generation = state.generation();
        let mut armed = false;
        // Since the last look, the handler of a signal may have parked, and the hub may have collected an edge.
        let arm = |ticket| {
            armed = !unlikely(state.is_ready(direction));
            if armed {
                state.add_waiter(direction, ticket);
                self.fd_waiters.set(self.fd_waiters.get() + 1);
            }
            armed
        };
        let (ticket, wake) = self.park_armed(arm, deadline, WaitReason::Io(fd, direction), shield);
        if armed {
            self.fd_waiters.set(self.fd_waiters.get() - 1);
        }
        let _entered = self.reactor.enter();
        state.remove_waiter(direction, ticket);
        if unlikely(generation.is_none() || state.current() != generation) {
            return FdWaitResult::Closed;
        }
        FdWaitResult::of(wake)
    }

    /// See [`Reactor::register`](crate::reactor::Reactor::register).
    #[inline]
    fn register(&self, fd: RawFd) -> io::Result<Registration<'_>> {
        let enlist = || {
            let inbox: Arc<dyn FdListener> = self.inbox()?.clone();
            Ok(fd_table::register_hub(Arc::downgrade(&inbox)))
        };
        self.reactor.register(fd, enlist, |ticket| {
            self.wake(ticket);
        })
    }

    /// Tells `fd_table` if `fd` was closed, and its number perhaps reused, by a call that it has not seen.
    pub(crate) fn revalidate_fd(&self, fd: RawFd) {
        if self.reactor.is_stale(fd) {
            fd_table::invalidate(fd);
        }
    }

    /// Parks until any of `fds` gets a new edge, or a signal handler runs. Before the call, the caller must have
    /// checked that none of them is ready. If a descriptor cannot be registered, the function returns after 1 ms and
    /// the caller must check again.
    pub(crate) fn wait_fds(&self, fds: &[(RawFd, Direction)], deadline: Time, shield: bool) -> FdWaitResult {
        let ticket = self.ticket();
        let mut armed = Vec::with_capacity(fds.len());
        let mut until = deadline;
        for &(fd, direction) in fds {
            match self.register(fd) {
                Ok(Registration::Registered(state)) => {
                    let _entered = self.reactor.enter();
                    state.add_waiter(direction, ticket);
                    armed.push((state, state.current(), direction));
                }
                // A descriptor that is always ready, and not in the way that is waited for, never will be.
                Ok(Registration::AlwaysReady) => {}
                Ok(Registration::Closing) | Err(_) => {
                    until = deadline.min(self.clock.now() + RECHECK_INTERVAL);
                }
            }
        }
        let signals = self.reactor.signals();
        self.reactor.add_signal_waiter(ticket);
        let wait = fds.first().map_or(WaitReason::Sleep, |&(fd, direction)| WaitReason::Io(fd, direction));
        self.fd_waiters.set(self.fd_waiters.get() + 1);
        let ended = FdWaitResult::of(self.park(ticket, until, wait, shield));
        self.fd_waiters.set(self.fd_waiters.get() - 1);
        self.reactor.remove_signal_waiter(ticket);
        let _entered = self.reactor.enter();
        let mut closed = false;
        for (state, generation, direction) in armed {
            state.remove_waiter(direction, ticket);
            closed |= generation.is_none() || state.current() != generation;
        }
        match ended {
            _ if closed => FdWaitResult::Closed,
            FdWaitResult::Ready if signals != self.reactor.signals() => FdWaitResult::Signalled,
            FdWaitResult::Expired if until < deadline => FdWaitResult::Ready,
            ended => ended,
        }
    }

    /// Parks for a moment, because another OS thread is just closing `fd`. Then the caller may try again.
    #[cold]
    fn wait_for_close(&self, fd: RawFd, direction: Direction, deadline: Time, shield: bool) -> FdWaitResult {
        let until = deadline.min(self.clock.now() + RECHECK_INTERVAL);
        match FdWaitResult::of(self.park(self.ticket(), until, WaitReason::Io(fd, direction), shield)) {
            FdWaitResult::Expired if until < deadline => FdWaitResult::Ready,
            ended => ended,
        }
    }

    /// Wakes the waiters of a generation of `fd` that is closed.
    pub(super) fn fd_closed(&self, fd: RawFd, generation: Generation) {
        self.reactor.on_closed(fd, generation, |ticket| {
            self.wake(ticket);
        });
    }

    /// Collects events for up to `timeout`, and makes the green threads ready that waited for them.
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

/// Not inlined, because it would be inlined once for each direction.
#[inline(never)]
fn notify(state: &mut HubState, ticket: Ticket) {
    state.wake(ticket, WakeReason::Notified);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::current_hub::current_hub;

    #[test]
    fn can_block_is_false_inside_reactor() {
        let hub = current_hub();
        assert!(hub.can_block());
        let enlist = || {
            assert!(!hub.can_block(), "lists of waiters are being changed");
            Err(io::ErrorKind::Other.into())
        };
        assert!(hub.reactor().register(0, enlist, |_| panic!("there is no waiter")).is_err());
        assert!(hub.can_block());
    }
}
