//! The reactor backend over mio and epoll.
//!
//! mio makes the epoll instance, registers descriptors edge-triggered, and wakes by an eventfd ([`mio::Waker`]). It
//! does not wait: its `Poll::poll` rounds timeouts up to a millisecond, so this file waits by `epoll_pwait2` (Linux
//! 5.11) on mio's epoll descriptor, with nanoseconds. Where the kernel has no `epoll_pwait2`, `ppoll` waits for that
//! descriptor first. Both rely on mio storing its `Token` unchanged in `epoll_event.u64`, and on `EPOLLET`: a test
//! asserts it.
//!
//! Next: `reactor/fd_state.rs`, what becomes of the edges.

use super::driver::{Driver, Event, Flags, Key, WAKER, Wake, answer, limit_of, ppoll};
use crate::arch::syscall::syscall;
use crate::time::Time;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token, Waker};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{from_ref, null};
use std::sync::Arc;

/// Urgent data is included because a read stops before it.
const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
/// Number of events collected by one call. It is small so that the kilobytes of each socket that the kernel has just
/// touched are still in the cache when the green thread of that socket runs.
const EVENTS: usize = 64;

pub(crate) struct Epoll {
    poll: Poll,
    waker: Arc<Waker>,
    buffer: RefCell<Vec<libc::epoll_event>>,
    /// The kernel has no `epoll_pwait2`.
    by_ppoll: Cell<bool>,
}

impl Wake for Waker {
    fn wake(&self) -> io::Result<()> {
        Waker::wake(self)
    }
}

impl Driver for Epoll {
    fn new() -> io::Result<Epoll> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), token(WAKER))?);
        let buffer = RefCell::new(Vec::with_capacity(EVENTS));
        Ok(Epoll { poll, waker, buffer, by_ppoll: Cell::new(false) })
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }

    fn register(&self, fd: RawFd, key: Key) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), token(key), ALL)
    }

    fn reregister(&self, fd: RawFd, key: Key) -> io::Result<()> {
        self.poll.registry().reregister(&mut SourceFd(&fd), token(key), ALL)
    }

    fn deregister(&self, fd: RawFd) {
        // An error says that it was not registered.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
    }

    fn listen(&self, counter: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&counter), token(WAKER), Interest::READABLE)
    }

    #[inline]
    fn wait(&self, timeout: Time, _known: impl Fn(Key) -> Flags, events: &mut Vec<Event>) -> io::Result<()> {
        events.clear();
        let mut buffer = self.buffer.borrow_mut();
        let mut count = self.collect(&mut buffer, timeout);
        // EPERM is what some filters of system calls return instead of ENOSYS.
        let is_refused = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM));
        if count.as_ref().is_err_and(is_refused) && !self.by_ppoll.replace(true) {
            count = self.collect(&mut buffer, timeout);
        }
        // SAFETY: the kernel has written so many events.
        unsafe { buffer.set_len(count?) };
        events.extend(buffer.iter().map(|event| Event { key: event.u64, flags: event.events as Flags }));
        Ok(())
    }
}

impl Epoll {
    /// Waits for events. Returns their number.
    fn collect(&self, buffer: &mut Vec<libc::epoll_event>, timeout: Time) -> io::Result<usize> {
        let (epoll, events) = (self.poll.as_raw_fd(), buffer.as_mut_ptr() as usize);
        let wait = |number, limit| {
            let args = [epoll as usize, events, EVENTS, limit, 0, size_of::<libc::c_ulong>()];
            // SAFETY: the buffer has room for EVENTS events; `limit` is 0, or points to a time of this frame. Past the C
            // library, whose functions may be patched.
            answer(unsafe { syscall(number, args) })
        };
        if self.by_ppoll.get() {
            ppoll(&mut [libc::pollfd { fd: epoll, events: libc::POLLIN, revents: 0 }], timeout)?;
            return wait(libc::SYS_epoll_pwait, 0);
        }
        let limit = limit_of(timeout);
        wait(libc::SYS_epoll_pwait2, limit.as_ref().map_or(null(), from_ref) as usize)
    }
}

fn token(key: Key) -> Token {
    Token(key as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;

    #[test]
    fn register_by_mio_stores_the_key_unchanged_and_edge_triggered() {
        let epoll = Epoll::new().unwrap();
        // SAFETY: the kernel has just made it.
        let counter = unsafe { std::os::fd::OwnedFd::from_raw_fd(libc::eventfd(1, libc::EFD_CLOEXEC)) };
        let key = 0x0123_4567_89ab_cdef;
        epoll.register(counter.as_raw_fd(), key).unwrap();
        let mut events = Vec::new();
        epoll.wait(0, |_| 0, &mut events).unwrap();
        assert_eq!(events.iter().map(|event| event.key).collect::<Vec<_>>(), [key]);
        epoll.wait(0, |_| 0, &mut events).unwrap();
        assert_eq!(events.len(), 0, "still readable, and no edge");
    }
}
