//! An object in the server, and the queue in which calls wait for it to change.
//!
//! Next: `manager/queue.rs`, an object with its requests and its proxy.
//!
//! The file of an object has three parts: an enum of its requests; the object in the server, whose `call` is one `match`
//! over the requests; and the proxy, whose methods each send one request. This file exports what the object needs, and
//! `proxy.rs` exports what the proxy needs. To add an object, write such a file, and give
//! it a line in [`Kind`](super::protocol::Kind) and one in `registry.rs: create`, and a method of `Manager` that creates it.
//!
//! Calls wait first in, first out. **No lost wake-up, no overtaking.** Only the first call in the queue tries. A change of
//! the object wakes it ([`WaitQueue::wake`]). When a call leaves, for whatever reason, it wakes the next. So no call sleeps
//! while the object could serve it, whether the call before it was served, was too late, or lost its client.

pub(super) use super::protocol::decode;
pub(super) use super::session::{Reply, Session};

use super::manager_error::ManagerError;
use greenline::io::{Parked, park_unless_readable};
use greenline::wait::{self, Ticket};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(super) trait Object {
    /// Decodes `request` and executes it for the client of `session`. If it waits, the server executes other requests
    /// meanwhile.
    ///
    /// Errors: the object does not know the request or refuses it; the client is gone.
    fn call(self: Rc<Self>, request: &[u8], session: &Session) -> Result<Reply, ManagerError>;

    /// Wakes the calls that wait in the object, which is discarded.
    fn discard(&self) {}
}

/// Longest wait of a call; `None`: no limit. Zero does not wait.
pub(super) type Limit = Option<Duration>;
/// The limit of a call that does not wait.
pub(super) const NO_WAIT: Limit = Some(Duration::ZERO);

#[derive(Default)]
pub(super) struct WaitQueue {
    /// For each waiting call, by the order of arrival, the ticket of its next or present park.
    tickets: RefCell<BTreeMap<u64, Ticket>>,
    closed: Cell<bool>,
}

/// A call in the queue. It leaves the queue when this is dropped.
struct QueuedCall<'a> {
    queue: &'a WaitQueue,
    number: u64,
}

impl WaitQueue {
    /// Calls `attempt` until it returns a value, and waits in between. Returns `None` if the limit expires first.
    ///
    /// Errors: `Io` if the client of `session` is gone; `NoSuchObject` if the object was discarded.
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
        let number = self.tickets.borrow().last_key_value().map_or(0, |(last, _)| last + 1);
        let call = QueuedCall { queue: self, number };
        let mut in_time = true;
        loop {
            // From here on, a wake-up ends the next park.
            self.tickets.borrow_mut().insert(call.number, wait::ticket());
            if self.closed.get() {
                return Err(ManagerError::NoSuchObject { manager: String::new() });
            }
            let is_first = self.tickets.borrow().keys().next() == Some(&call.number);
            let result = if is_first { attempt() } else { None };
            if result.is_some() || !in_time {
                return Ok(result);
            }
            in_time = match park_unless_readable(&session.stream, deadline).map_err(ManagerError::Io)? {
                // A client sends nothing during a call, so its connection has ended.
                Parked::Readable => return Err(ManagerError::Io(io::ErrorKind::BrokenPipe.into())),
                parked => parked == Parked::Woken,
            };
        }
    }

    /// Wakes the first call, which tries again. Call this after a change of the object.
    pub(super) fn wake(&self) {
        self.tickets.borrow().values().next().map(|first| first.wake());
    }

    /// Makes all waiting calls, and all later ones, fail. Call this when the object is discarded.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.tickets.borrow().values().for_each(|ticket| _ = ticket.wake());
    }
}

impl Drop for QueuedCall<'_> {
    fn drop(&mut self) {
        self.queue.tickets.borrow_mut().remove(&self.number);
        self.queue.wake();
    }
}
