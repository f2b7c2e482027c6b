//! The queue in which calls wait in the server for an object to change, first in, first out.
//!
//! Next: `process/manager/object.rs`, what an object is.
//!
//! **No lost wake-up, no overtaking.** Only the first call in the queue tries. A change of the object wakes it
//! ([`WaitQueue::wake`]). When a call leaves, for whatever reason, it wakes the next. So no call sleeps while the object
//! could serve it, whether the call before it was served, was too late, or lost its client.

use super::manager_error::ManagerError;
use super::session::Session;
use crate::api::wait::{self, Ticket};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Longest wait of a call; `None`: no limit. Zero does not wait.
pub(super) type Limit = Option<Duration>;
/// The limit of a call that does not wait.
pub(super) const NO_WAIT: Limit = Some(Duration::ZERO);

#[derive(Default)]
pub(super) struct WaitQueue {
    /// For each waiting call the ticket of its next or present park.
    tickets: RefCell<VecDeque<Rc<Cell<Ticket>>>>,
    closed: Cell<bool>,
}

/// A call in the queue. It leaves the queue when this is dropped.
struct QueuedCall<'a> {
    queue: &'a WaitQueue,
    ticket: Rc<Cell<Ticket>>,
}

impl WaitQueue {
    /// Calls `attempt` until it returns a value, and waits in between. Returns `None` if the limit expires first.
    ///
    /// Errors: the client of `session` is gone; the object was discarded.
    pub(super) fn wait<R>(
        &self,
        session: &Session,
        limit: Limit,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Result<Option<R>, ManagerError> {
        if limit == NO_WAIT {
            return Ok(attempt());
        }
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let call = QueuedCall { queue: self, ticket: Rc::new(Cell::new(wait::ticket())) };
        self.tickets.borrow_mut().push_back(call.ticket.clone());
        let mut in_time = true;
        loop {
            // From here on, a wake-up ends the next park.
            call.ticket.set(wait::ticket());
            if self.closed.get() {
                return Err(ManagerError::NoSuchObject { manager: String::new() });
            }
            let result = if call.is_first() { attempt() } else { None };
            if result.is_some() || !in_time {
                return Ok(result);
            }
            in_time = session.wait_or_peer_gone(deadline)?;
        }
    }

    /// Wakes the first call, which tries again. Call this after a change of the object.
    pub(super) fn wake(&self) {
        if let Some(first) = self.tickets.borrow().front() {
            first.get().wake();
        }
    }

    /// Makes all waiting calls, and all later ones, fail. Call this when the object is discarded.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.tickets.borrow().iter().for_each(|ticket| _ = ticket.get().wake());
    }
}

impl QueuedCall<'_> {
    fn is_first(&self) -> bool {
        self.queue.tickets.borrow().front().is_some_and(|first| Rc::ptr_eq(first, &self.ticket))
    }
}

impl Drop for QueuedCall<'_> {
    fn drop(&mut self) {
        let mut tickets = self.queue.tickets.borrow_mut();
        let position = tickets.iter().position(|ticket| Rc::ptr_eq(ticket, &self.ticket));
        tickets.remove(position.expect("a call stays in its queue until it is dropped"));
        drop(tickets);
        self.queue.wake();
    }
}
