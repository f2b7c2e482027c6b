//! The events that a hub reports to its observer.
//!
//! Next: `hub/observer.rs`, which calls the observer.

use crate::ids::GreenId;

/// Something that happened to a green thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The green thread was spawned.
    Spawn(GreenId),
    /// The green thread was parked or delayed and became ready.
    Ready(GreenId),
    /// The green thread runs from now on.
    Run(GreenId),
    /// The green thread is parked from now on.
    Park(GreenId),
    /// The green thread's body has returned, panicked or was killed.
    Finish(GreenId),
}
