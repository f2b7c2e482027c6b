//! The order in which several green threads finish, for a green thread that waits for all of them.
//!
//! Next: `hub/fields.rs`, the hub.

use crate::ids::Ticket;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// A queue of indices, and the ticket of the green thread that waits for the next one.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    done: RefCell<VecDeque<usize>>,
    waiting: Cell<Option<Ticket>>,
}

impl Completions {
    /// Adds the index of a green thread that has finished. Returns the ticket to wake.
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
