//! What is kept of one descriptor that was waited for.
//!
//! A line of the cache, for among thousands of connections each request begins with this being fetched from far away.
//! What few need is kept elsewhere. All of it is cells, so that who has found it can go on using it: it stays where it
//! is as long as the reactor.

use crate::fd_table::{FdGeneration, Generation};
use crate::ids::Direction;
use crate::ids::{GreenId, Ticket};
use std::cell::Cell;

/// What the program has set of a descriptor, as far as interposed calls need to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FdMode {
    /// Which state of the world it is; 0: it was never asked for.
    pub(crate) as_of: u32,
    pub(crate) nonblocking: bool,
    /// A stream in which less than was asked for means that there is no more now.
    pub(crate) is_tcp: bool,
    /// Nanoseconds; 0: none.
    pub(crate) read_timeout: u64,
    pub(crate) write_timeout: u64,
}

impl FdMode {
    pub(crate) fn timeout(self, direction: Direction) -> u64 {
        match direction {
            Direction::Read => self.read_timeout,
            Direction::Write => self.write_timeout,
        }
    }
}

/// A descriptor that was waited for.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct FdState {
    /// As what it is registered, if it is.
    watched: Cell<Option<FdGeneration>>,
    read: DirectionState,
    write: DirectionState,
    nonblocking: Cell<bool>,
    is_tcp: Cell<bool>,
    /// See [`FdMode`].
    as_of: Cell<u32>,
    has_rare: Cell<bool>,
    rare: Cell<Option<Box<ExtraWaiters>>>,
}

const _: () = assert!(size_of::<FdState>() == 64);

/// One direction of it.
struct DirectionState {
    /// Who waits; nobody: [`GreenId::HUB`]. Mostly it is one, the others are in [`ExtraWaiters`].
    waiter: Cell<GreenId>,
    epoch: Cell<u32>,
    /// An edge has come since it was last found drained.
    ready: Cell<bool>,
    /// The peer has closed it, or it is broken, or has urgent data: that less came than was asked for does not mean
    /// that there is no more.
    ended: Cell<bool>,
}

impl Default for DirectionState {
    fn default() -> DirectionState {
        DirectionState {
            waiter: Cell::new(GreenId::HUB),
            epoch: Cell::new(0),
            ready: Cell::new(false),
            ended: Cell::new(false),
        }
    }
}

/// What few descriptors have.
#[derive(Default)]
struct ExtraWaiters {
    reading: Vec<Ticket>,
    writing: Vec<Ticket>,
    read_timeout: u64,
    write_timeout: u64,
}

impl ExtraWaiters {
    fn waiters(&mut self, direction: Direction) -> &mut Vec<Ticket> {
        match direction {
            Direction::Read => &mut self.reading,
            Direction::Write => &mut self.writing,
        }
    }

    fn is_of_use(&self) -> bool {
        !self.reading.is_empty() || !self.writing.is_empty() || self.read_timeout | self.write_timeout != 0
    }
}

impl FdState {
    /// As what it was registered; `None`: it is not.
    #[inline]
    pub(crate) fn generation(&self) -> Option<Generation> {
        self.watched.get().map(FdGeneration::generation)
    }

    /// The same; `None`, too, if it was given back since.
    #[inline]
    pub(crate) fn current(&self) -> Option<Generation> {
        self.watched.get().filter(|watched| watched.is_current()).map(FdGeneration::generation)
    }

    /// Whether it is registered as that generation of its number.
    #[inline]
    pub(super) fn is_of(&self, generation: Generation) -> bool {
        self.generation() == Some(generation)
    }

    /// Begins anew. Nobody waits for it.
    pub(super) fn begin(&self, watched: FdGeneration) {
        self.watched.set(Some(watched));
        for side in [&self.read, &self.write] {
            debug_assert!(side.waiter.get() == GreenId::HUB);
            side.ready.set(false);
            side.ended.set(false);
        }
        self.set_settings(FdMode::default());
    }

    /// It is not registered any more.
    pub(super) fn end(&self) {
        self.watched.set(None);
    }

    #[inline]
    fn side(&self, direction: Direction) -> &DirectionState {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// An edge has come, and was not used.
    #[inline]
    pub(crate) fn is_ready(&self, direction: Direction) -> bool {
        self.side(direction).ready.get()
    }

    /// An edge has come; `ended`: and maybe no other will.
    #[inline(always)]
    pub(super) fn edge(&self, direction: Direction, ended: bool, wake: &mut impl FnMut(Ticket)) {
        let side = self.side(direction);
        side.ready.set(true);
        if ended {
            side.ended.set(true);
        }
        self.wake(direction, wake);
    }

    /// The kernel has said that it is drained (or full): who comes next waits for the next edge. What has ended begins
    /// again by this: an error that was taken from a socket is over, for one.
    #[inline]
    pub(crate) fn drained(&self, direction: Direction) {
        let side = self.side(direction);
        side.ready.set(false);
        side.ended.set(false);
    }

    /// The same, guessed: less came than was asked for. Not so when no more edges may come.
    #[inline]
    pub(crate) fn maybe_drained(&self, direction: Direction) {
        let side = self.side(direction);
        side.ready.set(side.ready.get() & side.ended.get());
    }

    /// `ticket` is woken by the next edge.
    #[inline]
    pub(crate) fn push(&self, direction: Direction, ticket: Ticket) {
        let side = self.side(direction);
        if side.waiter.get() == GreenId::HUB {
            side.waiter.set(ticket.id);
            side.epoch.set(ticket.epoch);
        } else {
            self.with_rare(|rare| rare.waiters(direction).push(ticket));
        }
    }

    /// `ticket` waits no more.
    #[inline]
    pub(crate) fn remove(&self, direction: Direction, ticket: Ticket) {
        let side = self.side(direction);
        if side.waiter.get() == ticket.id && side.epoch.get() == ticket.epoch {
            side.waiter.set(GreenId::HUB);
        } else if self.has_rare.get() {
            self.with_rare(|rare| rare.waiters(direction).retain(|&waiter| waiter != ticket));
        }
    }

    /// Takes out all who wait, and has `wake` called for them.
    #[inline(always)]
    pub(super) fn wake(&self, direction: Direction, wake: &mut impl FnMut(Ticket)) {
        let side = self.side(direction);
        let first = side.waiter.get();
        if first != GreenId::HUB {
            side.waiter.set(GreenId::HUB);
            wake(Ticket::new(first, side.epoch.get()));
        }
        if self.has_rare.get() {
            self.wake_others(direction, wake);
        }
    }

    pub(super) fn wake_all(&self, wake: &mut impl FnMut(Ticket)) {
        self.wake(Direction::Read, wake);
        self.wake(Direction::Write, wake);
    }

    #[cold]
    fn wake_others(&self, direction: Direction, wake: &mut impl FnMut(Ticket)) {
        let mut others = Vec::new();
        self.with_rare(|rare| std::mem::swap(rare.waiters(direction), &mut others));
        others.into_iter().for_each(wake);
    }

    /// What is known of its settings.
    #[inline]
    pub(crate) fn settings(&self) -> FdMode {
        let mut settings = FdMode {
            as_of: self.as_of.get(),
            nonblocking: self.nonblocking.get(),
            is_tcp: self.is_tcp.get(),
            ..FdMode::default()
        };
        if self.has_rare.get() {
            self.with_rare(|rare| {
                (settings.read_timeout, settings.write_timeout) = (rare.read_timeout, rare.write_timeout);
            });
        }
        settings
    }

    pub(crate) fn set_settings(&self, settings: FdMode) {
        self.as_of.set(settings.as_of);
        self.nonblocking.set(settings.nonblocking);
        self.is_tcp.set(settings.is_tcp);
        if self.has_rare.get() || settings.read_timeout | settings.write_timeout != 0 {
            self.with_rare(|rare| {
                (rare.read_timeout, rare.write_timeout) = (settings.read_timeout, settings.write_timeout);
            });
        }
    }

    /// Calls `f`, which must not come back here, with what few descriptors have.
    #[cold]
    fn with_rare(&self, f: impl FnOnce(&mut ExtraWaiters)) {
        let mut rare = self.rare.take().unwrap_or_default();
        f(&mut rare);
        let rare = rare.is_of_use().then_some(rare);
        self.has_rare.set(rare.is_some());
        self.rare.set(rare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd_table;
    use Direction::{Read, Write};

    fn tickets() -> [Ticket; 3] {
        [1, 2, 3].map(|key| Ticket::new(GreenId::new(7, key), 40 + key as u32))
    }

    fn woken(source: &FdState, direction: Direction) -> Vec<Ticket> {
        let mut woken = Vec::new();
        source.wake(direction, &mut |ticket| woken.push(ticket));
        woken
    }

    #[test]
    fn several_wait_and_whoever_stops_is_not_woken() {
        let [a, b, c] = tickets();
        let source = FdState::default();
        for out in [a, b, c] {
            [a, b, c].into_iter().for_each(|ticket| source.push(Read, ticket));
            source.push(Write, out);
            source.remove(Read, out);
            let left: Vec<Ticket> = [a, b, c].into_iter().filter(|&ticket| ticket != out).collect();
            assert_eq!(woken(&source, Read), left);
            assert_eq!(woken(&source, Read), []);
            assert_eq!(woken(&source, Write), [out]);
            assert!(!source.has_rare.get(), "what nobody needs is given back");
        }
        [a, b].into_iter().for_each(|ticket| source.push(Read, ticket));
        [a, b].into_iter().for_each(|ticket| source.remove(Read, ticket));
        assert_eq!(woken(&source, Read), []);
        assert!(!source.has_rare.get());
    }

    #[test]
    fn what_ends_is_not_guessed_to_be_drained() {
        let source = FdState::default();
        source.edge(Read, false, &mut |_| {});
        assert!(source.is_ready(Read) && !source.is_ready(Write));
        source.maybe_drained(Read);
        assert!(!source.is_ready(Read));
        source.edge(Read, true, &mut |_| {});
        source.maybe_drained(Read);
        assert!(source.is_ready(Read));
        source.drained(Read);
        assert!(!source.is_ready(Read));
        source.edge(Read, false, &mut |_| {});
        source.maybe_drained(Read);
        assert!(!source.is_ready(Read), "an end that was seen to be over is over");
    }

    #[test]
    fn settings_are_kept_until_it_begins_anew() {
        let source = FdState::default();
        let plain = FdMode { as_of: 3, nonblocking: true, is_tcp: true, ..FdMode::default() };
        for settings in [plain, FdMode { read_timeout: 5, write_timeout: 6, ..plain }, plain] {
            source.set_settings(settings);
            assert_eq!(source.settings(), settings);
            assert_eq!(source.has_rare.get(), settings.read_timeout > 0);
        }
        source.set_settings(FdMode { write_timeout: 6, ..plain });
        // A number that no other test has.
        let watched = fd_table::watch(900_101, 70_000).ok().unwrap();
        source.begin(watched);
        assert_eq!((source.current(), source.settings()), (Some(watched.generation()), FdMode::default()));
        assert!(source.is_of(watched.generation()) && !source.is_of(watched.generation() + 1));
        fd_table::forget(900_101);
        assert_eq!(source.current(), None);
        assert!(source.is_of(watched.generation()), "until the reactor is told");
        source.end();
        assert!(!source.is_of(watched.generation()));
    }
}
