//! A green thread's body: from the closure that was spawned to the job that a context runs.

use super::current;
use crate::context::Body;
use crate::green::{Interrupt, JoinError, Outcome, carried_by};
use crate::ids::GreenId;
use crate::tls::{has_tls_destructors, run_destructors};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The job that runs `f` and notes what became of it. For a body without captures that returns nothing,
/// neither box allocates.
#[inline]
pub(crate) fn job<F, T>(f: F) -> Body
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Box::new(move || {
        let outcome = if current().killed_at_start() {
            drop_ignoring_panics(f);
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
pub(super) fn unrunnable(body: Body, error: std::io::Error) -> Body {
    Box::new(move || {
        drop_ignoring_panics(body);
        end(Outcome::NoStack(error));
    })
}

/// Calls `f`; what it throws is its result.
#[inline]
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, JoinError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| match carried_by(&*payload) {
        Some(Interrupt::Kill | Interrupt::Exit) => JoinError::Killed,
        _ => JoinError::Panicked(payload),
    })
}

/// Drops `value`, whose destructor may block, and may panic without harm but the report on stderr.
#[inline]
pub(crate) fn drop_ignoring_panics<V>(value: V) {
    if let Err(thrown) = catch(|| drop(value)) {
        // So may that of what it threw; but not for ever.
        if let Err(again) = catch(|| drop(thrown)) {
            std::mem::forget(again);
        }
    }
}

/// How often the locals are dropped that were made while others were, before they are left.
const ROUNDS: u32 = 1000;

/// The last things done on a green thread's stack: its locals go, and an outcome that nobody wants, and the
/// thread-locals that are its own. Any of them may bring about more of the others.
#[inline]
pub(crate) fn end(outcome: Outcome) {
    let hub = current();
    if hub.current() == GreenId::ROOT {
        end_of_a_fork(&outcome);
    }
    let (detached, has_extras) = hub.end_requirements();
    if !detached && !has_extras && !has_tls_destructors() {
        return hub.finish(outcome);
    }
    end_slowly(outcome);
}

/// Destroys the thread-locals that there are by now. Answers whether there were any.
fn end_locals(hub: &super::Hub) -> bool {
    if !has_tls_destructors() {
        return false;
    }
    hub.begin_ending();
    run_destructors()
}

/// A green thread has forked, and its body has ended in the child, where it is the only thread: then, as C has it, the
/// process ends.
#[cold]
fn end_of_a_fork(outcome: &Outcome) -> ! {
    std::process::exit(if matches!(outcome, Outcome::Panicked(_)) { 101 } else { 0 })
}

#[cold]
fn end_slowly(outcome: Outcome) {
    let hub = current();
    let mut outcome = Some(outcome);
    for _ in 0..ROUNDS {
        if let Some(local) = hub.take_local() {
            drop_ignoring_panics(local);
        } else if outcome.is_some() && hub.end_requirements().0 {
            drop_ignoring_panics(outcome.take());
        } else if end_locals(hub) {
            // And those may have left locals behind.
        } else {
            break;
        }
    }
    // Of one that is detached, nobody asks what it was.
    hub.finish(outcome.unwrap_or(Outcome::Killed));
}

/// Drops the values that the root has, when its OS thread ends.
pub(super) fn drop_locals_of_root() {
    for _ in 0..ROUNDS {
        match current().take_local() {
            Some(local) => drop_ignoring_panics(local),
            None => return,
        }
    }
}
