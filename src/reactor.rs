//! Waiting for the world outside: for a descriptor to be ready, for a time, for another OS thread to call.
//!
//! Over mio: its `Poll`, `Registry` and `Waker`. Descriptors are registered when they are first waited for, for both
//! directions and edge-triggered, and stay registered until they are closed: so a request costs no call to
//! register anything. What the edges have said so far is kept for each direction ([`Side::ready`]), so that who knows
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

mod table;

use crate::arch::syscall::syscall;
use crate::fds::{self, Generation, Unwatched};
use crate::green::{GreenId, Ticket};
use crate::time::{NEVER, Time};
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
/// How many events are collected at a time.
const EVENTS: usize = 1024;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// The outside of one hub.
#[derive(Default)]
pub(crate) struct Reactor {
    inner: OnceCell<Inner>,
    /// How often a signal was handled while the hub waited; who is told.
    signals: Cell<u32>,
    on_signal: RefCell<BTreeSet<(GreenId, u32)>>,
}

struct Inner {
    poll: Poll,
    waker: Arc<Waker>,
    events: RefCell<Vec<libc::epoll_event>>,
    /// By number.
    sources: RefCell<Table<Source>>,
    /// Our number in the table of who watches what; 0 until we do.
    hub: Cell<u32>,
    /// There is no `epoll_pwait2` here.
    by_ppoll: Cell<bool>,
}

/// What the program has set of a descriptor, as far as interposed calls need to know.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(not(feature = "patch"), allow(dead_code))]
pub(crate) struct Settings {
    /// Which state of the world it is; 0: it was never asked for.
    pub(crate) as_of: u32,
    pub(crate) nonblocking: bool,
    /// A stream in which less than was asked for means that there is no more now.
    pub(crate) is_tcp: bool,
    /// Nanoseconds; 0: none.
    pub(crate) read_timeout: u64,
    pub(crate) write_timeout: u64,
}

impl Settings {
    #[cfg_attr(not(feature = "patch"), allow(dead_code))]
    pub(crate) fn timeout(self, direction: Direction) -> u64 {
        match direction {
            Direction::Read => self.read_timeout,
            Direction::Write => self.write_timeout,
        }
    }
}

/// A descriptor that was waited for.
#[derive(Default)]
struct Source {
    /// Of which generation of its number; meaningful if it is registered.
    generation: Generation,
    registered: bool,
    read: Side,
    write: Side,
    settings: Settings,
}

/// One direction of it.
#[derive(Default)]
struct Side {
    /// An edge has come since it was last found drained.
    ready: bool,
    /// The peer has closed it, or it is broken, or has urgent data: that less came than was asked for does not mean
    /// that there is no more.
    ended: bool,
    waiters: Waiters,
}

/// Mostly there is one.
#[derive(Default)]
struct Waiters {
    first: Option<(GreenId, u32)>,
    others: Vec<(GreenId, u32)>,
}

impl Waiters {
    fn push(&mut self, ticket: Ticket) {
        let waiter = (ticket.id, ticket.epoch);
        match self.first {
            None => self.first = Some(waiter),
            Some(_) => self.others.push(waiter),
        }
    }

    fn remove(&mut self, ticket: Ticket) {
        if self.first == Some((ticket.id, ticket.epoch)) {
            self.first = self.others.pop();
        } else {
            self.others.retain(|&waiter| waiter != (ticket.id, ticket.epoch));
        }
    }

    fn wake(&mut self, wake: &mut impl FnMut(Ticket)) {
        for (id, epoch) in self.first.take().into_iter().chain(self.others.drain(..)) {
            wake(Ticket::new(id, epoch));
        }
    }
}

impl Source {
    /// Whether it is what that generation of its number refers to.
    fn is_of(&self, generation: Generation) -> bool {
        self.registered && self.generation == generation
    }

    fn wake(&mut self, wake: &mut impl FnMut(Ticket)) {
        self.read.waiters.wake(wake);
        self.write.waiters.wake(wake);
    }

    fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

/// What came of wanting to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Armed {
    /// The ticket will be woken by the next edge.
    Waiting(Generation),
    /// An edge has come already.
    Ready,
    /// It is a file, or something else that is always ready.
    Always,
    /// Another OS thread is about to close it: look again, a little later.
    Closing,
}

/// What may have happened before somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edges {
    /// One that has come and was not used is as good as the next.
    Unused,
    /// Only the next counts: the kernel was asked, and what is waited for is not so.
    #[cfg_attr(not(feature = "patch"), allow(dead_code))]
    Next,
}

impl Reactor {
    fn inner(&self) -> io::Result<&Inner> {
        if let Some(inner) = self.inner.get() {
            return Ok(inner);
        }
        let inner = (|| {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            Ok(Inner {
                poll,
                waker,
                events: RefCell::new(Vec::with_capacity(EVENTS)),
                sources: RefCell::default(),
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
    pub(crate) fn is_at_rest(&self) -> bool {
        self.inner.get().is_none_or(|inner| inner.sources.try_borrow_mut().is_ok())
            && self.on_signal.try_borrow_mut().is_ok()
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

    /// Has `ticket` woken by the next edge of `fd` in that direction; or says that one has come. `wake` is called
    /// for those who wait for an earlier generation of the number: it is no more.
    ///
    /// Errors: `fd` is not open (EBADF); the kernel has no memory for another registration; no descriptor is left
    /// for the reactor.
    pub(crate) fn arm(
        &self,
        fd: RawFd,
        direction: Direction,
        ticket: Ticket,
        hub: u32,
        edges: Edges,
        mut wake: impl FnMut(Ticket),
    ) -> io::Result<Armed> {
        let inner = self.inner()?;
        let mut sources = inner.sources.borrow_mut();
        if !sources.get(fd).is_some_and(|source| source.is_of(fds::generation(fd))) {
            let generation = match fds::watch(fd, hub) {
                Ok(generation) => generation,
                Err(Unwatched::Closing) => return Ok(Armed::Closing),
                Err(Unwatched::TooLarge) => {
                    return Err(io::Error::other(format!(
                        "descriptor {fd} is beyond what can be waited for"
                    )));
                }
            };
            match register(&inner.poll, fd, generation) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Ok(Armed::Always),
                Err(error) => return Err(error),
            }
            let new = Source { generation, registered: true, ..Source::default() };
            // Nobody will be told of the earlier one's end after this.
            std::mem::replace(sources.entry(fd), new).wake(&mut wake);
        }
        let source = sources.entry(fd);
        let generation = source.generation;
        let side = source.side(direction);
        if side.ready && edges == Edges::Unused {
            return Ok(Armed::Ready);
        }
        side.waiters.push(ticket);
        Ok(Armed::Waiting(generation))
    }

    /// Whether `fd` was closed, and its number perhaps used again, without a word to `fds`. If it was not, what is
    /// ready now is an edge once more.
    pub(crate) fn is_stale(&self, fd: RawFd) -> bool {
        let Some(inner) = self.inner.get() else { return false };
        let sources = inner.sources.borrow();
        let generation = fds::generation(fd);
        sources.get(fd).is_some_and(|source| source.is_of(generation))
            && register_again(&inner.poll, fd, generation).is_err()
    }

    /// How often a signal was handled while the hub waited.
    #[cfg_attr(not(feature = "patch"), allow(dead_code))]
    pub(crate) fn signals(&self) -> u32 {
        self.signals.get()
    }

    /// `ticket` is woken when a signal was handled while the hub waited; no more, if not `wanted`.
    #[cfg_attr(not(feature = "patch"), allow(dead_code))]
    pub(crate) fn tell_of_signals(&self, ticket: Ticket, wanted: bool) {
        let (waiter, mut waiters) = ((ticket.id, ticket.epoch), self.on_signal.borrow_mut());
        if wanted {
            waiters.insert(waiter)
        } else {
            waiters.remove(&waiter)
        };
    }

    /// `ticket` waits no more. Answers whether what it has waited for is still there.
    pub(crate) fn disarm(&self, fd: RawFd, direction: Direction, ticket: Ticket, armed: Generation) -> bool {
        let Some(inner) = self.inner.get() else { return false };
        let mut sources = inner.sources.borrow_mut();
        let Some(source) = sources.get_mut(fd).filter(|source| source.generation == armed) else {
            return false;
        };
        source.side(direction).waiters.remove(ticket);
        source.registered && armed == fds::generation(fd)
    }

    /// The kernel has said that `fd` is drained (or full) in that direction: who comes next waits for the next edge.
    /// What has ended begins again by this: an error that was taken from a socket is over, for one.
    #[inline]
    pub(crate) fn drained(&self, fd: RawFd, direction: Direction) {
        self.with_side(fd, direction, |side| (side.ready, side.ended) = (false, false));
    }

    /// The same, guessed: less came than was asked for. Not so when no more edges may come.
    #[inline]
    pub(crate) fn maybe_drained(&self, fd: RawFd, direction: Direction) {
        self.with_side(fd, direction, |side| side.ready &= side.ended);
    }

    #[inline]
    fn with_side(&self, fd: RawFd, direction: Direction, f: impl FnOnce(&mut Side)) {
        let Some(inner) = self.inner.get() else { return };
        if let Some(source) = inner.sources.borrow_mut().get_mut(fd) {
            f(source.side(direction));
        }
    }

    /// Whether `fd` is known to be drained (or full) in that direction, so that there is no use in trying.
    #[inline]
    pub(crate) fn is_drained(&self, fd: RawFd, direction: Direction) -> bool {
        let Some(inner) = self.inner.get() else { return false };
        let mut sources = inner.sources.borrow_mut();
        match sources.get_mut(fd) {
            Some(source) if source.is_of(fds::generation(fd)) => !source.side(direction).ready,
            _ => false,
        }
    }

    /// Whether `fd` is registered: then it can be waited for, and is no file.
    #[cfg_attr(not(feature = "patch"), allow(dead_code))]
    pub(crate) fn is_registered(&self, fd: RawFd) -> bool {
        let Some(inner) = self.inner.get() else { return false };
        let sources = inner.sources.borrow();
        sources.get(fd).is_some_and(|source| source.is_of(fds::generation(fd)))
    }

    /// Calls `f` with what is kept about `fd`; with nothing, if it is not registered.
    #[cfg_attr(not(feature = "patch"), allow(dead_code))]
    pub(crate) fn settings(&self, fd: RawFd, f: impl FnOnce(&mut Settings) -> Settings) -> Settings {
        let mut sources = self.inner.get().map(|inner| inner.sources.borrow_mut());
        let source = sources.as_mut().and_then(|sources| sources.get_mut(fd));
        match source.filter(|source| source.is_of(fds::generation(fd))) {
            Some(source) => f(&mut source.settings),
            None => f(&mut Settings::default()),
        }
    }

    /// That generation of `fd` is closed: its waiters are woken, to find that out.
    pub(crate) fn closed(&self, fd: RawFd, generation: Generation, mut wake: impl FnMut(Ticket)) {
        let Some(inner) = self.inner.get() else { return };
        let mut sources = inner.sources.borrow_mut();
        if let Some(source) = sources.get_mut(fd).filter(|source| source.is_of(generation)) {
            source.registered = false;
            // While it is open still; afterwards there is nothing to take out, unless it was duplicated.
            let _ = inner.poll.registry().deregister(&mut SourceFd(&fd));
            source.wake(&mut wake);
        }
    }

    /// Blocks the OS thread for `timeout` nanoseconds, or until a descriptor is ready, or the waker is used, or a
    /// signal is handled; has `wake` called for all that may go on. 0 only looks.
    ///
    /// Errors: those of epoll_wait(2).
    pub(crate) fn wait(&self, timeout: Time, mut wake: impl FnMut(Ticket)) -> io::Result<()> {
        let limit = libc::timespec {
            tv_sec: (timeout / 1_000_000_000) as libc::time_t,
            tv_nsec: (timeout % 1_000_000_000) as libc::c_long,
        };
        let limit = if timeout == NEVER { null() } else { &raw const limit };
        let signalled = match self.inner.get() {
            Some(inner) => {
                let signalled = inner.collect(limit)?;
                inner.dispatch(&mut wake);
                signalled
            }
            // SAFETY: no descriptors; `limit` is null or points to a value of this frame.
            None => unsafe {
                syscall(libc::SYS_ppoll, [0, 0, limit as usize, 0, 0, 0]) == -libc::EINTR as isize
            },
        };
        if signalled {
            self.signals.set(self.signals.get().wrapping_add(1));
            self.on_signal.take().into_iter().for_each(|(id, epoch)| wake(Ticket::new(id, epoch)));
        }
        Ok(())
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

fn token(fd: RawFd, generation: Generation) -> Token {
    Token((generation as usize) << 32 | fd as usize)
}

impl Inner {
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

    fn dispatch(&self, mut wake: impl FnMut(Ticket)) {
        const READ: u32 = libc::EPOLLIN as u32;
        const READ_ENDED: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLPRI) as u32;
        const WRITE: u32 = libc::EPOLLOUT as u32;
        const WRITE_ENDED: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;
        let mut sources = self.sources.borrow_mut();
        for event in self.events.borrow().iter() {
            let (token, flags) = (event.u64 as usize, event.events);
            if token == WAKER.0 {
                continue;
            }
            let (fd, generation) = (token as RawFd, (token >> 32) as Generation);
            let Some(source) = sources.get_mut(fd).filter(|source| source.is_of(generation)) else {
                continue;
            };
            for (side, some, ended) in
                [(&mut source.read, READ, READ_ENDED), (&mut source.write, WRITE, WRITE_ENDED)]
            {
                side.ended |= flags & ended != 0;
                if flags & (some | ended) != 0 {
                    side.ready = true;
                    side.waiters.wake(&mut wake);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn nobody(_: Ticket) {
        panic!("nobody waits");
    }

    #[test]
    fn waits_for_less_than_a_millisecond() {
        let reactor = Reactor::default();
        for with_descriptor in [false, true] {
            if with_descriptor {
                reactor.waker().unwrap();
            }
            let times = (0..50).map(|_| {
                let start = Instant::now();
                reactor.wait(50_000, nobody).unwrap();
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
        reactor.wait(NEVER, nobody).unwrap();
    }
}
