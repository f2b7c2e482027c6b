//! Where calls wait, in the server, for an object to change: in the order in which they came.
//!
//! Holds: only the first in line tries. It is woken by whoever changes the object ([`Line::wake`]), and when it leaves,
//! for whatever reason, it wakes the next: so whether it was served, or was too late, or its client has died, nobody
//! stays asleep over what he could have had.

use super::session::{Session, Stop};
use super::wire::Fault;
use crate::api::wait;
use crate::api::wait::Ticket;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a call may wait; `None`: for ever. Zero does not wait.
pub(super) type Limit = Option<Duration>;

#[derive(Default)]
pub(super) struct Line {
    /// Who waits, by number. The ticket is that of its next or present park.
    waiting: RefCell<VecDeque<(u64, Ticket)>>,
    next: Cell<u64>,
    closed: Cell<bool>,
}

impl Line {
    /// Calls `attempt` until it answers something, with waits in between. `None`: the limit was over first.
    ///
    /// Errors: the client of `session` has gone; the object was discarded.
    pub(super) fn wait<R>(
        &self,
        session: &Session,
        limit: Limit,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Result<Option<R>, Stop> {
        if limit == Some(Duration::ZERO) {
            return Ok(attempt());
        }
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let place = self.join();
        let mut in_time = true;
        loop {
            if self.closed.get() {
                return Err(Fault::NoSuchObject.into());
            }
            let answer = if place.is_first() { attempt() } else { None };
            if answer.is_some() || !in_time {
                return Ok(answer);
            }
            in_time = session.pause(deadline)?;
        }
    }

    /// The object has changed: the first in line tries again.
    pub(super) fn wake(&self) {
        if let Some(&(_, ticket)) = self.waiting.borrow().front() {
            ticket.wake();
        }
    }

    /// The object is no more: all that wait are told, and all that come.
    pub(super) fn close(&self) {
        self.closed.set(true);
        for (_, ticket) in &*self.waiting.borrow() {
            ticket.wake();
        }
    }

    fn join(&self) -> Place<'_> {
        let number = self.next.replace(self.next.get() + 1);
        self.waiting.borrow_mut().push_back((number, wait::ticket()));
        Place { line: self, number }
    }
}

/// A place in line, left when it is dropped.
struct Place<'a> {
    line: &'a Line,
    number: u64,
}

impl Place<'_> {
    /// Whether it is this one's turn. From here on it is woken when it is.
    fn is_first(&self) -> bool {
        let mut waiting = self.line.waiting.borrow_mut();
        let at = position(&waiting, self.number);
        waiting[at].1 = wait::ticket();
        at == 0
    }
}

/// Numbers only grow.
fn position(waiting: &VecDeque<(u64, Ticket)>, number: u64) -> usize {
    let at = waiting.binary_search_by_key(&number, |&(number, _)| number);
    at.expect("a place is in its line until it is dropped")
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.line.waiting.borrow_mut();
        let at = position(&waiting, self.number);
        waiting.remove(at);
        drop(waiting);
        self.line.wake();
    }
}
