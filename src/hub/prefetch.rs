//! Prefetching what the next switches touch. Skip this file on a first reading: nothing depends on it but speed.
//!
//! After a long wait, a green thread's record, context, thread control block and stack frames are no longer in the cache.
//! Loading them costs several dependent cache misses. So the loop prefetches them a few switches ahead, in two steps: first
//! the record, by its address alone; then everything that the record points to.
//!
//! Next: `hub/poll_interval.rs`.

use super::state::HubState;
use crate::arch::prefetch::prefetch;
use crate::context::{ActiveContext, Context};
use crate::green::Green;
use crate::ids::GreenId;
use crate::tls;

/// Number of switches that a stack is prefetched before its own: about as long as memory takes to answer. The record is
/// prefetched as many switches earlier.
const AHEAD: usize = 4;
/// With more green threads than this, what they and the kernel keep of as many sockets does not fit into the nearer caches.
const MANY: u64 = 32;
/// Size of a cache line in bytes.
const LINE: usize = 64;
/// Number of cache lines of a stack, from its lowest frame upwards: the frames that are returned to first.
const FRAMES: usize = 6;
/// Number of cache lines at the top of a stack: the first of the context, and below it the first frames, where the body has
/// its captures.
const TOP: usize = 5;
/// Distance in bytes of those lines below the context.
const BELOW: usize = 256;
/// Largest distance in bytes between a local variable of the parking function and the lowest address of the suspended stack:
/// the rest of the frame, and the registers that a switch saves.
const SWITCH: usize = 128;

/// `Green::stack_depth` of a green thread that has never parked: a guess, right below the lines at the top.
pub(super) const INITIAL_DEPTH: u16 = ((BELOW + FRAMES * LINE - SWITCH) / LINE) as u16;

/// Returns the distance in cache lines from `context` down to the caller's frame. A hint only: a caller on a generator's
/// stack gets any number.
#[inline(always)]
pub(super) fn stack_depth(context: Option<ActiveContext>) -> u16 {
    let local = 0u8;
    let lines = |context: ActiveContext| context.address().wrapping_sub(&raw const local as usize) / LINE;
    context.map_or(0, lines) as u16
}

impl HubState {
    /// Prefetches for the switches after the next one. `running` is the record of `id`, which runs next.
    ///
    /// A green thread whose timer has expired has slept, so its memory is far away. The memory of others may be far away
    /// where there are many, and if they are `cold`: they have waited for descriptors, or loading their thread control
    /// blocks keeps the processor from looking ahead by itself.
    #[inline]
    pub(super) fn prefetch(&self, running: *const Green, id: GreenId, cold: bool, alive: u64) {
        let [next, later] = self.ready.peek([AHEAD, 2 * AHEAD], cold && alive > MANY);
        if let Some(later) = later {
            prefetch::<1>(record_address(running, id, later) as usize);
        }
        if let Some(green) = next.and_then(|id| self.greens.get(id.key())) {
            prefetch_stack(green);
        }
    }

    /// The same where a custom policy chooses. A function of its own, so that the loop keeps its values in registers.
    #[cold]
    pub(super) fn prefetch_custom(&self, alive: u64) {
        if alive > MANY {
            let next = self.ready.peek_custom(AHEAD);
            next.and_then(|id| self.greens.get(id.key())).into_iter().for_each(prefetch_stack);
        }
    }

    /// Prefetches for the first switches after a poll of the reactor, which has just woken the green threads: their records
    /// are in the cache.
    #[inline]
    pub(super) fn prefetch_first(&self, alive: u64) {
        if alive > MANY {
            let first = self.ready.peek::<AHEAD>(std::array::from_fn(|ahead| ahead), true);
            first.into_iter().flatten().filter_map(|id| self.greens.get(id.key())).for_each(prefetch_stack);
        }
    }
}

/// Prefetches the context, the thread control block, and the frames that `green` goes on with. Reads the record.
#[inline]
fn prefetch_stack(green: &Green) {
    if let Some(context) = green.context {
        prefetch::<TOP>(context.address().wrapping_sub(BELOW));
        prefetch::<FRAMES>(context.address().wrapping_sub(usize::from(green.stack_depth) * LINE + SWITCH));
        if tls::is_enabled() {
            green.tcb.prefetch();
        }
    }
}

/// Returns the address of the record of `id`. Records lie in an array, in which `known` is the record of `near`.
#[inline]
fn record_address(known: *const Green, near: GreenId, id: GreenId) -> *const Green {
    known.wrapping_add(id.key()).wrapping_sub(near.key())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::green::BodyState;
    use crate::stack::{StackAllocator, StackSize};
    use crate::tls::TcbPool;
    use slab::Slab;
    use std::cell::Cell;
    use std::panic::Location;
    use std::rc::Rc;

    #[test]
    #[allow(unsafe_code)]
    fn stack_depth_is_the_distance_to_the_suspended_frame() {
        /// Returns the depth of the caller by `stack_depth`, and by an address.
        #[inline(never)]
        fn here(context: ActiveContext) -> [usize; 2] {
            let local = 0u8;
            [stack_depth(Some(context)).into(), (context.address() - &raw const local as usize) / LINE]
        }
        #[inline(never)]
        fn below_a_page(context: ActiveContext) -> [usize; 2] {
            let page = std::hint::black_box([0u8; 4096]);
            let depth = here(context);
            std::hint::black_box(page);
            depth
        }
        let (stacks, seen) = (StackAllocator::default(), Rc::new(Cell::default()));
        // SAFETY: the context is resumed with a body, not while it runs, and retired once.
        unsafe {
            let context = ActiveContext::new(stacks.take(StackSize::DEFAULT).unwrap());
            let inside = seen.clone();
            context.assign(Box::new(move || inside.set([here(context), below_a_page(context)])));
            context.resume();
            drop(context.retire());
        }
        let [above, below] = seen.get();
        for [measured, by_address] in [above, below] {
            assert!(measured.abs_diff(by_address) <= 8, "{measured} and not {by_address}");
        }
        assert!(below[0] >= above[0] + 4096 / LINE, "{above:?} and {below:?}");
        assert_eq!(stack_depth(None), 0);
    }

    #[test]
    fn record_address_follows_the_keys() {
        let (blocks, mut greens) = (TcbPool::new(), Slab::new());
        for n in 0..3 {
            greens.insert(Green::new(
                GreenId::new(1, n),
                blocks.os_thread_tcb(),
                BodyState::Running,
                Location::caller(),
            ));
        }
        let [second, third] = [1, 2].map(|key| (&raw const greens[key], GreenId::new(1, key)));
        assert_eq!(record_address(second.0, second.1, third.1), third.0);
        assert_eq!(record_address(third.0, third.1, second.1), second.0);
    }
}
