//! A time limit around anything that blocks.

use crate::api::current_hub::current_hub;
use crate::green::{Interrupt, carried_by};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// Calls `f`, and interrupts it at a blocking call of greenline when `limit` is over.
///
/// Only blocking calls are interrupted, the one it is in or the next one; code that does not block is not,
/// and then `f`'s value is answered, however late. What `f` was doing unwinds, so its destructors run.
/// Timeouts nest: the nearest deadline fires, whichever level it belongs to, and each level answers only its
/// own. Code in `f` that catches the unwind goes on without a limit.
///
/// # Errors
/// [`Elapsed`]: the time was over first.
///
/// # Panics
/// When `f` does: its panic goes through.
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

/// A [`timeout`] was over before what it limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(Duration);

impl Elapsed {
    /// The limit that was over.
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
