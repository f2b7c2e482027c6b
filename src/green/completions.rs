//! In which order several green threads finished, for one that waits for them all.

use crate::ids::Ticket;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// A queue of indices, and who waits for the next of them.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    done: RefCell<VecDeque<usize>>,
    waiting: Cell<Option<Ticket>>,
}

impl Completions {
    /// Notes that number `index` has finished; answers who is to be woken for it.
    pub(crate) fn push(&self, index: usize) -> Option<Ticket> {
        self.done.borrow_mut().push_back(index);
        self.waiting.take()
    }

    pub(crate) fn pop(&self) -> Option<usize> {
        self.done.borrow_mut().pop_front()
    }

    pub(crate) fn wait_by(&self, ticket: Ticket) {
        self.waiting.set(Some(ticket));
    }
}
