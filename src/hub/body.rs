//! A green thread's body: from the closure that was spawned to the job that a context runs.

use super::hub;
use crate::context::Job;
use crate::green::{Interrupt, JoinError, Outcome, carried_by};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The job that runs `f` and notes what became of it. For a body without captures that returns nothing,
/// neither box allocates.
#[inline]
pub(crate) fn job<F, T>(f: F) -> Job
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Box::new(move || {
        let outcome = if hub().killed_at_start() {
            drop_quietly(f);
            Outcome::Killed
        } else {
            match catch(f) {
                Ok(value) => Outcome::Returned(Box::new(value)),
                Err(JoinError::Killed) => Outcome::Killed,
                Err(JoinError::Panicked(payload)) => Outcome::Panicked(payload),
                Err(_) => unreachable!("a body that ran returned, panicked or was killed"),
            }
        };
        end(outcome);
    })
}

/// The job of a green thread for whose body there is no stack.
pub(super) fn unrunnable(body: Job, error: std::io::Error) -> Job {
    Box::new(move || {
        drop_quietly(body);
        end(Outcome::NoStack(error));
    })
}

/// Calls `f`; what it throws is its result.
#[inline]
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, JoinError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| match carried_by(&*payload) {
        Some(Interrupt::Kill) => JoinError::Killed,
        _ => JoinError::Panicked(payload),
    })
}

/// Drops `value`, whose destructor may block, and may panic without harm but the report on stderr.
#[inline]
fn drop_quietly<V>(value: V) {
    let _ = catch(|| drop(value));
}

/// The last things done on a green thread's stack: its locals go, and an outcome that nobody wants.
#[inline]
fn end(outcome: Outcome) {
    let hub = hub();
    let (mut detached, has_extras) = hub.at_end();
    if has_extras {
        drop_locals();
        (detached, _) = hub.at_end();
    }
    if detached {
        drop_quietly(outcome);
        hub.finish(Outcome::Killed);
    } else {
        hub.finish(outcome);
    }
}

#[cold]
fn drop_locals() {
    // One that panics must not keep the others from being dropped.
    // And dropping one may make another.
    while catch(|| {
        while let Some(value) = hub().take_local() {
            drop(value)
        }
    })
    .is_err()
    {}
}
