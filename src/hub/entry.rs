//! A green thread's body: from the closure that was spawned to the job that a context runs.

use super::current::expect_current;
use super::fields::Hub;
use crate::context::Body;
use crate::green::{JoinError, Outcome, catch_body};
use crate::ids::GreenId;
use crate::sys::catch::drop_ignoring_panics;
use crate::tls::{has_tls_destructors, run_destructors};

/// The job that runs `f` and notes what became of it. For a body without captures that returns nothing,
/// neither box allocates.
#[inline]
pub(crate) fn entry_closure<F, T>(f: F) -> Body
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Box::new(move || {
        let outcome = if expect_current().killed_at_start() {
            drop_ignoring_panics(f);
            Outcome::Killed
        } else {
            match catch_body(f) {
                Ok(value) => Outcome::Returned(Box::new(value)),
                Err(JoinError::Killed) => Outcome::Killed,
                Err(JoinError::Panicked(payload)) => Outcome::Panicked(payload),
                Err(_) => unreachable!("a body that ran returned, panicked or was killed"),
            }
        };
        finish_current(outcome);
    })
}

/// The job of a green thread for whose body there is no stack.
pub(super) fn unrunnable(body: Body, error: std::io::Error) -> Body {
    Box::new(move || {
        drop_ignoring_panics(body);
        finish_current(Outcome::NoStack(error));
    })
}

/// How often the locals are dropped that were made while others were, before they are left.
const ROUNDS: u32 = 1000;

/// The last things done on a green thread's stack: its locals go, and an outcome that nobody wants, and the
/// thread-locals that are its own. Any of them may bring about more of the others.
#[inline]
pub(crate) fn finish_current(outcome: Outcome) {
    let hub = expect_current();
    if hub.current() == GreenId::ROOT {
        end_of_a_fork(&outcome);
    }
    let (detached, has_extras) = hub.end_requirements();
    if !detached && !has_extras && !has_tls_destructors() {
        return hub.finish(outcome);
    }
    finish_with_destructors(outcome);
}

/// Destroys the thread-locals that there are by now. Answers whether there were any.
fn end_locals(hub: &Hub) -> bool {
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
fn finish_with_destructors(outcome: Outcome) {
    let hub = expect_current();
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
        match expect_current().take_local() {
            Some(local) => drop_ignoring_panics(local),
            None => return,
        }
    }
}
