//! The handles of callers: a result, or an iterator over results.
//!
//! Next: `queue.rs`, another object that processes share.

use super::batch::{Batch, Outcome};
use super::dispatcher::{Dispatcher, InFlight};
use super::task::{EncodedCalls, codec_error};
use super::task_error::TaskError;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes a result from the outcomes of a batch.
pub(super) type Assemble<R> = fn(&Batch) -> Result<R, TaskError>;

/// Decodes what `run_call` of `task.rs` or `TaskError::encode` has encoded.
fn decode<R: DeserializeOwned>(outcome: Outcome) -> Result<R, TaskError> {
    postcard::from_bytes(&outcome?).map_err(codec_error("the result cannot be decoded"))?
}

/// Returns the result of a batch with one call.
pub(super) fn one<R: DeserializeOwned>(batch: &Batch) -> Result<R, TaskError> {
    decode(batch.take().expect("the batch has one call"))
}

/// Returns all results, or the first error.
pub(super) fn all<R: DeserializeOwned>(batch: &Batch) -> Result<Vec<R>, TaskError> {
    std::iter::from_fn(|| batch.take()).map(decode).collect()
}

/// The result of tasks that were sent to a [`Pool`](super::Pool). Dropping the handle does not cancel them.
///
/// Source: Python's `AsyncResult`.
#[must_use = "the result and all errors are in it"]
pub struct AsyncResult<R> {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) batch: Arc<Batch>,
    pub(super) count: usize,
    /// Why not all tasks were sent.
    pub(super) failed: Option<TaskError>,
    pub(super) assemble: Assemble<R>,
}

impl<R> AsyncResult<R> {
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
            Ok(Some(())) => Ok((self.assemble)(&self.batch)),
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
        let look = |_: &mut InFlight| (self.batch.arrived() == self.count).then_some(());
        self.dispatcher.wait(deadline, Some(&self.batch), look)
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
    /// The calls that were not sent. When no more are sent: the last result, if it is an error that is still to be returned.
    calls: Result<Calls, Option<TaskError>>,
    /// The next of them, if there was no space for it.
    unsent: Option<EncodedCalls>,
    /// The most calls that are in flight at once.
    window: usize,
    sent: usize,
    taken: usize,
    result: PhantomData<fn() -> R>,
}

type Calls = Box<dyn Iterator<Item = Result<EncodedCalls, TaskError>>>;

impl<R: DeserializeOwned> Results<R> {
    pub(super) fn new(
        dispatcher: Arc<Dispatcher>,
        batch: Arc<Batch>,
        calls: Calls,
        window: usize,
    ) -> Results<R> {
        let mut results = Results {
            dispatcher,
            batch,
            calls: Ok(calls),
            unsent: None,
            window,
            sent: 0,
            taken: 0,
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
        while self.calls.is_ok() && self.sent - self.taken < window {
            let until = if self.sent > self.taken { Some(Instant::now()) } else { deadline };
            match self.send_next(until) {
                Ok(true) => self.sent += 1,
                Ok(false) => return,
                Err(last) => self.calls = Err(last),
            }
        }
    }

    /// Sends the next call. Returns `false` if there was no space for it.
    ///
    /// Errors: there are no more calls (`None`), or the call cannot be sent.
    fn send_next(&mut self, until: Option<Instant>) -> Result<bool, Option<TaskError>> {
        if let (Ok(calls), None) = (&mut self.calls, &self.unsent) {
            self.unsent = Some(calls.next().ok_or(None)??);
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
            return self.calls.as_mut().map_or_else(|last| Ok(last.take().map(Err)), |_| Err(TimedOut));
        }
        let look = |_: &mut InFlight| self.batch.is_ready().then_some(());
        match self.dispatcher.wait(deadline, Some(&self.batch), look) {
            Err(error) => {
                (self.taken, self.calls) = (self.sent, Err(None));
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
