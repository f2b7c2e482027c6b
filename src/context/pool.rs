//! Idle contexts, kept on their warm stacks for the next job. The last to become idle is the first to be
//! used again, for its memory is still in the cache.

use super::{ActiveContext, Context};
use crate::stack::{StackAllocator, StackSize};
use std::cell::RefCell;
use std::io;

/// The contexts of one hub.
#[derive(Default)]
pub(crate) struct ContextPool {
    /// Idle contexts, each list with the size of its stacks.
    idle: RefCell<Vec<(StackSize, Vec<ActiveContext>)>>,
    stacks: StackAllocator,
}

impl ContextPool {
    /// An idle context on a stack of that size.
    ///
    /// Errors: as `StackAllocator::take`.
    #[inline]
    pub(crate) fn take(&self, size: StackSize) -> io::Result<ActiveContext> {
        for (of, list) in self.idle.borrow_mut().iter_mut() {
            if *of == size {
                if let Some(context) = list.pop() {
                    return Ok(context);
                }
            }
        }
        Ok(ActiveContext::new(self.stacks.take(size)?))
    }

    /// Takes a context back.
    ///
    /// # Safety
    /// It is idle, and the caller uses it no more.
    #[inline]
    pub(crate) unsafe fn put(&self, context: ActiveContext) {
        // SAFETY: the caller's promise.
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
}

impl ContextPool {
    /// Ends all that are idle here.
    pub(crate) fn clear(&self) {
        for context in self.idle.borrow_mut().drain(..).flat_map(|(_, list)| list) {
            // SAFETY: what is in the pool is idle, and nobody else has it.
            drop(unsafe { context.retire() });
        }
    }
}

impl Drop for ContextPool {
    fn drop(&mut self) {
        self.clear();
    }
}
