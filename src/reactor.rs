//! Waiting for the world outside: until a time, or until another OS thread calls.
//!
//! Over mio. Its own waiting rounds up to a millisecond, so the hub waits by `ppoll` on mio's epoll
//! descriptor, with nanoseconds, and lets mio collect afterwards. A hub that nobody outside holds a handle
//! to needs no descriptor at all: it only sleeps.
//!
//! Leaves to others: when to wait and for how long (`hub`). File descriptors of users will be armed here.
#![allow(unsafe_code)]

use crate::time::{NEVER, Time};
use mio::{Events, Poll, Token, Waker};
use std::cell::{OnceCell, RefCell};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

const WAKER: Token = Token(usize::MAX);

/// The outside of one hub.
#[derive(Default)]
pub(crate) struct Reactor {
    inner: OnceCell<Inner>,
}

struct Inner {
    poll: RefCell<Poll>,
    events: RefCell<Events>,
    waker: Arc<Waker>,
}

impl Reactor {
    /// What another OS thread ends our waiting with.
    ///
    /// Errors: no file descriptor left for the epoll instance or the event counter.
    pub(crate) fn waker(&self) -> io::Result<Arc<Waker>> {
        if let Some(inner) = self.inner.get() {
            return Ok(inner.waker.clone());
        }
        let inner = (|| {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            Ok(Inner { poll: RefCell::new(poll), events: RefCell::new(Events::with_capacity(64)), waker })
        })()
        .map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("no file descriptor for the hub's reactor: {error}"))
        })?;
        Ok(self.inner.get_or_init(|| inner).waker.clone())
    }

    /// Blocks the OS thread for `timeout` nanoseconds, or until the waker is used, or a signal is handled.
    ///
    /// Errors: those of epoll_wait(2).
    pub(crate) fn wait(&self, timeout: Time) -> io::Result<()> {
        let limit = libc::timespec {
            tv_sec: (timeout / 1_000_000_000) as libc::time_t,
            tv_nsec: (timeout % 1_000_000_000) as libc::c_long,
        };
        let limit = if timeout == NEVER { null() } else { &raw const limit };
        let Some(inner) = self.inner.get() else {
            // SAFETY: no descriptors; `limit` is null or points to a value of this frame.
            unsafe { libc::ppoll(null_mut(), 0, limit, null()) };
            return Ok(());
        };
        let mut poll = inner.poll.borrow_mut();
        let mut fd = libc::pollfd { fd: poll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, in this frame, open as long as the Poll is.
        if unsafe { libc::ppoll(&raw mut fd, 1, limit, null()) } > 0 {
            poll.poll(&mut inner.events.borrow_mut(), Some(Duration::ZERO))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn waits_for_less_than_a_millisecond() {
        let reactor = Reactor::default();
        for with_descriptor in [false, true] {
            if with_descriptor {
                reactor.waker().unwrap();
            }
            let times = (0..50).map(|_| {
                let start = Instant::now();
                reactor.wait(50_000).unwrap();
                start.elapsed()
            });
            let best = times.min().expect("there are fifty");
            assert!(best >= Duration::from_micros(50), "{best:?}");
            // Were it rounded up to a millisecond, none of fifty could be shorter than one.
            assert!(best < Duration::from_micros(900), "{best:?}");
        }
    }

    #[test]
    fn a_wake_up_from_before_the_wait_is_not_lost() {
        let reactor = Reactor::default();
        reactor.waker().unwrap().wake().unwrap();
        reactor.wait(NEVER).unwrap();
    }
}
