//! Idle contexts, kept on their warm stacks for the next body.
//!
//! The last context to become idle is the first to be used again, because its memory is still in the cache.
//!
//! Next: `policy/mod.rs`, which green thread runs next.
#![allow(unsafe_code)]

use super::active::ActiveContext;
use super::contract::Context;
use crate::stack::{StackAllocator, StackSize};
use std::cell::RefCell;
use std::io;

/// The contexts of one hub.
#[derive(Default)]
pub(crate) struct ContextPool {
    /// Idle contexts, in one list for each size of stack.
    idle: RefCell<Vec<(StackSize, Vec<ActiveContext>)>>,
    stacks: StackAllocator,
}

impl ContextPool {
    /// Returns an idle context on a stack of that size.
    ///
    /// Errors: those of `StackAllocator::take`.
    #[inline]
    pub(crate) fn take(&self, size: StackSize) -> io::Result<ActiveContext> {
        let idle = &mut *self.idle.borrow_mut();
        match idle.iter_mut().find(|(of, _)| *of == size).and_then(|(_, list)| list.pop()) {
            Some(context) => Ok(context),
            None => Ok(ActiveContext::new(self.stacks.take(size)?)),
        }
    }

    /// Takes a context back.
    ///
    /// # Safety
    /// It is idle, and the caller does not use it again.
    #[inline]
    pub(crate) unsafe fn put(&self, context: ActiveContext) {
        // SAFETY: the context is not retired, by the caller's promise.
        let size = unsafe { context.size() };
        let mut idle = self.idle.borrow_mut();
        match idle.iter_mut().find(|(of, _)| *of == size) {
            Some((_, list)) => list.push(context),
            None => idle.push((size, vec![context])),
        }
    }

    pub(crate) fn stacks(&self) -> &StackAllocator {
        &self.stacks
    }

    /// Retires all idle contexts.
    pub(crate) fn clear(&self) {
        for context in self.idle.borrow_mut().drain(..).flat_map(|(_, list)| list) {
            // SAFETY: a context in the pool is idle, and nothing else holds it.
            drop(unsafe { context.retire() });
        }
    }
}

impl Drop for ContextPool {
    fn drop(&mut self) {
        self.clear();
    }
}
