//! Waiting for what lies outside the hub: a descriptor that becomes ready, a time, a call by another OS thread.
//!
//! A descriptor is registered when it is first waited for, in both directions and edge-triggered, and stays registered
//! until it is closed. So a request costs no system call to register anything. The edges seen so far are kept for each
//! direction ([`FdState`]): a green thread that knows that a descriptor is drained parks without asking the kernel.
//!
//! How the kernel is asked is a [`driver`](Driver)'s concern. A hub that waits for no descriptor, and to which no other
//! OS thread holds a handle, has no driver: it only sleeps.
//!
//! **No stale state.** A state belongs to one generation of its descriptor's number (see `fd_table`), or it is not
//! used. **No edge is lost.** Only the hub collects events. A green thread does not park if the hub has run since its
//! failed attempt.
//!
//! Next: `reactor/driver.rs`, the contract of a backend.
#![allow(unsafe_code)]

mod driver;
#[cfg(any(test, not(feature = "poll-reactor")))]
mod epoll;
mod fd_state;
#[cfg(any(test, feature = "poll-reactor"))]
mod poll;
mod table;

use crate::fd_table;
use crate::fd_table::{Generation, WatchError};
use crate::ids::{Direction, GreenId, Ticket};
use crate::time::Time;
pub(crate) use driver::Wake;
use driver::{Driver, Event, Flags, Key, ppoll};
pub(crate) use fd_state::{FdNotes, FdState};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use table::Table;

#[cfg(not(feature = "poll-reactor"))]
type ActiveDriver = epoll::Epoll;
#[cfg(feature = "poll-reactor")]
type ActiveDriver = poll::PollFds;

/// The reactor of one hub.
pub(crate) type Reactor = ReactorOf<ActiveDriver>;

/// The reactor of one hub, over a driver. What every wait touches comes first, to lie in one cache line.
#[repr(C)]
pub(crate) struct ReactorOf<D> {
    /// The lists of waiters are being changed.
    entered: Cell<bool>,
    /// A signal was handled during the last wait, and its waiters were not woken yet.
    signalled: Cell<bool>,
    /// Number of waits that a signal has ended.
    signals: Cell<u32>,
    /// By descriptor number.
    states: Table<FdState>,
    attached: OnceCell<Attached<D>>,
    signal_waiters: RefCell<BTreeSet<(GreenId, u32)>>,
}

/// The driver, and what belongs to it.
struct Attached<D> {
    driver: D,
    events: RefCell<Vec<Event>>,
    /// The hub's number in `fd_table`; 0 until it has one.
    hub: Cell<u32>,
}

/// Clears `entered` when it is dropped.
pub(crate) struct ReentryGuard<'a>(&'a Cell<bool>);

impl Drop for ReentryGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Whether a descriptor can be waited for.
pub(crate) enum Registration<'a> {
    /// A waiter that is added to this state is woken by the next edge.
    Registered(&'a FdState),
    /// It is always ready, as a file is.
    AlwaysReady,
    /// Another OS thread is about to close it. Try again a little later.
    Closing,
}

impl<D> Default for ReactorOf<D> {
    fn default() -> ReactorOf<D> {
        ReactorOf {
            entered: Cell::default(),
            signalled: Cell::default(),
            signals: Cell::default(),
            states: Table::default(),
            attached: OnceCell::new(),
            signal_waiters: RefCell::default(),
        }
    }
}

impl<D: Driver> ReactorOf<D> {
    /// Returns the driver, made at the first call.
    fn attached(&self) -> io::Result<&Attached<D>> {
        if let Some(attached) = self.attached.get() {
            return Ok(attached);
        }
        let driver = D::new().map_err(|error| {
            io::Error::new(error.kind(), format!("no file descriptor for the hub's reactor: {error}"))
        })?;
        Ok(self.attached.get_or_init(|| Attached { driver, events: RefCell::default(), hub: Cell::new(0) }))
    }

    /// Returns `false` while the lists of waiters are being changed, as the handler of a signal may find them.
    #[inline]
    pub(crate) fn is_reentrant_safe(&self) -> bool {
        !self.entered.get() && self.signal_waiters.try_borrow_mut().is_ok()
    }

    /// Must be called before a list of waiters is changed. The guard lives until it was changed.
    #[inline]
    pub(crate) fn enter(&self) -> ReentryGuard<'_> {
        self.entered.set(true);
        ReentryGuard(&self.entered)
    }

    /// Returns what another OS thread ends the hub's wait with.
    ///
    /// Errors: no file descriptor is left for the driver.
    pub(crate) fn waker(&self) -> io::Result<Arc<dyn Wake>> {
        self.attached().map(|attached| attached.driver.waker())
    }

    /// From now on each rise of `counter`, an eventfd, ends a wait, as the waker does.
    ///
    /// Errors: no file descriptor is left for the driver, or no memory in the kernel.
    pub(crate) fn listen(&self, counter: RawFd) -> io::Result<()> {
        self.attached()?.driver.listen(counter)
    }

    /// Ends `listen`.
    pub(crate) fn unlisten(&self, counter: RawFd) {
        if let Some(attached) = self.attached.get() {
            attached.driver.deregister(counter);
        }
    }

    /// Returns the state of `fd`, if `fd` is registered and was not closed since.
    #[inline]
    pub(crate) fn state(&self, fd: RawFd) -> Option<&FdState> {
        self.states.get(fd).filter(|state| state.current().is_some())
    }

    /// Returns the state of `fd`, and registers `fd` if it is not registered. Calls `wake` for the waiters of an
    /// earlier generation of the number, which no longer exists. `enlist` gives the hub its number in `fd_table`.
    ///
    /// Errors: `fd` is not open (EBADF); the kernel has no memory for another registration; no file descriptor is
    /// left for the driver.
    #[inline]
    pub(crate) fn register(
        &self,
        fd: RawFd,
        enlist: impl FnOnce() -> io::Result<u32>,
        wake: impl FnMut(Ticket),
    ) -> io::Result<Registration<'_>> {
        match self.state(fd) {
            Some(state) => Ok(Registration::Registered(state)),
            None => self.register_new(fd, enlist, wake),
        }
    }

    #[cold]
    fn register_new(
        &self,
        fd: RawFd,
        enlist: impl FnOnce() -> io::Result<u32>,
        mut wake: impl FnMut(Ticket),
    ) -> io::Result<Registration<'_>> {
        let _entered = self.enter();
        let attached = self.attached()?;
        if attached.hub.get() == 0 {
            attached.hub.set(enlist()?);
        }
        let too_large = || io::Error::other(format!("descriptor {fd} is beyond what can be waited for"));
        let watched = match fd_table::watch(fd, attached.hub.get()) {
            Ok(watched) => watched,
            Err(WatchError::Closing) => return Ok(Registration::Closing),
            Err(WatchError::TooLarge) => return Err(too_large()),
        };
        let state = self.states.entry(fd).ok_or_else(too_large)?;
        let (driver, key) = (&attached.driver, key(fd, watched.generation()));
        let registered = match driver.register(fd, key) {
            // Left over from a generation that was closed behind our back.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => driver.reregister(fd, key),
            registered => registered,
        };
        match registered {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Ok(Registration::AlwaysReady),
            registered => registered?,
        }
        // After this, no event would wake the waiters of the earlier generation.
        state.wake_all(&mut wake);
        state.begin(watched);
        Ok(Registration::Registered(state))
    }

    /// Returns `true` if `fd` was closed, and its number perhaps reused, by a call that `fd_table` has not seen. If it
    /// was not, what is ready now is an edge once more.
    pub(crate) fn is_stale(&self, fd: RawFd) -> bool {
        let (Some(attached), Some(state)) = (self.attached.get(), self.state(fd)) else { return false };
        let generation = state.current();
        generation.is_some_and(|generation| attached.driver.reregister(fd, key(fd, generation)).is_err())
    }

    /// Returns the number of waits that a signal has ended. It wraps around.
    pub(crate) fn signals(&self) -> u32 {
        self.signals.get()
    }

    /// `ticket` is woken when a signal ends a wait.
    pub(crate) fn add_signal_waiter(&self, ticket: Ticket) {
        self.signal_waiters.borrow_mut().insert((ticket.id, ticket.epoch));
    }

    pub(crate) fn remove_signal_waiter(&self, ticket: Ticket) {
        self.signal_waiters.borrow_mut().remove(&(ticket.id, ticket.epoch));
    }

    /// Ends the registration of a generation of `fd` that is closed, and wakes its waiters, which then find that out.
    pub(crate) fn on_closed(&self, fd: RawFd, generation: Generation, mut wake: impl FnMut(Ticket)) {
        let Some(attached) = self.attached.get() else { return };
        let _entered = self.enter();
        if let Some(state) = self.states.get(fd).filter(|state| state.is_of(generation)) {
            state.end();
            // `fd` is still open. After it was closed the kernel keeps no registration, except of a duplicate.
            attached.driver.deregister(fd);
            state.wake_all(&mut wake);
        }
    }

    /// Blocks the OS thread for `timeout` nanoseconds, or until a descriptor is ready, or the waker is used, or a
    /// signal is handled. A timeout of 0 only looks. [`dispatch`](Self::dispatch) then wakes the waiters.
    ///
    /// Errors: those of epoll_wait(2).
    pub(crate) fn collect(&self, timeout: Time) -> io::Result<()> {
        let result = match self.attached.get() {
            Some(Attached { driver, events, .. }) => {
                driver.wait(timeout, |key| self.known(key), &mut events.borrow_mut())
            }
            None => ppoll(&mut [], timeout),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.signalled.set(true);
                Ok(())
            }
            result => result,
        }
    }

    /// Calls `wake` for all waiters that may go on after what was collected.
    #[inline]
    pub(crate) fn dispatch(&self, mut wake: impl FnMut(Ticket)) {
        const READ_ENDED: Flags =
            libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR | libc::POLLPRI | libc::POLLNVAL;
        const WRITE_ENDED: Flags = libc::POLLHUP | libc::POLLERR | libc::POLLNVAL;
        let events = self.attached.get().map(|attached| attached.events.borrow());
        for &Event { key, flags } in events.iter().flat_map(|events| events.iter()) {
            // The waker's key is that of no descriptor.
            let Some(state) = self.state_of(key) else { continue };
            if flags & (libc::POLLIN | READ_ENDED) != 0 {
                state.on_edge(Direction::Read, flags & READ_ENDED != 0, &mut wake);
            }
            if flags & (libc::POLLOUT | WRITE_ENDED) != 0 {
                state.on_edge(Direction::Write, flags & WRITE_ENDED != 0, &mut wake);
            }
        }
        if self.signalled.take() {
            self.signals.set(self.signals.get().wrapping_add(1));
            let waiters = self.signal_waiters.take();
            waiters.into_iter().for_each(|(id, epoch)| wake(Ticket::new(id, epoch)));
        }
    }

    #[inline]
    fn state_of(&self, key: Key) -> Option<&FdState> {
        let (fd, generation) = (key as RawFd, (key >> 32) as Generation);
        self.states.get(fd).filter(|state| state.is_of(generation))
    }

    /// Returns which of POLLIN and POLLOUT was reported for a key, was not used up since, and has no waiter.
    fn known(&self, key: Key) -> Flags {
        let is_known = |&(direction, _): &(Direction, Flags)| {
            self.state_of(key).is_some_and(|state| state.is_ready(direction) && !state.has_waiter(direction))
        };
        let flags = [(Direction::Read, libc::POLLIN), (Direction::Write, libc::POLLOUT)];
        flags.into_iter().filter(is_known).map(|(_, flag)| flag).sum()
    }
}

fn key(fd: RawFd, generation: Generation) -> Key {
    Key::from(generation) << 32 | fd as Key
}

#[cfg(test)]
mod tests;
