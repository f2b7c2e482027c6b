//! Who runs soon: what a switch to it touches is asked for while others run. What that is, is told in `green/prefetch.rs`.

use super::state::State;
use crate::green;
use crate::green::Green;
use crate::ids::GreenId;

/// How many switches before its own a stack is asked for: as long as it takes to come from memory. What is to be known for
/// that, as long before.
const AHEAD: usize = 4;
/// So many green threads, and what the kernel keeps of as many sockets, do not fit into the nearer caches.
const MANY: usize = 32;

impl State {
    /// Has what a switch touches brought into the cache some switches before, where that is likely to be far away.
    /// `running` is the record of `id`, who runs next. Those who were due have slept. Others, where there are many, may be
    /// `cold`: they have waited for descriptors, or the load of their thread control blocks keeps the processor from
    /// looking ahead by itself.
    #[inline]
    pub(super) fn prefetch(&self, running: *const Green, id: GreenId, cold: bool) {
        let [next, later] = self.ready.peek([AHEAD, 2 * AHEAD], cold && self.alive > MANY);
        if let Some(later) = later {
            green::prefetch_record(running, id, later);
        }
        if let Some(green) = next.and_then(|id| self.greens.get(id.key())) {
            green.prefetch();
        }
    }

    /// The same for the first in line, who were just woken by the world outside: their records are near.
    #[inline]
    pub(super) fn prefetch_first(&self) {
        if self.alive > MANY {
            let first = self.ready.peek::<AHEAD>(std::array::from_fn(|ahead| ahead), true);
            first.into_iter().flatten().filter_map(|id| self.greens.get(id.key())).for_each(Green::prefetch);
        }
    }
}
