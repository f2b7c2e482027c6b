//! Kill and timeout: interrupts of a green thread from outside.
//!
//! Both only set a flag and, if the green thread is parked, wake it. The green thread itself throws, when it reaches a
//! blocking call or returns from one: an unwind that carries an [`Interrupt`]. Destructors run, the panic hook does not. So
//! no computation is ever interrupted in the middle, and code that catches the unwind goes on until it blocks again.
//!
//! **Rules.** (1) An interrupt is delivered once. (2) It is not delivered while the green thread unwinds, so a second kill
//! cannot break the cleanup that the first one caused; it waits for the next blocking call after that. (3) Of several
//! expired timeouts, the one with the nearest deadline is delivered.
//!
//! Next: `green/panic_count.rs`.

use crate::time::Time;
use std::any::Any;

/// The payload of an interrupting unwind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    Kill,
    /// The timeout with this number, see `api/timeout.rs`.
    Timeout(u64),
    /// `pthread_exit`: the green thread throws it by itself, nothing requests it.
    Exit,
}

/// Whether a kill or a timeout ends a park.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruptible {
    Yes,
    No,
}

/// A `timeout(...)` that a green thread is inside of.
pub(crate) struct TimeoutScope {
    pub(crate) number: u64,
    pub(crate) deadline: Time,
    /// The deadline has passed.
    pub(crate) fired: bool,
    /// The interrupt was thrown.
    pub(crate) delivered: bool,
}

impl TimeoutScope {
    pub(crate) fn is_pending(&self) -> bool {
        self.fired && !self.delivered
    }
}

/// Returns the interrupt that a caught unwind has carried, if it was one.
pub(crate) fn carried_by(payload: &(dyn Any + Send)) -> Option<Interrupt> {
    payload.downcast_ref::<Interrupt>().copied()
}
