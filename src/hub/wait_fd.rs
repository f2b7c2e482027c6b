//! Parking until a descriptor is ready, and what the reactor's events wake.
//!
//! Next: `reactor/mod.rs`, which knows the descriptors.

use super::fields::Hub;
use super::state::HubState;
use crate::fd_table;
use crate::fd_table::{FdListener, Generation};
use crate::green::Interruptible;
use crate::ids::{Direction, ParkResult, Ticket, WaitReason};
use crate::reactor::{FdState, Registration};
use crate::sys::hint::unlikely;
use crate::time::Time;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

/// How long a green thread waits for a descriptor that cannot be registered just now, in nanoseconds.
const RECHECK_INTERVAL: Time = 1_000_000;

impl Hub {
    /// Parks the running green thread until the next edge of `fd` in that direction, or until the deadline.
    ///
    /// Errors: `fd` is not open, or was closed meanwhile (EBADF); the kernel has no memory for another registration; no
    /// descriptor is left for the reactor.
    pub(crate) fn wait_fd(
        &self,
        fd: RawFd,
        direction: Direction,
        deadline: Time,
        interruptible: Interruptible,
    ) -> io::Result<ParkResult> {
        match self.register(fd)? {
            Registration::Registered(state) => self.wait_state(state, fd, direction, deadline, interruptible),
            Registration::AlwaysReady => Ok(ParkResult::Notified),
            Registration::Closing => {
                // Not for `fd` itself: by the next look it may be another's, and always ready.
                let until = deadline.min(self.clock.now() + RECHECK_INTERVAL);
                let result = self.wait_fds(&[], self.status.switches(), until, interruptible)?;
                let is_early = result == ParkResult::Expired && until < deadline;
                Ok(if is_early { ParkResult::Notified } else { result })
            }
        }
    }

    /// Waits as `wait_fd` does. `state` is the current state of `fd`.
    #[inline(never)]
    pub(crate) fn wait_state(
        &self,
        state: &FdState,
        fd: RawFd,
        direction: Direction,
        deadline: Time,
        interruptible: Interruptible,
    ) -> io::Result<ParkResult> {
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
        let (ticket, result) = self.park_armed(arm, deadline, WaitReason::Io(fd, direction), interruptible);
        if armed {
            self.fd_waiters.set(self.fd_waiters.get() - 1);
        }
        let _entered = self.reactor.enter();
        state.remove_waiter(direction, ticket);
        check_open(state, generation).map(|()| result)
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

    /// Parks until any of `fds` gets a new edge, or a signal handler runs. Before the call, the caller must have found
    /// that none of them is ready; `switches` is the hub's switch count before it looked. If a descriptor cannot be
    /// registered just now, the function returns after 1 ms and the caller must look again.
    ///
    /// Errors: one of `fds` was closed meanwhile (EBADF).
    pub(crate) fn wait_fds(
        &self,
        fds: &[(RawFd, Direction)],
        switches: u64,
        deadline: Time,
        interruptible: Interruptible,
    ) -> io::Result<ParkResult> {
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
        self.reactor.add_signal_waiter(ticket);
        let wait = fds.first().map_or(WaitReason::Sleep, |&(fd, direction)| WaitReason::Io(fd, direction));
        self.fd_waiters.set(self.fd_waiters.get() + 1);
        // If the handler of a signal has parked since the look, the hub may have collected an edge that no waiter got.
        let result = match self.status.switches() == switches {
            true => self.park(ticket, until, wait, interruptible),
            false => ParkResult::Notified,
        };
        self.fd_waiters.set(self.fd_waiters.get() - 1);
        self.reactor.remove_signal_waiter(ticket);
        let _entered = self.reactor.enter();
        let mut open = Ok(());
        for (state, generation, direction) in armed {
            state.remove_waiter(direction, ticket);
            open = open.and(check_open(state, generation));
        }
        let is_early = result == ParkResult::Expired && until < deadline;
        open.map(|()| if is_early { ParkResult::Notified } else { result })
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
        state.prefetch_first(self.status.alive());
        self.poll_interval.record_reactor_poll(self.status.switches(), state.ready.len());
    }
}

/// Errors: `generation`, which was registered, is closed (EBADF).
#[inline]
fn check_open(state: &FdState, generation: Option<Generation>) -> io::Result<()> {
    let is_open = generation.is_some() && state.current() == generation;
    if unlikely(!is_open) { Err(io::Error::from_raw_os_error(libc::EBADF)) } else { Ok(()) }
}

/// Not inlined, because it would be inlined once for each direction.
#[inline(never)]
fn notify(state: &mut HubState, ticket: Ticket) {
    state.wake(ticket, ParkResult::Notified);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::current_hub::current_hub;
    use crate::api::sleep::sleep;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

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

    #[test]
    fn wait_fds_returns_at_once_if_the_hub_has_run_since_the_look() {
        let hub = current_hub();
        let (mut here, there) = UnixStream::pair().unwrap();
        let wait = |switches| {
            let deadline = hub.clock().after(Duration::from_millis(20));
            hub.wait_fds(&[(there.as_raw_fd(), Direction::Read)], switches, deadline, Interruptible::Yes)
        };
        let switches = || hub.status().switches();
        assert_eq!(wait(switches()).unwrap(), ParkResult::Expired, "registered, and not ready");
        let before = switches();
        here.write_all(b"x").unwrap();
        // As the handler of a signal that parks: the hub collects the edge, for which there is no waiter.
        sleep(Duration::from_millis(1));
        assert_eq!(wait(before).unwrap(), ParkResult::Notified);
        // poll(2) has no edges: it reports what is ready.
        let ended = if cfg!(feature = "poll-reactor") { ParkResult::Notified } else { ParkResult::Expired };
        assert_eq!(wait(switches()).unwrap(), ended, "the edge was before the look");
    }
}
