//! Waiting for the world outside: for a descriptor to be ready, for a time, for another OS thread to call.
//!
//! Over mio: its `Poll`, `Registry` and `Waker`. Descriptors are registered when they are first waited for, for both
//! directions and edge-triggered, and stay registered until they are closed: so a request costs no call to
//! register anything. What the edges have said so far is kept for each direction ([`FdState`]), so that who knows
//! that a descriptor is drained waits for the next edge without asking the kernel once more.
//!
//! mio's own waiting rounds up to a millisecond, so the hub waits by `epoll_pwait2` (Linux 5.11) on mio's epoll
//! descriptor, with nanoseconds; where there is none, by `ppoll` on that descriptor first. A hub that waits for no
//! descriptor, and that nobody outside holds a handle to, needs no epoll instance at all: it only sleeps.
//!
//! Holds: a source is of the generation of its descriptor's number (see `fds`) or is not used. A waiter is told of
//! each edge that comes after it has looked, for nothing is collected between its look and its park.
//!
//! Leaves to others: when to wait and for how long (`hub`), what to try when ready (`io`).
#![allow(unsafe_code)]

mod fd_state;
mod table;

use crate::arch::syscall::syscall;
use crate::fd_table;
use crate::fd_table::{Generation, WatchError};
use crate::ids::Direction;
use crate::ids::{GreenId, Ticket};
use crate::time::{NEVER, Time};
pub(crate) use fd_state::{FdMode, FdState};
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token, Waker};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::null;
use std::sync::Arc;
use table::Table;

const WAKER: Token = Token(usize::MAX);
/// Urgent data, too, because a read stops before it.
const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
/// How many events are collected at a time: so few that what the kernel has looked at for them, some kilobytes of each
/// socket, is in the cache still when it is their turn.
const EVENTS: usize = 64;

/// The outside of one hub. What every wait touches comes first, to lie in one line of the cache.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Reactor {
    /// Somebody is changing who waits for what.
    entered: Cell<bool>,
    /// A signal was handled while the hub waited, and nobody was told yet. How often that was; who is told.
    signalled: Cell<bool>,
    signals: Cell<u32>,
    /// By number.
    sources: Table<FdState>,
    inner: OnceCell<Epoll>,
    on_signal: RefCell<BTreeSet<(GreenId, u32)>>,
}

/// Takes the mark away again.
pub(crate) struct ReentryGuard<'a>(&'a Cell<bool>);

impl Drop for ReentryGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.set(false);
    }
}

struct Epoll {
    poll: Poll,
    waker: Arc<Waker>,
    events: RefCell<Vec<libc::epoll_event>>,
    /// Our number in the table of who watches what; 0 until we do.
    hub: Cell<u32>,
    /// There is no `epoll_pwait2` here.
    by_ppoll: Cell<bool>,
}

/// What came of wanting to wait for a descriptor.
pub(crate) enum Registration<'a> {
    /// Who leaves a ticket there is woken by the next edge.
    Registered(&'a FdState),
    /// It is a file, or something else that is always ready.
    AlwaysReady,
    /// Another OS thread is about to close it: look again, a little later.
    Closing,
}

impl Reactor {
    fn inner(&self) -> io::Result<&Epoll> {
        if let Some(inner) = self.inner.get() {
            return Ok(inner);
        }
        let inner = (|| {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            Ok(Epoll {
                poll,
                waker,
                events: RefCell::new(Vec::with_capacity(EVENTS)),
                hub: Cell::new(0),
                by_ppoll: Cell::new(false),
            })
        })()
        .map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("no file descriptor for the hub's reactor: {error}"))
        })?;
        Ok(self.inner.get_or_init(|| inner))
    }

    /// Whether nobody is in here: the handler of a signal may come while somebody is.
    #[inline]
    pub(crate) fn is_reentrant_safe(&self) -> bool {
        !self.entered.get() && self.on_signal.try_borrow_mut().is_ok()
    }

    /// Who changes who waits for what has this meanwhile.
    #[inline]
    pub(crate) fn enter(&self) -> ReentryGuard<'_> {
        self.entered.set(true);
        ReentryGuard(&self.entered)
    }

    /// What another OS thread ends our waiting with.
    ///
    /// Errors: no file descriptor left for the epoll instance or the event counter.
    pub(crate) fn waker(&self) -> io::Result<Arc<Waker>> {
        self.inner().map(|inner| inner.waker.clone())
    }

    /// Has each rise of `counter`, an event counter, end a wait, as the waker does; or no more.
    ///
    /// Errors: no file descriptor is left for the reactor, or no memory in the kernel.
    pub(crate) fn listen(&self, counter: RawFd, on: bool) -> io::Result<()> {
        let registry = self.inner()?.poll.registry();
        match on {
            true => registry.register(&mut SourceFd(&counter), WAKER, Interest::READABLE),
            false => registry.deregister(&mut SourceFd(&counter)),
        }
    }

    /// Our number in the table of who watches what; `enlist` gives it.
    pub(crate) fn number(&self, enlist: impl FnOnce() -> io::Result<u32>) -> io::Result<u32> {
        let inner = self.inner()?;
        if inner.hub.get() == 0 {
            inner.hub.set(enlist()?);
        }
        Ok(inner.hub.get())
    }

    /// What is kept of `fd`, if it is registered, and was not closed since.
    #[inline]
    pub(crate) fn source(&self, fd: RawFd) -> Option<&FdState> {
        self.sources.get(fd).filter(|source| source.current().is_some())
    }

    /// The same, registered if need be. `wake` is called for those who wait for an earlier generation of the number: it is
    /// no more. `enlist`: as for `number`.
    ///
    /// Errors: `fd` is not open (EBADF); the kernel has no memory for another registration; no descriptor is left
    /// for the reactor.
    #[inline]
    pub(crate) fn watch(
        &self,
        fd: RawFd,
        enlist: impl FnOnce() -> io::Result<u32>,
        wake: impl FnMut(Ticket),
    ) -> io::Result<Registration<'_>> {
        match self.source(fd) {
            Some(source) => Ok(Registration::Registered(source)),
            None => self.begin_to_watch(fd, enlist, wake),
        }
    }

    #[cold]
    fn begin_to_watch(
        &self,
        fd: RawFd,
        enlist: impl FnOnce() -> io::Result<u32>,
        mut wake: impl FnMut(Ticket),
    ) -> io::Result<Registration<'_>> {
        let _entered = self.enter();
        let (hub, inner) = (self.number(enlist)?, self.inner()?);
        let watched = match fd_table::watch(fd, hub) {
            Ok(watched) => watched,
            Err(WatchError::Closing) => return Ok(Registration::Closing),
            Err(WatchError::TooLarge) => return Err(too_large(fd)),
        };
        let source = self.sources.entry(fd).ok_or_else(|| too_large(fd))?;
        match register(&inner.poll, fd, watched.generation()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Ok(Registration::AlwaysReady),
            Err(error) => return Err(error),
        }
        // Nobody will be told of the earlier one's end after this.
        source.wake_all(&mut wake);
        source.begin(watched);
        Ok(Registration::Registered(source))
    }

    /// Whether `fd` was closed, and its number perhaps used again, without a word to `fds`. If it was not, what is
    /// ready now is an edge once more.
    pub(crate) fn is_stale(&self, fd: RawFd) -> bool {
        let (Some(inner), Some(source)) = (self.inner.get(), self.source(fd)) else { return false };
        let generation = source.current();
        generation.is_some_and(|generation| register_again(&inner.poll, fd, generation).is_err())
    }

    /// How often a signal was handled while the hub waited.
    pub(crate) fn signals(&self) -> u32 {
        self.signals.get()
    }

    /// `ticket` is woken when a signal was handled while the hub waited; no more, if not `wanted`.
    pub(crate) fn tell_of_signals(&self, ticket: Ticket, wanted: bool) {
        let (waiter, mut waiters) = ((ticket.id, ticket.epoch), self.on_signal.borrow_mut());
        if wanted {
            waiters.insert(waiter)
        } else {
            waiters.remove(&waiter)
        };
    }

    /// The kernel has said that `fd` is drained (or full) in that direction: see [`FdState::drained`].
    #[inline]
    pub(crate) fn drained(&self, fd: RawFd, direction: Direction) {
        if let Some(source) = self.source(fd) {
            source.drained(direction);
        }
    }

    /// That generation of `fd` is closed: its waiters are woken, to find that out.
    pub(crate) fn closed(&self, fd: RawFd, generation: Generation, mut wake: impl FnMut(Ticket)) {
        let Some(inner) = self.inner.get() else { return };
        let _entered = self.enter();
        if let Some(source) = self.sources.get(fd).filter(|source| source.is_of(generation)) {
            source.end();
            // While it is open still; afterwards there is nothing to take out, unless it was duplicated.
            let _ = inner.poll.registry().deregister(&mut SourceFd(&fd));
            source.wake_all(&mut wake);
        }
    }

    /// Blocks the OS thread for `timeout` nanoseconds, or until a descriptor is ready, or the waker is used, or a
    /// signal is handled: [`dispatch`](Reactor::dispatch) then says whom that concerns. 0 only looks.
    ///
    /// Errors: those of epoll_wait(2).
    pub(crate) fn collect(&self, timeout: Time) -> io::Result<()> {
        let limit = libc::timespec {
            tv_sec: (timeout / 1_000_000_000) as libc::time_t,
            tv_nsec: (timeout % 1_000_000_000) as libc::c_long,
        };
        let limit = if timeout == NEVER { null() } else { &raw const limit };
        let signalled = match self.inner.get() {
            Some(inner) => inner.collect(limit)?,
            // SAFETY: no descriptors; `limit` is null or points to a value of this frame.
            None => unsafe {
                syscall(libc::SYS_ppoll, [0, 0, limit as usize, 0, 0, 0]) == -libc::EINTR as isize
            },
        };
        self.signalled.set(self.signalled.get() || signalled);
        Ok(())
    }

    /// Has `wake` called for all that may go on after what was collected.
    #[inline]
    pub(crate) fn dispatch(&self, mut wake: impl FnMut(Ticket)) {
        const READ: u32 = libc::EPOLLIN as u32;
        const READ_ENDED: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLPRI) as u32;
        const WRITE: u32 = libc::EPOLLOUT as u32;
        const WRITE_ENDED: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;
        let events = self.inner.get().map(|inner| inner.events.borrow());
        for event in events.iter().flat_map(|events| events.iter()) {
            let (token, flags) = (event.u64 as usize, event.events);
            // The waker's is no descriptor.
            let (fd, generation) = (token as RawFd, (token >> 32) as Generation);
            let Some(source) = self.sources.get(fd).filter(|source| source.is_of(generation)) else {
                continue;
            };
            if flags & (READ | READ_ENDED) != 0 {
                source.edge(Direction::Read, flags & READ_ENDED != 0, &mut wake);
            }
            if flags & (WRITE | WRITE_ENDED) != 0 {
                source.edge(Direction::Write, flags & WRITE_ENDED != 0, &mut wake);
            }
        }
        if self.signalled.take() {
            self.signals.set(self.signals.get().wrapping_add(1));
            self.on_signal.take().into_iter().for_each(|(id, epoch)| wake(Ticket::new(id, epoch)));
        }
    }
}

/// Registers a descriptor for whatever may happen to it, edge-triggered.
fn register(poll: &Poll, fd: RawFd, generation: Generation) -> io::Result<()> {
    match poll.registry().register(&mut SourceFd(&fd), token(fd, generation), ALL) {
        // Left over from a generation that was closed behind our back.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => register_again(poll, fd, generation),
        registered => registered,
    }
}

/// For what is registered. What is ready now is an edge once more.
///
/// Errors: it is not registered (ENOENT).
fn register_again(poll: &Poll, fd: RawFd, generation: Generation) -> io::Result<()> {
    poll.registry().reregister(&mut SourceFd(&fd), token(fd, generation), ALL)
}

fn too_large(fd: RawFd) -> io::Error {
    io::Error::other(format!("descriptor {fd} is beyond what can be waited for"))
}

fn token(fd: RawFd, generation: Generation) -> Token {
    Token((generation as usize) << 32 | fd as usize)
}

impl Epoll {
    /// Waits for events, and has them ready to be dispatched. Answers whether a signal was handled instead.
    fn collect(&self, limit: *const libc::timespec) -> io::Result<bool> {
        let mut events = self.events.borrow_mut();
        let epoll = self.poll.as_raw_fd();
        events.clear();
        let buffer = events.as_mut_ptr();
        // SAFETY: room for EVENTS events, of which the kernel says how many it has written; `limit` is null or
        // points to a time. Past the C library, whose functions may be patched.
        let count = unsafe {
            let here = |number, limit| {
                syscall(
                    number,
                    [epoll as usize, buffer as usize, EVENTS, limit, 0, size_of::<libc::c_ulong>()],
                )
            };
            if self.by_ppoll.get() {
                let mut fd = libc::pollfd { fd: epoll, events: libc::POLLIN, revents: 0 };
                match syscall(libc::SYS_ppoll, [&raw mut fd as usize, 1, limit as usize, 0, 0, 0]) {
                    1.. => here(libc::SYS_epoll_pwait, 0),
                    none => none,
                }
            } else {
                here(libc::SYS_epoll_pwait2, limit as usize)
            }
        };
        if count >= 0 {
            // SAFETY: so many were written.
            unsafe { events.set_len(count as usize) };
            return Ok(false);
        }
        match -count as i32 {
            // A handler has run: that may be what is waited for.
            libc::EINTR => Ok(true),
            // EPERM is what some filters of system calls say instead.
            libc::ENOSYS | libc::EPERM if !self.by_ppoll.get() => {
                self.by_ppoll.set(true);
                drop(events);
                self.collect(limit)
            }
            number => Err(io::Error::from_raw_os_error(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn waits_for_less_than_a_millisecond() {
        let reactor = Reactor::default();
        for with_descriptor in [false, true] {
            if with_descriptor {
                reactor.waker().unwrap();
            }
            let times = (0..50).map(|_| {
                let start = Instant::now();
                reactor.collect(50_000).unwrap();
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
        reactor.collect(NEVER).unwrap();
        reactor.dispatch(|_| panic!("nobody waits"));
    }
}
