//! Who runs soon: what a switch to it touches is asked for while others run. What that is, is told in `green/cold.rs`.

use super::State;
use crate::green::{self, Green};

/// How many switches before its own a stack is asked for: as long as it takes to come from memory. What is to be known for
/// that, as long before.
const AHEAD: usize = 4;
/// So many green threads, and what the kernel keeps of as many sockets, do not fit into the nearer caches.
const MANY: usize = 32;

impl State {
    /// Has what a switch touches brought into the cache some switches before, where that is likely to be far away. Those who
    /// were due have slept. Others, where there are many, may be `cold`: they have waited for descriptors, or the load of
    /// their thread control blocks keeps the processor from looking ahead by itself.
    #[inline]
    pub(super) fn prefetch(&self, cold: bool) {
        let cold = cold && self.alive > MANY;
        if !cold && !self.ready.are_due() {
            return;
        }
        if let Some(id) = self.ready.soon(3 * AHEAD, false) {
            green::prefetch_record(&self.greens, id);
        }
        if let Some(green) = self.soon(2 * AHEAD, cold) {
            green.prefetch_context();
        }
        if let Some(green) = self.soon(AHEAD, cold) {
            green.prefetch_frames();
        }
    }

    /// The same for the first in line, who were just woken by the world outside: their records are near.
    #[inline]
    pub(super) fn prefetch_first(&self) {
        if self.alive > MANY {
            (0..2 * AHEAD).filter_map(|ahead| self.soon(ahead, true)).for_each(Green::prefetch_context);
            (0..AHEAD).filter_map(|ahead| self.soon(ahead, true)).for_each(Green::prefetch_frames);
        }
    }

    /// Who is `ahead` picks away.
    #[inline]
    fn soon(&self, ahead: usize, cold: bool) -> Option<&Green> {
        self.ready.soon(ahead, cold).and_then(|id| self.greens.get(id.key()))
    }
}
