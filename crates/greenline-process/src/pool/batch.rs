//! The results of one call of `map`, `apply` or `imap`, in the parent: from their arrival until the caller takes them.
//!
//! Next: `pool/waiters.rs`, where callers wait for their batch.

use super::task_error::TaskError;
use greenline::internals::RawMutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// The outcome of one call: its encoded result, or why there is none.
pub(super) type Outcome = Result<Vec<u8>, TaskError>;

/// The order in which the outcomes of a batch are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Calls,
    Arrival,
}

/// Calls whose results are waited for together.
pub(super) struct Batch {
    order: Order,
    results: RawMutex<BatchResults>,
}

#[derive(Default)]
struct BatchResults {
    /// Number of outcomes that have arrived.
    arrived: usize,
    /// Number of outcomes that were taken.
    taken: usize,
    /// The outcomes from the next one to take on; `None` if an outcome has not arrived.
    outcomes: VecDeque<Option<Outcome>>,
}

impl Batch {
    pub(super) fn new(order: Order) -> Arc<Batch> {
        Arc::new(Batch { order, results: RawMutex::new(BatchResults::default()) })
    }

    /// Returns the number of outcomes that have arrived.
    pub(super) fn arrived(&self) -> usize {
        self.results.lock().arrived
    }

    /// Returns whether the next outcome has arrived.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.results.lock().outcomes.front(), Some(Some(_)))
    }

    /// Takes the next outcome, if it has arrived.
    pub(super) fn take(&self) -> Option<Outcome> {
        let mut results = self.results.lock();
        let outcome = results.outcomes.front_mut()?.take()?;
        results.outcomes.pop_front();
        results.taken += 1;
        Some(outcome)
    }

    /// Stores the outcome of the call with index `call`.
    pub(super) fn put(&self, call: usize, outcome: Outcome) {
        let mut results = self.results.lock();
        let nth = if self.order == Order::Arrival { results.arrived } else { call };
        results.arrived += 1;
        let at = nth - results.taken;
        if results.outcomes.len() <= at {
            results.outcomes.resize_with(at + 1, || None);
        }
        results.outcomes[at] = Some(outcome);
    }
}
