//! Observing what a hub does: one function is called for every event.
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
//!
//! Next: `hub/observer.rs`.

use super::current_hub::current_hub;
pub use crate::hub::Event;

/// Calls `observer` for every event of this OS thread's hub. Replaces an earlier observer. The hub calls it in the middle of
/// scheduling, so it must not block. An observer that panics is not called again.
pub fn observe(observer: impl FnMut(Event) + 'static) {
    current_hub().observe(Some(Box::new(observer)));
}

/// Removes the observer.
pub fn stop_observing() {
    current_hub().observe(None);
}
