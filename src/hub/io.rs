//! Waiting for a descriptor.

use super::Hub;
use crate::fds::{self, Generation};
use crate::green::{Ticket, Wait, Wake};
use crate::reactor::{Armed, Direction, Edges};
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
    /// A signal was handled: only told to who waits for several.
    #[cfg_attr(not(feature = "patch"), allow(dead_code))]
    Signalled,
}

/// How long who cannot be woken waits before it looks again, in nanoseconds.
const A_LITTLE: Time = 1_000_000;

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
        if foreign {
            self.ask_after(fd);
        }
        let hub = self.reactor.number(|| Ok(fds::enlist(self.inbox()?)))?;
        let ticket = self.ticket();
        let wake = |ticket| {
            self.wake(ticket);
        };
        let armed = match self.reactor.arm(fd, direction, ticket, hub, Edges::Unused, wake)? {
            Armed::Waiting(armed) => armed,
            Armed::Closing => {
                self.nap(self.clock.now() + A_LITTLE);
                return Ok(Readiness::Ready);
            }
            Armed::Ready | Armed::Always => return Ok(Readiness::Ready),
        };
        let ended = self.park_on_io(ticket, deadline, Wait::Io(fd, direction), shield);
        Ok(if self.reactor.disarm(fd, direction, ticket, armed) { ended } else { Readiness::Closed })
    }

    /// `fd` may have been closed, and its number used again, without a word to [`fds`]: if so, it is told now.
    pub(crate) fn ask_after(&self, fd: RawFd) {
        if self.reactor.is_stale(fd) {
            fds::forget(fd);
        }
    }

    /// [`wait_fd`](Hub::wait_fd), for the next edge of any of several, or a signal's handler. Who calls has asked the
    /// kernel, and what it waits for is not so. Where one cannot be waited for, this ends soon, and who calls looks again.
    #[cfg_attr(not(any(feature = "patch", feature = "process")), allow(dead_code))]
    pub(crate) fn wait_fds(
        &self,
        fds: &[(RawFd, Direction)],
        deadline: Time,
        foreign: bool,
        shield: bool,
    ) -> Readiness {
        if foreign {
            fds.iter().for_each(|&(fd, _)| self.ask_after(fd));
        }
        let ticket = self.ticket();
        let wake = |ticket| {
            self.wake(ticket);
        };
        let mut armed = Vec::with_capacity(fds.len());
        let mut until = deadline;
        // To wait for nothing takes no reactor.
        if !fds.is_empty() {
            let hub = self.reactor.number(|| Ok(fds::enlist(self.inbox()?)));
            for &(fd, direction) in fds {
                let arm = |&hub: &u32| self.reactor.arm(fd, direction, ticket, hub, Edges::Next, wake).ok();
                match hub.as_ref().ok().and_then(arm) {
                    Some(Armed::Waiting(generation)) => armed.push((fd, direction, generation)),
                    // What is always ready, and not in the way that is waited for, never will be.
                    Some(Armed::Always) => {}
                    Some(Armed::Ready | Armed::Closing) | None => {
                        until = deadline.min(self.clock.now() + A_LITTLE);
                    }
                }
            }
        }
        let signals = self.reactor.signals();
        self.reactor.tell_of_signals(ticket, true);
        let wait = fds.first().map_or(Wait::Sleep, |&(fd, direction)| Wait::Io(fd, direction));
        let ended = self.park_on_io(ticket, until, wait, shield);
        self.reactor.tell_of_signals(ticket, false);
        let mut closed = false;
        for (fd, direction, generation) in armed {
            closed |= !self.reactor.disarm(fd, direction, ticket, generation);
        }
        match ended {
            _ if closed => Readiness::Closed,
            Readiness::Ready if signals != self.reactor.signals() => Readiness::Signalled,
            Readiness::Expired if until < deadline => Readiness::Ready,
            ended => ended,
        }
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
    fn nap(&self, until: Time) {
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

#[cfg(test)]
mod tests {
    use crate::hub::hub;

    #[test]
    fn what_a_signal_interrupts_is_not_entered() {
        let hub = hub();
        hub.reactor().waker().unwrap();
        assert!(hub.can_block());
        hub.reactor().settings(0, |known| {
            assert!(!hub.can_block(), "the table of descriptors is in use");
            *known
        });
        assert!(hub.can_block());
    }
}
