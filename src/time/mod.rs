//! Time: the clock of a hub, and its timers.
//!
//! Inside the crate a point in time is a [`Time`], in nanoseconds of the hub's clock. All deadlines are absolute. Waiting
//! is done by `reactor`, and what an expired timer does by `hub`.
//!
//! Next: `time/clock.rs`, the clock.

mod clock;
mod timers;

pub(crate) use clock::{Clock, MonotonicClock, NEVER, Time};
pub(crate) use timers::Timers;
