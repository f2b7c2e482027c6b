//! What callers hold: a result to come, or an iterator over results.

use super::TaskError;
use super::office::{Batch, Office, Outcome};
use super::task::Calls;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes a result of the outcomes, in order.
pub(super) type Assemble<R> = fn(&mut dyn Iterator<Item = Outcome>) -> Result<R, TaskError>;

fn decode<R: DeserializeOwned>(outcome: Outcome) -> Result<R, TaskError> {
    postcard::from_bytes(outcome?.as_bytes())
        .map_err(|error| TaskError::Codec(format!("the result cannot be decoded: {error}")))
}

/// The only one.
pub(super) fn one<R: DeserializeOwned>(outcomes: &mut dyn Iterator<Item = Outcome>) -> Result<R, TaskError> {
    decode(outcomes.next().expect("one was sent"))
}

/// All of them, or the first error.
pub(super) fn all<R: DeserializeOwned>(
    outcomes: &mut dyn Iterator<Item = Outcome>,
) -> Result<Vec<R>, TaskError> {
    outcomes.map(decode).collect()
}

/// The result of tasks that were sent to a [`Pool`](super::Pool). Dropping it does not cancel them.
///
/// Source: Python's `AsyncResult`.
#[must_use = "the result, and whatever went wrong, is in it"]
pub struct AsyncResult<R> {
    office: Arc<Office>,
    batch: Arc<Batch>,
    count: usize,
    /// They were not all sent.
    failed: Option<TaskError>,
    assemble: Assemble<R>,
}

impl<R> AsyncResult<R> {
    pub(super) fn new(
        office: Arc<Office>,
        batch: Arc<Batch>,
        count: usize,
        failed: Option<TaskError>,
        assemble: Assemble<R>,
    ) -> AsyncResult<R> {
        AsyncResult { office, batch, count, failed, assemble }
    }

    /// Waits until all tasks are done. Blocks the current green thread and no other.
    ///
    /// # Errors
    /// Why there is no result.
    pub fn get(self) -> Result<R, TaskError> {
        match self.get_by(None) {
            Ok(result) => result,
            Err(_) => unreachable!("no deadline has passed"),
        }
    }

    /// Waits for no longer than `timeout`.
    ///
    /// # Errors
    /// Not all are done: the `AsyncResult` itself, to ask again.
    pub fn get_timeout(self, timeout: Duration) -> Result<Result<R, TaskError>, AsyncResult<R>> {
        self.get_by(Instant::now().checked_add(timeout))
    }

    fn get_by(self, deadline: Option<Instant>) -> Result<Result<R, TaskError>, AsyncResult<R>> {
        if let Some(error) = self.failed {
            return Ok(Err(error));
        }
        match self.office.wait_for(deadline, &self.batch, || self.have_come()) {
            Err(error) => Ok(Err(error)),
            Ok(None) => Err(self),
            Ok(Some(())) => {
                let mut outcomes = std::iter::from_fn(|| self.batch.take());
                Ok((self.assemble)(&mut outcomes))
            }
        }
    }

    /// Whether [`get`](AsyncResult::get) would answer at once.
    pub fn is_ready(&self) -> bool {
        self.failed.is_some() || !matches!(self.office.look_for(|| self.have_come()), Ok(None))
    }

    fn have_come(&self) -> Option<()> {
        (self.batch.count() == self.count).then_some(())
    }
}

impl<R> fmt::Debug for AsyncResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("tasks", &self.count).finish_non_exhaustive()
    }
}

/// Results as they come, of [`Pool::imap`](super::Pool::imap) and [`Pool::imap_unordered`](super::Pool::imap_unordered).
/// Its `next` blocks the current green thread and no other.
///
/// Source: Python's `IMapIterator`, which takes all items at once and keeps all results.
pub struct Results<R> {
    office: Arc<Office>,
    batch: Arc<Batch>,
    calls: Box<dyn Iterator<Item = Result<Calls, TaskError>>>,
    /// The next of them, for which there was no room yet.
    unsent: Option<Calls>,
    /// How many may be under way at once.
    window: usize,
    sent: usize,
    taken: usize,
    /// One that has come, should the caller be unwound before it has it.
    held: Option<Outcome>,
    /// Why no more is sent: it is the last result.
    failed: Option<TaskError>,
    exhausted: bool,
    result: std::marker::PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Results<R> {
    pub(super) fn new(
        office: Arc<Office>,
        batch: Arc<Batch>,
        calls: Box<dyn Iterator<Item = Result<Calls, TaskError>>>,
        window: usize,
    ) -> Results<R> {
        let mut results = Results {
            office,
            batch,
            calls,
            unsent: None,
            window,
            sent: 0,
            taken: 0,
            held: None,
            failed: None,
            exhausted: false,
            result: std::marker::PhantomData,
        };
        results.send_more(Some(Instant::now()));
        results
    }

    /// Sends what may be under way at once, as far as there is room. Only where there is nothing else to wait for, waits for
    /// room, until the deadline.
    fn send_more(&mut self, deadline: Option<Instant>) {
        while !self.exhausted && self.sent - self.taken < self.window {
            let has_others = self.held.is_some() || self.sent > self.taken;
            let until = if has_others { Some(Instant::now()) } else { deadline };
            match self.send_next(until) {
                Ok(true) => self.sent += 1,
                Ok(false) => return,
                Err(error) => {
                    self.failed = error;
                    self.exhausted = true;
                }
            }
        }
    }

    /// `false`: there was no room for it. An error that is none: there are no more.
    fn send_next(&mut self, until: Option<Instant>) -> Result<bool, Option<TaskError>> {
        if self.unsent.is_none() {
            self.unsent = Some(self.calls.next().ok_or(None)??);
        }
        Ok(self.office.send(&mut self.unsent, &self.batch, self.sent, until)?)
    }

    /// [`next`](Iterator::next), for no longer than `timeout`.
    ///
    /// # Errors
    /// The next result has not come yet.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<R, TaskError>>, TimedOut> {
        self.next_by(Instant::now().checked_add(timeout))
    }

    fn next_by(&mut self, deadline: Option<Instant>) -> Result<Option<Result<R, TaskError>>, TimedOut> {
        if self.held.is_none() {
            self.send_more(deadline);
            if self.taken == self.sent {
                return if self.exhausted { Ok(self.failed.take().map(Err)) } else { Err(TimedOut) };
            }
            match self.office.wait_for(deadline, &self.batch, || self.batch.take()) {
                Err(error) => {
                    self.taken = self.sent;
                    self.exhausted = true;
                    return Ok(Some(Err(error)));
                }
                Ok(None) => return Err(TimedOut),
                Ok(outcome) => self.held = outcome,
            }
            self.taken += 1;
        }
        // This calls code of the user's, which may block.
        self.send_more(deadline);
        Ok(self.held.take().map(decode))
    }
}

impl<R: DeserializeOwned> Iterator for Results<R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Result<R, TaskError>> {
        self.next_by(None).unwrap_or_else(|_| unreachable!("no deadline has passed"))
    }
}

impl<R> fmt::Debug for Results<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results")
            .field("sent", &self.sent)
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

/// The time was over before a result had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no result has come in time")
    }
}

impl std::error::Error for TimedOut {}
