//! One context that is kept for when there is no memory for another. A green thread whose stack cannot be allocated is
//! dropped on it.
//!
//! Next: `hub/shutdown.rs`.
#![allow(unsafe_code)]

use crate::context::{ActiveContext, ContextPool};
use crate::ids::GreenId;
use crate::stack::StackSize;
use crate::sys::hint::unlikely;
use std::cell::Cell;
use std::io;

/// The emergency stack of one hub.
pub(super) struct EmergencyStack {
    /// The context while it is idle.
    idle: Cell<Option<ActiveContext>>,
    /// The green thread that uses it; `GreenId::HUB` if none does.
    user: Cell<GreenId>,
}

impl EmergencyStack {
    pub(super) fn new() -> EmergencyStack {
        EmergencyStack { idle: Cell::new(None), user: Cell::new(GreenId::HUB) }
    }

    /// Makes sure that it exists. Called before a green thread is spawned.
    ///
    /// Errors: there is no memory for it.
    #[inline]
    pub(super) fn ensure(&self, pool: &ContextPool) -> io::Result<()> {
        if unlikely(self.idle.get().is_none() && self.user.get() == GreenId::HUB) {
            self.idle.set(Some(pool.take(StackSize::RESERVE)?));
        }
        Ok(())
    }

    /// Lends the context to `id`. `None`: another green thread uses it; try again later.
    pub(super) fn lend(&self, id: GreenId) -> Option<ActiveContext> {
        let context = self.idle.take()?;
        self.user.set(id);
        Some(context)
    }

    /// Takes the idle `context` back if it was lent to `id`. Returns `false` if it was not.
    pub(super) fn give_back(&self, id: GreenId, context: ActiveContext) -> bool {
        let was_lent = self.user.get() == id;
        if was_lent {
            self.user.set(GreenId::HUB);
            self.idle.set(Some(context));
        }
        was_lent
    }

    /// Gives the context to `pool`, which retires it.
    pub(super) fn release(&self, pool: &ContextPool) {
        if let Some(context) = self.idle.take() {
            // SAFETY: the context is idle, and this was its only owner.
            unsafe { pool.put(context) };
        }
    }
}
