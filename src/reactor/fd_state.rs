//! The state of one registered descriptor: its generation, its edges, its waiters.
//!
//! It is one cache line, because with thousands of connections each request begins by loading it from memory. What few
//! descriptors need is kept on the heap. All fields are cells, and a state stays where it is as long as the reactor, so
//! code that has found a state may go on using it.
//!
//! Next: `reactor/table.rs`, where the states are.

use crate::fd_table::{FdGeneration, Generation};
use crate::ids::{Direction, GreenId, Ticket};
use std::cell::Cell;

/// Notes of a layer above about a descriptor. The reactor only stores them. They are empty again when the descriptor
/// is registered again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FdNotes {
    /// 0: nothing was noted.
    pub(crate) version: u32,
    pub(crate) flags: u16,
    /// For each direction. Few descriptors have timeouts.
    pub(crate) timeouts: [u64; 2],
}

/// The state of a descriptor that was waited for.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct FdState {
    /// The generation that is registered, if one is.
    watched: Cell<Option<FdGeneration>>,
    /// By direction.
    sides: [DirectionState; 2],
    /// See [`FdNotes`].
    version: Cell<u32>,
    flags: Cell<u16>,
    has_rare: Cell<bool>,
    rare: Cell<Option<Box<RareState>>>,
}

const _: () = assert!(size_of::<FdState>() == 64);

/// One direction of a descriptor.
struct DirectionState {
    /// The first waiter; [`GreenId::HUB`] if there is none. There is rarely more than one: the others are in
    /// [`RareState`].
    waiter: Cell<GreenId>,
    epoch: Cell<u32>,
    /// An edge has come since the direction was last found drained (or full).
    ready: Cell<bool>,
    /// The peer has closed the descriptor, or it is broken, or has urgent data. Then a short read does not mean that
    /// there is no more to read.
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

/// Further waiters of each direction, and timeouts. Few descriptors have any.
#[derive(Default, PartialEq)]
struct RareState {
    waiters: [Vec<Ticket>; 2],
    timeouts: [u64; 2],
}

impl FdState {
    /// Returns the registered generation, which may have been closed since.
    #[inline]
    pub(crate) fn generation(&self) -> Option<Generation> {
        self.watched.get().map(FdGeneration::generation)
    }

    /// Returns the registered generation, if it was not closed since.
    #[inline]
    pub(crate) fn current(&self) -> Option<Generation> {
        self.watched.get().filter(|watched| watched.is_current()).map(FdGeneration::generation)
    }

    /// Returns `true` if that generation of the number is registered.
    #[inline]
    pub(super) fn is_of(&self, generation: Generation) -> bool {
        self.generation() == Some(generation)
    }

    /// The descriptor was registered again. It has no waiters.
    pub(super) fn begin(&self, watched: FdGeneration) {
        self.watched.set(Some(watched));
        for side in &self.sides {
            debug_assert!(side.waiter.get() == GreenId::HUB);
            side.ready.set(false);
            side.ended.set(false);
        }
        self.set_notes(FdNotes::default());
    }

    /// The descriptor is no longer registered.
    pub(super) fn end(&self) {
        self.watched.set(None);
    }

    #[inline]
    fn side(&self, direction: Direction) -> &DirectionState {
        &self.sides[direction as usize]
    }

    /// Returns `true` if an edge has come and was not used up.
    #[inline]
    pub(crate) fn is_ready(&self, direction: Direction) -> bool {
        self.side(direction).ready.get()
    }

    /// Returns `true` if an edge has said that the peer has closed the descriptor, or that it is broken or shut down.
    #[inline]
    pub(crate) fn has_ended(&self, direction: Direction) -> bool {
        self.side(direction).ended.get()
    }

    #[inline]
    pub(super) fn has_waiter(&self, direction: Direction) -> bool {
        self.side(direction).waiter.get() != GreenId::HUB
    }

    /// An edge has come. If `ended`, there may be no further one. Calls `wake` for the waiters.
    #[inline(always)]
    pub(super) fn on_edge(&self, direction: Direction, ended: bool, wake: &mut impl FnMut(Ticket)) {
        let side = self.side(direction);
        side.ready.set(true);
        if ended {
            side.ended.set(true);
        }
        self.wake(direction, wake);
    }

    /// Marks the direction as not ready, after the kernel has said so: the next caller parks until the next edge.
    /// It also clears `ended`, because reading a pending socket error ends that condition, for example.
    #[inline]
    pub(crate) fn mark_not_ready(&self, direction: Direction) {
        let side = self.side(direction);
        side.ready.set(false);
        side.ended.set(false);
    }

    /// Marks the direction as not ready after a short read, except when there may be no further edge.
    #[inline]
    pub(crate) fn assume_not_ready(&self, direction: Direction) {
        let side = self.side(direction);
        side.ready.set(side.ready.get() & side.ended.get());
    }

    /// `ticket` is woken by the next edge.
    #[inline]
    pub(crate) fn add_waiter(&self, direction: Direction, ticket: Ticket) {
        let side = self.side(direction);
        if side.waiter.get() == GreenId::HUB {
            side.waiter.set(ticket.id);
            side.epoch.set(ticket.epoch);
        } else {
            self.with_rare(|rare| rare.waiters[direction as usize].push(ticket));
        }
    }

    #[inline]
    pub(crate) fn remove_waiter(&self, direction: Direction, ticket: Ticket) {
        let side = self.side(direction);
        if side.waiter.get() == ticket.id && side.epoch.get() == ticket.epoch {
            side.waiter.set(GreenId::HUB);
        } else if self.has_rare.get() {
            self.with_rare(|rare| rare.waiters[direction as usize].retain(|&waiter| waiter != ticket));
        }
    }

    /// Removes all waiters of a direction, and calls `wake` for them.
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
        self.with_rare(|rare| std::mem::swap(&mut rare.waiters[direction as usize], &mut others));
        others.into_iter().for_each(wake);
    }

    #[inline]
    pub(crate) fn notes(&self) -> FdNotes {
        let mut notes =
            FdNotes { version: self.version.get(), flags: self.flags.get(), ..FdNotes::default() };
        if self.has_rare.get() {
            self.with_rare(|rare| notes.timeouts = rare.timeouts);
        }
        notes
    }

    pub(crate) fn set_notes(&self, notes: FdNotes) {
        self.version.set(notes.version);
        self.flags.set(notes.flags);
        if self.has_rare.get() || notes.timeouts != [0; 2] {
            self.with_rare(|rare| rare.timeouts = notes.timeouts);
        }
    }

    /// Calls `f` with the rare fields. `f` must not call this function.
    #[cold]
    fn with_rare(&self, f: impl FnOnce(&mut RareState)) {
        let mut rare = self.rare.take().unwrap_or_default();
        f(&mut rare);
        let rare = (*rare != RareState::default()).then_some(rare);
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

    fn woken(state: &FdState, direction: Direction) -> Vec<Ticket> {
        let mut woken = Vec::new();
        state.wake(direction, &mut |ticket| woken.push(ticket));
        woken
    }

    #[test]
    fn remove_waiter_takes_out_one_of_several() {
        let [a, b, c] = tickets();
        let state = FdState::default();
        for out in [a, b, c] {
            [a, b, c].into_iter().for_each(|ticket| state.add_waiter(Read, ticket));
            state.add_waiter(Write, out);
            state.remove_waiter(Read, out);
            let left: Vec<Ticket> = [a, b, c].into_iter().filter(|&ticket| ticket != out).collect();
            assert_eq!(woken(&state, Read), left);
            assert_eq!(woken(&state, Read), []);
            assert_eq!(woken(&state, Write), [out]);
            assert!(!state.has_rare.get(), "empty rare fields are freed");
        }
        [a, b].into_iter().for_each(|ticket| state.add_waiter(Read, ticket));
        [a, b].into_iter().for_each(|ticket| state.remove_waiter(Read, ticket));
        assert_eq!(woken(&state, Read), []);
        assert!(!state.has_rare.get());
    }

    #[test]
    fn assume_not_ready_keeps_what_has_ended() {
        let state = FdState::default();
        state.on_edge(Read, false, &mut |_| {});
        assert!(state.is_ready(Read) && !state.is_ready(Write));
        state.assume_not_ready(Read);
        assert!(!state.is_ready(Read));
        state.on_edge(Read, true, &mut |_| {});
        state.assume_not_ready(Read);
        assert!(state.is_ready(Read));
        state.mark_not_ready(Read);
        assert!(!state.is_ready(Read));
        state.on_edge(Read, false, &mut |_| {});
        state.assume_not_ready(Read);
        assert!(!state.is_ready(Read), "the end was seen to be over");
    }

    #[test]
    fn notes_are_kept_until_the_descriptor_is_registered_anew() {
        let state = FdState::default();
        let plain = FdNotes { version: 3, flags: 0x805, ..FdNotes::default() };
        for notes in [plain, FdNotes { timeouts: [5, 6], ..plain }, plain] {
            state.set_notes(notes);
            assert_eq!(state.notes(), notes);
            assert_eq!(state.has_rare.get(), notes.timeouts != [0; 2]);
        }
        state.set_notes(FdNotes { timeouts: [0, 6], ..plain });
        // A number that no other test has.
        let watched = fd_table::watch(900_101, 70_000).ok().unwrap();
        state.begin(watched);
        assert_eq!((state.current(), state.notes()), (Some(watched.generation()), FdNotes::default()));
        assert!(state.is_of(watched.generation()) && !state.is_of(watched.generation() + 1));
        fd_table::invalidate(900_101);
        assert_eq!(state.current(), None);
        assert!(state.is_of(watched.generation()), "until the reactor hears of it");
        state.end();
        assert!(!state.is_of(watched.generation()));
    }
}
