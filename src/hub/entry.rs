//! The first and the last function on a green thread's stack: they turn a closure into the body that a context runs, and
//! finish the green thread.
//!
//! Next: `hub/wait_fd.rs`.

use super::current::expect_current;
use super::fields::Hub;
use crate::context::Body;
use crate::green::{Interrupt, JoinError, Outcome, catch_body};
use crate::ids::GreenId;
use crate::sys::catch::drop_ignoring_panics;
use crate::tls::{has_tls_destructors, run_destructors};
use std::any::Any;

/// Returns the body that runs `f` and stores its outcome. If `f` captures nothing and returns nothing, neither box allocates.
#[inline]
pub(crate) fn entry_closure<F, T>(f: F) -> Body
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Box::new(move || {
        let hub = expect_current();
        // A kill before the first run is delivered by that.
        let is_killed = hub.is_interrupted() && hub.take_interrupt() == Some(Interrupt::Kill);
        let outcome = if is_killed {
            drop_ignoring_panics(f);
            Err(JoinError::Killed)
        } else {
            catch_body(f).map(|value| Box::new(value) as Box<dyn Any>)
        };
        finish_current(outcome);
    })
}

/// Returns the body of a green thread that has no stack: it drops `body`, and its outcome is the error.
pub(super) fn drop_body(body: Body, error: std::io::Error) -> Body {
    Box::new(move || {
        drop_ignoring_panics(body);
        finish_current(Err(JoinError::NoStack(error)));
    })
}

/// Number of values that are dropped at the end of a green thread. A value whose destructor makes another one would never end
/// it.
const MAX_DROPS: u32 = 1000;

/// Finishes the running green thread. Drops its green-thread locals, its outcome if it is detached, and its own
/// thread-locals. The destructors of each may make more of the others.
#[inline]
pub(crate) fn finish_current(outcome: Outcome) {
    let hub = expect_current();
    if hub.current() == GreenId::ROOT {
        exit_forked_child(&outcome);
    }
    let (is_detached, has_locals) = hub.is_detached_and_has_locals();
    if !is_detached && !has_locals && !has_tls_destructors() {
        return hub.finish(outcome);
    }
    finish_with_destructors(outcome);
}

/// Runs the destructors of the green thread's own thread-locals. Returns whether there were any.
fn run_tls_destructors(hub: &Hub) -> bool {
    if !has_tls_destructors() {
        return false;
    }
    hub.begin_tls_destructors();
    run_destructors()
}

/// Exits the child of a green thread that has forked: its body has ended there, and it is the child's only thread. C says that
/// the process then exits.
#[cold]
fn exit_forked_child(outcome: &Outcome) -> ! {
    std::process::exit(if matches!(outcome, Err(JoinError::Panicked(_))) { 101 } else { 0 })
}

#[cold]
fn finish_with_destructors(outcome: Outcome) {
    let hub = expect_current();
    let mut outcome = Some(outcome);
    for _ in 0..MAX_DROPS {
        if let Some(local) = hub.take_local() {
            drop_ignoring_panics(local);
        } else if outcome.is_some() && hub.is_detached_and_has_locals().0 {
            drop_ignoring_panics(outcome.take());
        } else if run_tls_destructors(hub) {
            // The destructors may have made green-thread locals.
        } else {
            break;
        }
    }
    // The outcome of a detached green thread is never taken, so any value does.
    hub.finish(outcome.unwrap_or(Err(JoinError::Killed)));
}

/// Drops the root's green-thread locals, when its OS thread ends.
pub(super) fn drop_locals_of_root() {
    let locals = (0..MAX_DROPS).map_while(|_| expect_current().take_local());
    locals.for_each(drop_ignoring_panics);
}
