//! Kill and timeout: what is thrown into a green thread from outside.
//!
//! Both only set a flag and, if the green thread is parked, wake it. It is the green thread itself that
//! throws, when it comes back from (or reaches) a blocking call, as an unwind that carries an
//! [`Interrupt`]: destructors run, the panic hook does not. So nothing is ever interrupted in the middle
//! of a computation, and code that swallows the unwind by `catch_unwind` goes on until it blocks again.
//!
//! Rules: an interrupt is delivered once. It is not delivered while the green thread unwinds, so that a
//! second kill cannot break the cleanup that the first one caused; it waits for the next blocking call
//! after that. Of several timeouts that are due, the one with the nearest deadline is delivered.

use crate::time::Time;
use std::any::Any;

/// What an interrupting unwind carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    Kill,
    /// The timeout with this number, see `timeout.rs`.
    Timeout(u64),
    /// By itself: `pthread_exit`. Only ever thrown, never asked for.
    Exit,
}

/// One `timeout(...)` that a green thread is inside of.
pub(crate) struct TimeoutScope {
    pub(crate) number: u64,
    pub(crate) deadline: Time,
    pub(crate) fired: bool,
    pub(crate) delivered: bool,
}

impl TimeoutScope {
    pub(crate) fn is_pending(&self) -> bool {
        self.fired && !self.delivered
    }
}

/// The interrupt that a caught unwind carried, if it was one.
pub(crate) fn carried_by(payload: &(dyn Any + Send)) -> Option<Interrupt> {
    payload.downcast_ref::<Interrupt>().copied()
}
