//! The signal subscriptions of one hub.
//!
//! Next: `hub/signals.rs`, which serves them.

use crate::sys::signal_handler;
use libc::c_int;
use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;

#[derive(Default)]
pub(super) struct Subscriptions {
    pub(super) list: RefCell<Vec<Subscriber>>,
    /// Whether the list is not empty. While it is not, the reactor listens to the eventfd of the signal handler.
    pub(super) any: Cell<bool>,
    /// The handler's count of all signals at the last look.
    pub(super) seen_total: Cell<u32>,
}

#[derive(Clone)]
pub(super) struct Subscriber {
    pub(super) number: u64,
    pub(super) signal: c_int,
    /// The handler's count of the signal at the last look.
    pub(super) seen: u32,
    pub(super) body: Rc<dyn Fn()>,
    pub(super) subscribed_at: &'static Location<'static>,
}

impl Subscriber {
    /// Returns how often the signal was delivered since the last call.
    pub(super) fn take_new(&mut self) -> u32 {
        let now = signal_handler::count(self.signal);
        now.wrapping_sub(std::mem::replace(&mut self.seen, now))
    }
}
