//! First in, first out: fair, and cheap enough to be called directly.
//!
//! There is one exception. A green thread whose timer has expired does not queue behind all the others (a million that
//! were just spawned, say) but takes turns with them. So timers are served on time where possible, and the others lose
//! at most every other turn.
//!
//! Next: `policy/run_queue.rs`, how the hub calls a policy.

use super::traits::{Policy, ReadyReason};
use crate::ids::GreenId;
use std::collections::VecDeque;

/// A queue of ready green threads, and a short queue beside it for those whose timers have expired. Green threads start
/// in the order in which they were spawned. Of two green threads that yield in turn, neither runs twice before the
/// other has run.
#[derive(Debug, Default)]
pub struct Fifo {
    ready: VecDeque<GreenId>,
    expired: VecDeque<GreenId>,
    /// The last pick came from `expired`.
    picked_expired: bool,
}

impl Fifo {
    /// Returns the number of ready green threads.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.expired.len()
    }

    /// Returns the entries at the positions `ahead` of `expired`, or of `ready` if `expired` is empty and `cold` is
    /// set. A green thread whose timer expired has slept, so its stack is likely to be far away in any case.
    #[inline]
    pub(crate) fn peek_cold<const N: usize>(&self, ahead: [usize; N], cold: bool) -> [Option<GreenId>; N] {
        let queue = match self.expired.is_empty() {
            false => &self.expired,
            true if cold => &self.ready,
            true => return [None; N],
        };
        ahead.map(|ahead| queue.get(ahead).copied())
    }
}

impl Policy for Fifo {
    #[inline]
    fn ready(&mut self, green: GreenId, why: ReadyReason) {
        match why {
            ReadyReason::Expired => self.expired.push_back(green),
            _ => self.ready.push_back(green),
        }
    }

    #[inline]
    fn pick(&mut self) -> Option<GreenId> {
        self.picked_expired = !self.expired.is_empty() && (!self.picked_expired || self.ready.is_empty());
        let queue = if self.picked_expired { &mut self.expired } else { &mut self.ready };
        queue.pop_front()
    }

    fn peek(&self, ahead: usize) -> Option<GreenId> {
        self.peek_cold([ahead], true)[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(fifo: &mut Fifo) -> Vec<usize> {
        std::iter::from_fn(|| fifo.pick()).map(GreenId::key).collect()
    }

    #[test]
    fn fifo_alternates_expired_and_ready() {
        let mut fifo = Fifo::default();
        for (key, why) in
            [(1, ReadyReason::New), (2, ReadyReason::Yielded), (3, ReadyReason::Woken), (4, ReadyReason::New)]
        {
            fifo.ready(GreenId::new(1, key), why);
        }
        fifo.ready(GreenId::new(1, 8), ReadyReason::Expired);
        fifo.ready(GreenId::new(1, 9), ReadyReason::Expired);
        assert_eq!(picked(&mut fifo), [8, 1, 9, 2, 3, 4]);
    }

    #[test]
    fn fifo_keeps_the_order_of_expired_alone() {
        let mut fifo = Fifo::default();
        (1..5).for_each(|key| fifo.ready(GreenId::new(1, key), ReadyReason::Expired));
        assert_eq!(picked(&mut fifo), [1, 2, 3, 4]);
    }
}
