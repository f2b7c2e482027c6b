//! First ready, first run: fair, and so cheap that nothing is measured against it but itself.
//!
//! With one exception: who is due does not stand behind all the others, a million just spawned, say, but
//! takes turns with them. So a time is kept where it can be, and the others lose no more than every other
//! turn by it.

use super::{Policy, ReadyReason};
use crate::ids::GreenId;
use std::collections::VecDeque;

/// A queue, and a short one beside it for those whose time has come. Start order is spawn order, and of two
/// green threads that yield in turn neither runs twice before the other has.
#[derive(Debug, Default)]
pub struct Fifo {
    line: VecDeque<GreenId>,
    due: VecDeque<GreenId>,
    /// The last one picked was due.
    was_due: bool,
}

impl Fifo {
    /// How many are ready.
    pub(crate) fn len(&self) -> usize {
        self.line.len() + self.due.len()
    }

    /// Those who are so many picks `ahead` among the due; if there are none, and not only those are `cold`, in the line.
    #[inline]
    pub(crate) fn soon<const N: usize>(&self, ahead: [usize; N], cold: bool) -> [Option<GreenId>; N] {
        let queue = match self.due.is_empty() {
            false => &self.due,
            true if cold => &self.line,
            true => return [None; N],
        };
        ahead.map(|ahead| queue.get(ahead).copied())
    }
}

impl Policy for Fifo {
    #[inline]
    fn ready(&mut self, green: GreenId, why: ReadyReason) {
        match why {
            ReadyReason::Expired => self.due.push_back(green),
            _ => self.line.push_back(green),
        }
    }

    #[inline]
    fn pick(&mut self) -> Option<GreenId> {
        self.was_due = !self.due.is_empty() && (!self.was_due || self.line.is_empty());
        let queue = if self.was_due { &mut self.due } else { &mut self.line };
        queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(fifo: &mut Fifo) -> Vec<usize> {
        std::iter::from_fn(|| fifo.pick()).map(GreenId::key).collect()
    }

    #[test]
    fn who_is_due_takes_turns_with_the_line() {
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
    fn the_due_alone_run_in_their_order() {
        let mut fifo = Fifo::default();
        (1..5).for_each(|key| fifo.ready(GreenId::new(1, key), ReadyReason::Expired));
        assert_eq!(picked(&mut fifo), [1, 2, 3, 4]);
    }
}
