//! What a switch to a green thread touches, brought into the cache before.
//!
//! Who has waited for long finds its record, its context, its frames and its thread control block far away, each a trip to
//! memory, and most of them one after the other. So the loop asks for them some switches ahead, in two steps: the record
//! first, by its address alone; then what it names.

use super::{Green, GreenId};
use crate::arch::prefetch::prefetch;
use crate::context::Context;
use crate::tcb;
use slab::Slab;

/// How many lines of a stack are asked for, from where it was left upwards: the frames that are returned to first.
const FRAMES: usize = 6;
/// How many of a context.
const CONTEXT: usize = 6;

/// How deep in its stack somebody was, in lines of the cache; as deep as can be told at most.
#[derive(Clone, Copy, Default)]
pub(crate) struct Depth(u8);

impl Depth {
    const LINE: usize = 64;

    fn bytes(self) -> usize {
        usize::from(self.0) * Depth::LINE
    }
}

impl Green {
    /// Notes how deep in its stack it is, which runs there.
    #[inline]
    pub(crate) fn note_depth(&mut self) {
        let here = 0u8;
        if let Some(context) = self.context {
            let depth = context.address().wrapping_sub(&raw const here as usize);
            self.depth = Depth(u8::try_from(depth / Depth::LINE).unwrap_or(u8::MAX));
        }
    }

    /// Asks for what a switch to it touches.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Some(context) = self.context {
            let address = context.address();
            prefetch::<FRAMES>(address.wrapping_sub(self.depth.bytes()));
            prefetch::<CONTEXT>(address.wrapping_sub(256));
            if tcb::is_wanted() {
                self.tcb.prefetch();
            }
        }
    }
}

/// Asks for the record of `id`, without a look at it: records lie in a row, the root's at its beginning.
#[inline]
pub(crate) fn prefetch_record(greens: &Slab<Green>, id: GreenId) {
    if let (Some(first), Some(second)) = (greens.get(0), greens.get(1)) {
        let (first, second) = (&raw const *first as usize, &raw const *second as usize);
        prefetch::<1>(first.wrapping_add((second - first).wrapping_mul(id.key())));
    }
}
