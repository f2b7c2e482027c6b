//! Time: what the hub's clock says, and who is to be woken when.
//!
//! Inside the crate a point in time is a [`Time`], nanoseconds on the hub's clock; deadlines are absolute
//! everywhere. Leaves to others: waiting (`reactor`), and what a due timer does (`hub`).

mod clock;
mod timers;

pub(crate) use clock::{Clock, MonotonicClock, NEVER, Time};
pub(crate) use timers::Timers;
