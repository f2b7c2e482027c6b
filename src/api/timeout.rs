//! A time limit around code that blocks.
//!
//! Next: `hub/interrupts.rs`, how a timeout unwinds a green thread.

use crate::api::current_hub::current_hub;
use crate::green::{Interrupt, carried_by};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// Calls `f`. When `limit` has passed, interrupts `f` at a blocking call of greenline.
///
/// Only a blocking call is interrupted, the current one or the next one. If `f` does not block any more, its value is
/// returned, however late. An interrupted `f` unwinds, so its destructors run. Timeouts nest: the earliest deadline fires,
/// and only the `timeout` call to which it belongs returns an error. If code in `f` catches the unwind, it goes on without a
/// limit.
///
/// # Errors
/// [`Elapsed`]: the limit had passed before `f` returned.
///
/// # Panics
/// If `f` panics, with its payload.
///
/// ```
/// use std::time::Duration;
/// use greenline::{sleep, timeout};
///
/// let short = timeout(Duration::from_millis(5), || sleep(Duration::from_secs(60)));
/// assert!(short.is_err());
/// assert_eq!(timeout(Duration::from_secs(60), || 42), Ok(42));
/// ```
///
/// Source: gevent's `Timeout` and `with_timeout`.
#[doc(alias = "with_timeout")]
pub fn timeout<T>(limit: Duration, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    let hub = current_hub();
    let number = hub.enter_timeout(limit);
    let result = catch_unwind(AssertUnwindSafe(f));
    hub.leave_timeout(number);
    match result {
        Ok(value) => Ok(value),
        Err(payload) if carried_by(&*payload) == Some(Interrupt::Timeout(number)) => Err(Elapsed(limit)),
        Err(payload) => resume_unwind(payload),
    }
}

/// The error of a [`timeout`] whose limit has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(Duration);

impl Elapsed {
    /// Returns the limit.
    pub fn limit(&self) -> Duration {
        self.0
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done within {:?}", self.0)
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}
