//! What a switch to a green thread touches, brought into the cache before.
//!
//! Who has waited for long finds its record, its context, its thread control block and its frames far away, each a trip to
//! memory, and most of them one after the other. So the loop asks for them some switches ahead, in two steps: the record
//! first, by its address alone; then all that it names.

use super::{Green, GreenId};
use crate::arch::prefetch::prefetch;
use crate::context::{ActiveContext, Context};
use crate::tls;

/// How many lines of a stack are asked for, from where it was left upwards: the frames that are returned to first.
const FRAMES: usize = 6;
/// How many at its top: the first of the context, and below it the first frames, where the body keeps what it was given.
const TOP: usize = 5;
/// How far that begins below the context.
const BELOW: usize = 256;
/// How far below a local variable of who parks the stack is left, at most: the rest of the frame, and what a switch keeps.
const SWITCH: usize = 128;

/// The size of a line of the cache.
const LINE: usize = 64;

/// How far a stack reaches down from its context, in lines: a hint, for on a generator's stack it is anything.
#[derive(Clone, Copy)]
pub(crate) struct StackDepth(u16);

impl Default for StackDepth {
    /// A guess, for who has never parked: all that lies right below what is asked for at the top.
    fn default() -> StackDepth {
        StackDepth(((BELOW + FRAMES * LINE - SWITCH) / LINE) as u16)
    }
}

impl StackDepth {
    /// That of who calls, on the stack of `context`.
    #[inline(always)]
    pub(crate) fn here(context: Option<ActiveContext>) -> StackDepth {
        let local = 0u8;
        let lines = |context: ActiveContext| context.address().wrapping_sub(&raw const local as usize) / LINE;
        StackDepth(context.map_or(0, lines) as u16)
    }
}

/// Asks for the record of `id`, without a look at it; `known` is that of `near`.
#[inline]
pub(crate) fn prefetch_record(known: *const Green, near: GreenId, id: GreenId) {
    prefetch::<1>(place(known, near, id) as usize);
}

/// Where the record of `id` lies: they lie in a row.
#[inline]
fn place(known: *const Green, near: GreenId, id: GreenId) -> *const Green {
    known.wrapping_add(id.key()).wrapping_sub(near.key())
}

impl Green {
    /// Asks for its context, its thread control block, and the frames that it goes on with. The record is near.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Some(context) = self.context {
            prefetch::<TOP>(context.address().wrapping_sub(BELOW));
            prefetch::<FRAMES>(context.address().wrapping_sub(usize::from(self.depth.0) * LINE + SWITCH));
            if tls::is_enabled() {
                self.tcb.prefetch();
            }
        }
    }
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
    fn a_stack_is_as_deep_as_it_is_left() {
        /// How deep it is here, by the measure and by an address.
        #[inline(never)]
        fn here(context: ActiveContext) -> [usize; 2] {
            let local = 0u8;
            [StackDepth::here(Some(context)).0.into(), (context.address() - &raw const local as usize) / LINE]
        }
        #[inline(never)]
        fn below_a_page(context: ActiveContext) -> [usize; 2] {
            let page = std::hint::black_box([0u8; 4096]);
            let depth = here(context);
            std::hint::black_box(page);
            depth
        }
        let (stacks, seen) = (StackAllocator::default(), Rc::new(Cell::default()));
        // SAFETY: resumed with a job, not while it runs, and retired once.
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
        assert_eq!(StackDepth::here(None).0, 0);
    }

    #[test]
    fn records_lie_in_a_row() {
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
        assert_eq!(place(second.0, second.1, third.1), third.0);
        assert_eq!(place(third.0, third.1, second.1), second.0);
    }
}
