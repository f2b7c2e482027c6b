//! The timers of a hub: a priority queue in two parts. The scheduler takes out the expired ones, and wakes their green
//! threads (`hub/scheduler.rs`).
//!
//! Many timers are set in the order in which they expire: a thousand green threads that each sleep a second, IO with one
//! timeout for all. Those are appended to a sorted queue, which costs no comparison beyond one. The others go to a heap.
//! The earliest timer is at the front of the queue or at the top of the heap.
//!
//! A timer cannot be removed. A timer whose action is no longer wanted (a tombstone) is harmless when it expires, because
//! the action is recognised as stale. But it takes space until then. So code that cancels one calls `note_cancelled`, and when
//! more than half of the timers are cancelled, `purge_cancelled` removes them (lazy deletion).
//!
//! **Invariant.** Of two timers with equal deadlines, the one set first expires first.
//!
//! Next: `context/mod.rs`, the stacks that a hub switches between.

use super::clock::Time;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Number of cancelled timers below which a purge is not worth its cost.
const PURGE_FROM: usize = 512;

/// Ordered by deadline, and then by the order of setting, which differs between any two. So `action` is never compared.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Timer<A> {
    deadline: Time,
    /// Number of timers set before this one.
    order: u64,
    action: A,
}

/// Timers that carry an action `A`.
pub(crate) struct Timers<A> {
    /// Timers in order of expiry.
    sorted: VecDeque<Timer<A>>,
    /// The timers that were set out of order.
    heap: BinaryHeap<Reverse<Timer<A>>>,
    /// Number of timers ever set.
    set: u64,
    /// Number of timers cancelled since the last purge. Some of them may have expired.
    cancelled: usize,
}

impl<A: Ord> Timers<A> {
    pub(crate) fn new() -> Self {
        Timers { sorted: VecDeque::new(), heap: BinaryHeap::new(), set: 0, cancelled: 0 }
    }

    /// Returns the number of timers, cancelled ones included.
    pub(crate) fn len(&self) -> usize {
        self.sorted.len() + self.heap.len()
    }

    /// Adds a timer that expires at `deadline`.
    pub(crate) fn set(&mut self, deadline: Time, action: A) {
        let timer = Timer { deadline, order: self.set, action };
        self.set += 1;
        match self.sorted.back() {
            Some(last) if last.deadline > deadline => self.heap.push(Reverse(timer)),
            _ => self.sorted.push_back(timer),
        }
    }

    /// Returns the earliest deadline.
    fn earliest(&self) -> Option<Time> {
        let sorted = self.sorted.front().map(|timer| timer.deadline);
        let heap = self.heap.peek().map(|timer| timer.0.deadline);
        sorted.into_iter().chain(heap).min()
    }

    /// Returns the earliest deadline of a live timer, and removes the cancelled ones before it. `live` says whether an
    /// action is still wanted.
    pub(crate) fn next_live_deadline(&mut self, mut live: impl FnMut(&A) -> bool) -> Option<Time> {
        while self.sorted.front().is_some_and(|timer| !live(&timer.action)) {
            self.sorted.pop_front();
        }
        while self.heap.peek().is_some_and(|timer| !live(&timer.0.action)) {
            self.heap.pop();
        }
        self.earliest()
    }

    /// Removes the earliest timer if it has expired at `now`, and returns its action.
    pub(crate) fn pop_expired(&mut self, now: Time) -> Option<A> {
        if self.earliest()? > now {
            return None;
        }
        let is_first = |sorted: &Timer<A>| self.heap.peek().is_none_or(|heap| *sorted < heap.0);
        let timer = match self.sorted.front().is_some_and(is_first) {
            true => self.sorted.pop_front(),
            false => self.heap.pop().map(|timer| timer.0),
        };
        timer.map(|timer| timer.action)
    }

    /// Counts one cancelled timer. Returns whether a purge is worth its cost.
    pub(crate) fn note_cancelled(&mut self) -> bool {
        self.cancelled += 1;
        self.cancelled >= PURGE_FROM && self.cancelled > self.len() / 2
    }

    /// Removes every timer whose action is not `live`.
    pub(crate) fn purge_cancelled(&mut self, mut live: impl FnMut(&A) -> bool) {
        self.sorted.retain(|timer| live(&timer.action));
        self.heap.retain(|timer| live(&timer.0.action));
        self.cancelled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    /// Compares with a list that is sorted again for every step.
    #[test]
    fn pop_expired_follows_deadlines_then_order_of_setting() {
        let mut seed = 1u64;
        // A linear congruential generator.
        let mut below = move |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % end
        };
        for steps in 0..300 {
            let (mut timers, mut model, mut now) = (Timers::new(), Vec::new(), 0);
            for n in 0..steps {
                let deadline = below(50);
                if below(2) == 0 {
                    timers.set(now + deadline, n);
                    model.push((now + deadline, n));
                } else {
                    now += deadline / 4;
                    model.sort_unstable();
                    assert_eq!(timers.earliest(), model.first().map(|first| first.0));
                    while let Some(got) = timers.pop_expired(now) {
                        assert_eq!(got, model.remove(0).1);
                    }
                    assert!(model.iter().all(|left| left.0 > now));
                }
                assert_eq!(timers.len(), model.len());
            }
        }
    }

    #[test]
    fn next_live_deadline_skips_cancelled_timers() {
        let mut timers = Timers::new();
        [5, 9, 3, 7, 4].into_iter().for_each(|deadline| timers.set(deadline, deadline));
        assert_eq!(timers.next_live_deadline(|&deadline| deadline > 4), Some(5));
        assert_eq!(timers.next_live_deadline(|&deadline| deadline == 7), Some(7));
        assert_eq!(timers.next_live_deadline(|_| false), None);
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn purge_cancelled_keeps_the_number_of_timers_bounded() {
        let mut timers = Timers::new();
        let mut most = 0;
        for n in 0..100_000u64 {
            timers.set(1_000_000 - n % 7, n);
            if timers.note_cancelled() {
                timers.purge_cancelled(|&kept| kept == 3);
            }
            most = most.max(timers.len());
        }
        assert!(most <= 2 * PURGE_FROM, "{most} timers at once");
        assert!(std::iter::from_fn(|| timers.pop_expired(2_000_000)).any(|kept| kept == 3));
    }
}
