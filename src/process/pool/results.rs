//! The handles of callers: a result, or an iterator over results.
//!
//! Next: `process/queue.rs`, another object that processes share.

use super::batch::{Batch, Outcome};
use super::dispatcher::Dispatcher;
use super::task::{EncodedCalls, codec_error};
use super::task_error::TaskError;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes a result from the outcomes of a batch.
pub(super) type Assemble<R> = fn(&mut dyn Iterator<Item = Outcome>) -> Result<R, TaskError>;

/// Decodes what `run_call` of `task.rs` or `TaskError::encode` has encoded.
fn decode<R: DeserializeOwned>(outcome: Outcome) -> Result<R, TaskError> {
    postcard::from_bytes(outcome?.as_bytes()).map_err(codec_error("the result cannot be decoded"))?
}

/// Returns the result of a batch with one call.
pub(super) fn one<R: DeserializeOwned>(outcomes: &mut dyn Iterator<Item = Outcome>) -> Result<R, TaskError> {
    decode(outcomes.next().expect("the batch has one call"))
}

/// Returns all results, or the first error.
pub(super) fn all<R: DeserializeOwned>(
    outcomes: &mut dyn Iterator<Item = Outcome>,
) -> Result<Vec<R>, TaskError> {
    outcomes.map(decode).collect()
}

/// The result of tasks that were sent to a [`Pool`](super::Pool). Dropping the handle does not cancel them.
///
/// Source: Python's `AsyncResult`.
#[must_use = "the result and all errors are in it"]
pub struct AsyncResult<R> {
    dispatcher: Arc<Dispatcher>,
    batch: Arc<Batch>,
    count: usize,
    /// Why not all tasks were sent.
    failed: Option<TaskError>,
    assemble: Assemble<R>,
}

impl<R> AsyncResult<R> {
    pub(super) fn new(
        dispatcher: Arc<Dispatcher>,
        batch: Arc<Batch>,
        count: usize,
        failed: Option<TaskError>,
        assemble: Assemble<R>,
    ) -> AsyncResult<R> {
        AsyncResult { dispatcher, batch, count, failed, assemble }
    }

    /// Waits until all tasks are done. Blocks only the current green thread.
    ///
    /// # Errors
    /// Why there is no result.
    pub fn get(self) -> Result<R, TaskError> {
        self.get_until(None).unwrap_or_else(|_| unreachable!("a wait without a deadline does not time out"))
    }

    /// [`get`](AsyncResult::get), with a time limit. A zero timeout does not wait.
    ///
    /// # Errors
    /// The outer error is this handle, if some tasks are not done after `timeout`.
    pub fn get_timeout(self, timeout: Duration) -> Result<Result<R, TaskError>, AsyncResult<R>> {
        self.get_until(Instant::now().checked_add(timeout))
    }

    fn get_until(self, deadline: Option<Instant>) -> Result<Result<R, TaskError>, AsyncResult<R>> {
        match self.wait_until(deadline) {
            Err(error) => Ok(Err(error)),
            Ok(None) => Err(self),
            Ok(Some(())) => Ok((self.assemble)(&mut std::iter::from_fn(|| self.batch.take()))),
        }
    }

    /// Returns whether [`get`](AsyncResult::get) would return immediately. The call does not wait. Green threads of this OS
    /// thread do not run meanwhile.
    pub fn is_ready(&self) -> bool {
        !matches!(self.wait_until(Some(Instant::now())), Ok(None))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<()>, TaskError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let look = || (self.batch.arrived() == self.count).then_some(());
        self.dispatcher.wait_for(deadline, &self.batch, look)
    }
}

impl<R> fmt::Debug for AsyncResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("tasks", &self.count).finish_non_exhaustive()
    }
}

/// An iterator over results as they arrive, of [`Pool::imap`](super::Pool::imap) and
/// [`Pool::imap_unordered`](super::Pool::imap_unordered). Its `next` blocks only the current green thread.
///
/// Source: Python's `IMapIterator`, which takes all items at once and keeps all results.
pub struct Results<R> {
    dispatcher: Arc<Dispatcher>,
    batch: Arc<Batch>,
    /// The calls that were not sent; `None` after the last one.
    calls: Option<Box<dyn Iterator<Item = Result<EncodedCalls, TaskError>>>>,
    /// The next of them, if there was no space for it.
    unsent: Option<EncodedCalls>,
    /// The most calls that are in flight at once.
    window: usize,
    sent: usize,
    taken: usize,
    /// Why no more calls are sent: the last result.
    failed: Option<TaskError>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Results<R> {
    pub(super) fn new(
        dispatcher: Arc<Dispatcher>,
        batch: Arc<Batch>,
        calls: Box<dyn Iterator<Item = Result<EncodedCalls, TaskError>>>,
        window: usize,
    ) -> Results<R> {
        let mut results = Results {
            dispatcher,
            batch,
            calls: Some(calls),
            unsent: None,
            window,
            sent: 0,
            taken: 0,
            failed: None,
            result: PhantomData,
        };
        results.send_more(Some(Instant::now()));
        results
    }

    /// Sends as many calls as may be in flight and as there is space for. Waits for space, until the deadline, only if there
    /// is no result to wait for.
    fn send_more(&mut self, deadline: Option<Instant>) {
        // A result that is about to be taken is not in flight any more.
        let window = self.window + usize::from(self.batch.is_ready());
        while self.calls.is_some() && self.sent - self.taken < window {
            let until = if self.sent > self.taken { Some(Instant::now()) } else { deadline };
            match self.send_next(until) {
                Ok(true) => self.sent += 1,
                Ok(false) => return,
                Err(error) => (self.failed, self.calls) = (error, None),
            }
        }
    }

    /// Sends the next call. Returns `false` if there was no space for it.
    ///
    /// Errors: there are no more calls (`None`), or the call cannot be sent.
    fn send_next(&mut self, until: Option<Instant>) -> Result<bool, Option<TaskError>> {
        if self.unsent.is_none() {
            self.unsent = Some(self.calls.as_mut().and_then(Iterator::next).ok_or(None)??);
        }
        Ok(self.dispatcher.send(&mut self.unsent, &self.batch, self.sent, until)?)
    }

    /// [`next`](Iterator::next), with a time limit. A zero timeout does not wait.
    ///
    /// # Errors
    /// The next result has not arrived.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<R, TaskError>>, TimedOut> {
        self.next_until(Instant::now().checked_add(timeout))
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Result<Option<Result<R, TaskError>>, TimedOut> {
        self.send_more(deadline);
        if self.taken == self.sent {
            return if self.calls.is_none() { Ok(self.failed.take().map(Err)) } else { Err(TimedOut) };
        }
        match self.dispatcher.wait_for(deadline, &self.batch, || self.batch.is_ready().then_some(())) {
            Err(error) => {
                (self.taken, self.calls) = (self.sent, None);
                return Ok(Some(Err(error)));
            }
            Ok(None) => return Err(TimedOut),
            // The user's iterator is called before the result is taken. If it panics, no result is lost.
            Ok(Some(())) => self.send_more(deadline),
        }
        self.taken += 1;
        Ok(self.batch.take().map(decode))
    }
}

impl<R: DeserializeOwned> Iterator for Results<R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Result<R, TaskError>> {
        self.next_until(None).expect("a wait without a deadline does not time out")
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

/// No result has arrived in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no result has arrived in time")
    }
}

impl std::error::Error for TimedOut {}
