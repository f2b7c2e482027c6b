//! Who is to be woken when: a priority queue in two parts.
//!
//! Many timers are set in the order in which they are due (a thousand green threads that each sleep a
//! second, IO with one timeout for all). Those go to the end of a sorted run and cost nothing to order;
//! the others go to a heap. The earliest of all is at the front of one or at the top of the other.
//!
//! A timer cannot be taken out. One that is no longer wanted is harmless when it is due (its action is
//! stale, and known to be), but it takes space until then; so whoever loses interest says so by
//! `forget_one`, and when most are forgotten, the dead ones are swept out.
//!
//! Holds: of two timers with equal deadlines, the one set first is due first.

use super::Time;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Below this many it is not worth sweeping.
const SWEEP_FROM: usize = 512;

struct Timer<A> {
    deadline: Time,
    /// Counts the timers set: breaks ties.
    order: u64,
    action: A,
}

impl<A> Timer<A> {
    fn key(&self) -> (Time, u64) {
        (self.deadline, self.order)
    }
}

impl<A> PartialEq for Timer<A> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl<A> Eq for Timer<A> {}
impl<A> PartialOrd for Timer<A> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<A> Ord for Timer<A> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Timers that carry an action `A`.
pub(crate) struct Timers<A> {
    run: VecDeque<Timer<A>>,
    heap: BinaryHeap<Reverse<Timer<A>>>,
    set: u64,
    forgotten: usize,
}

impl<A> Timers<A> {
    pub(crate) fn new() -> Self {
        Timers { run: VecDeque::new(), heap: BinaryHeap::new(), set: 0, forgotten: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.run.len() + self.heap.len()
    }

    pub(crate) fn set(&mut self, deadline: Time, action: A) {
        let timer = Timer { deadline, order: self.set, action };
        self.set += 1;
        match self.run.back() {
            Some(last) if last.deadline > deadline => self.heap.push(Reverse(timer)),
            _ => self.run.push_back(timer),
        }
    }

    /// When the first is due.
    fn earliest(&self) -> Option<Time> {
        let run = self.run.front().map(|timer| timer.deadline);
        let heap = self.heap.peek().map(|timer| timer.0.deadline);
        match (run, heap) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When the first `wanted` one is due; those before it, that nobody wants, are taken out.
    pub(crate) fn earliest_wanted(&mut self, mut wanted: impl FnMut(&A) -> bool) -> Option<Time> {
        while self.run.front().is_some_and(|timer| !wanted(&timer.action)) {
            self.run.pop_front();
        }
        while self.heap.peek().is_some_and(|timer| !wanted(&timer.0.action)) {
            self.heap.pop();
        }
        self.earliest()
    }

    /// Takes the first that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<A> {
        let from_run = match (self.run.front(), self.heap.peek()) {
            (Some(run), Some(heap)) => run.key() < heap.0.key(),
            (run, _) => run.is_some(),
        };
        if from_run {
            if self.run.front()?.deadline > now {
                return None;
            }
            self.run.pop_front().map(|timer| timer.action)
        } else {
            if self.heap.peek()?.0.deadline > now {
                return None;
            }
            self.heap.pop().map(|timer| timer.0.action)
        }
    }

    /// Says that one of the timers is wanted no more. Answers whether it is time to `sweep`.
    pub(crate) fn forget_one(&mut self) -> bool {
        self.forgotten += 1;
        self.forgotten >= SWEEP_FROM && self.forgotten > self.len() / 2
    }

    /// Takes out all whose action is not `wanted`.
    pub(crate) fn sweep(&mut self, mut wanted: impl FnMut(&A) -> bool) {
        self.run.retain(|timer| wanted(&timer.action));
        self.heap.retain(|timer| wanted(&timer.0.action));
        self.forgotten = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list that is sorted anew each time.
        #[test]
        fn due_in_order_of_deadline_then_of_setting(steps in prop::collection::vec((0u64..50, any::<bool>()), 0..300)) {
            let (mut timers, mut model, mut now) = (Timers::new(), Vec::new(), 0);
            for (n, (deadline, set)) in steps.into_iter().enumerate() {
                if set {
                    timers.set(now + deadline, n);
                    model.push((now + deadline, n));
                } else {
                    now += deadline / 4;
                    model.sort_unstable();
                    prop_assert_eq!(timers.earliest(), model.first().map(|first| first.0));
                    while let Some(got) = timers.pop_due(now) {
                        prop_assert_eq!(got, model.remove(0).1);
                    }
                    prop_assert!(model.iter().all(|left| left.0 > now));
                }
                prop_assert_eq!(timers.len(), model.len());
            }
        }
    }

    #[test]
    fn the_unwanted_in_front_do_not_hide_the_first_wanted() {
        let mut timers = Timers::new();
        [5, 9, 3, 7, 4].into_iter().for_each(|deadline| timers.set(deadline, deadline));
        assert_eq!(timers.earliest_wanted(|&deadline| deadline > 4), Some(5));
        assert_eq!(timers.earliest_wanted(|&deadline| deadline == 7), Some(7));
        assert_eq!(timers.earliest_wanted(|_| false), None);
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn forgotten_timers_do_not_pile_up() {
        let mut timers = Timers::new();
        let mut most = 0;
        for n in 0..100_000u64 {
            timers.set(1_000_000 - n % 7, n);
            if timers.forget_one() {
                timers.sweep(|&kept| kept == 3);
            }
            most = most.max(timers.len());
        }
        assert!(most <= 2 * SWEEP_FROM, "{most} timers at once");
        assert!(std::iter::from_fn(|| timers.pop_due(2_000_000)).any(|kept| kept == 3));
    }
}
