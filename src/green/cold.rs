//! What a switch to a green thread touches, brought into the cache before.
//!
//! Who has waited for long finds its record, its context, its thread control block and its frames far away, each a trip to
//! memory, and most of them one after the other. So the loop asks for them some switches ahead, step by step: the record
//! first, by its address alone; then what that names; then what the context names.
#![allow(unsafe_code)]

use super::{Green, GreenId};
use crate::arch::prefetch::prefetch;
use crate::context::Context;
use crate::tcb;
use slab::Slab;

/// How many lines of a stack are asked for, from where it was left upwards: the frames that are returned to first.
const FRAMES: usize = 6;
/// How many at its top: the context, and below it the first frames, where the body keeps what it was given.
const TOP: usize = 6;
/// How far that begins below the context.
const BELOW: usize = 256;

/// Asks for the record of `id`, without a look at it: records lie in a row, the root's at its beginning.
#[inline]
pub(crate) fn prefetch_record(greens: &Slab<Green>, id: GreenId) {
    if let (Some(first), Some(second)) = (greens.get(0), greens.get(1)) {
        let (first, second) = (&raw const *first as usize, &raw const *second as usize);
        prefetch::<1>(first.wrapping_add((second - first).wrapping_mul(id.key())));
    }
}

impl Green {
    /// Asks for its context, and its thread control block. The record is near.
    #[inline]
    pub(crate) fn prefetch_context(&self) {
        if let Some(context) = self.context {
            prefetch::<TOP>(context.address().wrapping_sub(BELOW));
            if tcb::is_wanted() {
                self.tcb.prefetch();
            }
        }
    }

    /// Asks for the frames that it goes on with. The context is near.
    #[inline]
    pub(crate) fn prefetch_frames(&self) {
        if let Some(context) = self.context {
            // SAFETY: a record has no context that was retired.
            prefetch::<FRAMES>(unsafe { context.left_at() });
        }
    }
}
