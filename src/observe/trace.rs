//! The one place where what a hub does can be watched.
//!
//! ```
//! use std::{cell::Cell, rc::Rc};
//! let runs = Rc::new(Cell::new(0));
//! let count = runs.clone();
//! greenline::trace::observe(move |event| {
//!     if let greenline::trace::Event::Run(_) = event {
//!         count.set(count.get() + 1);
//!     }
//! });
//! greenline::spawn(greenline::yield_now).join().unwrap();
//! assert!(runs.get() >= 2);
//! ```

use crate::ids::GreenId;

/// Something that happened to a green thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It was made.
    Spawn(GreenId),
    /// It waited, and became ready to run.
    Ready(GreenId),
    /// It runs from now on.
    Run(GreenId),
    /// It waits from now on.
    Park(GreenId),
    /// Its body has ended, in one way or another.
    Finish(GreenId),
}

/// Calls `observer` for every event of this OS thread's hub, in place of an earlier observer. The observer
/// is called in the middle of scheduling: it must not block, and one that panics is called no more.
pub fn observe(observer: impl FnMut(Event) + 'static) {
    crate::hub::current().observe(Some(Box::new(observer)));
}

/// Ends the calls.
pub fn stop_observing() {
    crate::hub::current().observe(None);
}
