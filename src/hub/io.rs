//! Waiting for a descriptor.

use super::Hub;
use crate::fds::{self, Generation};
use crate::green::{Ticket, Wait, Wake};
use crate::reactor::{Armed, Direction};
use crate::time::Time;
use std::io;
use std::os::fd::RawFd;

/// How a wait for a descriptor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Try now.
    Ready,
    Expired,
    /// A kill or a timeout is to be delivered; never when shielded.
    Interrupted,
    /// It was closed meanwhile.
    Closed,
}

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
    ) -> io::Result<Readiness> {
        let hub = self.reactor.number(|| Ok(fds::enlist(self.inbox()?)))?;
        let ticket = self.ticket();
        let wake = |ticket| {
            self.wake(ticket);
        };
        let Armed::Waiting(armed) = self.reactor.arm(fd, direction, ticket, hub, foreign, wake)? else {
            return Ok(Readiness::Ready);
        };
        let ended = self.park_on_io(ticket, deadline, Wait::Io(fd, direction), shield);
        Ok(if self.reactor.disarm(fd, direction, ticket, armed) { ended } else { Readiness::Closed })
    }

    /// [`wait_fd`](Hub::wait_fd), for any of several.
    #[cfg_attr(not(any(feature = "patch", feature = "process")), allow(dead_code))]
    pub(crate) fn wait_fds(
        &self,
        fds: &[(RawFd, Direction)],
        deadline: Time,
        foreign: bool,
        shield: bool,
    ) -> io::Result<Readiness> {
        let hub = self.reactor.number(|| Ok(fds::enlist(self.inbox()?)))?;
        let ticket = self.ticket();
        let mut armed = Vec::with_capacity(fds.len());
        let mut early = None;
        for &(fd, direction) in fds {
            // Who calls has asked the kernel, and none is ready.
            self.reactor.drained(fd, direction);
            let wake = |ticket| {
                self.wake(ticket);
            };
            match self.reactor.arm(fd, direction, ticket, hub, foreign, wake) {
                Ok(Armed::Waiting(generation)) => armed.push((fd, direction, generation)),
                Ok(_) => early = Some(Ok(Readiness::Ready)),
                Err(error) => early = Some(Err(error)),
            }
        }
        let ended = early.unwrap_or_else(|| {
            let wait = fds.first().map_or(Wait::Sleep, |&(fd, direction)| Wait::Io(fd, direction));
            Ok(self.park_on_io(ticket, deadline, wait, shield))
        });
        for (fd, direction, generation) in armed {
            self.reactor.disarm(fd, direction, ticket, generation);
        }
        ended
    }

    /// [`park`](Hub::park), for what the world outside may end.
    fn park_on_io(&self, ticket: Ticket, deadline: Time, wait: Wait, shield: bool) -> Readiness {
        self.on_io.set(self.on_io.get() + 1);
        let wake = self.park(ticket, deadline, wait, shield);
        self.on_io.set(self.on_io.get() - 1);
        match wake {
            Wake::Notified => Readiness::Ready,
            Wake::Expired => Readiness::Expired,
            Wake::Interrupted => Readiness::Interrupted,
            Wake::Deadlocked => unreachable!("the world outside may always do something"),
        }
    }

    /// Parks until that time, whatever happens.
    #[cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]
    pub(crate) fn nap(&self, until: Time) {
        self.park(self.ticket(), until, Wait::Sleep, true);
    }

    /// That generation of `fd` is closed: those who wait for it are woken.
    pub(super) fn fd_closed(&self, fd: RawFd, generation: Generation) {
        self.reactor.closed(fd, generation, |ticket| {
            self.wake(ticket);
        });
    }

    /// Collects what has happened outside, for up to `timeout`, and makes ready whom it concerns.
    pub(super) fn look_outside(&self, timeout: Time) {
        let waited = self.reactor.wait(timeout, |ticket: Ticket| {
            self.wake(ticket);
        });
        if let Err(error) = waited {
            self.note(log::Level::Error, format!("waiting for events: {error}"));
        }
    }
}
