//! The one way to block: park with a deadline, be woken by ticket.
//!
//! Everything that blocks in this crate is built on it, and what you add should be too. A waiter takes a
//! [`ticket`], leaves it where whoever can help will find it, and [`park`]s; that other one calls
//! [`Ticket::wake`]. A ticket is good for one park: once the green thread has gone on, for whatever reason,
//! waking by it does nothing and says so. So nobody has to take tickets out of lists in time.
//!
//! Waking before the park is not lost: the park then returns at once. A wake-up that answers `true` reaches
//! the waiter as [`WaitResult::Notified`], even if a kill or a deadline comes in the same moment; so whatever was
//! handed over with it is not lost either.
//!
//! ```
//! use greenline::wait::{self, Ticket, WaitResult};
//! use std::{cell::RefCell, rc::Rc};
//!
//! /// A gate: closed until it is opened, then open.
//! #[derive(Default)]
//! struct Gate { open: std::cell::Cell<bool>, waiting: RefCell<Vec<Ticket>> }
//!
//! impl Gate {
//!     fn pass(&self) {
//!         while !self.open.get() {
//!             let ticket = wait::ticket();
//!             self.waiting.borrow_mut().push(ticket);
//!             wait::park(ticket, None, "a gate");
//!         }
//!     }
//!     fn open(&self) {
//!         self.open.set(true);
//!         self.waiting.take().into_iter().for_each(|ticket| { ticket.wake(); });
//!     }
//! }
//!
//! let gate = Rc::new(Gate::default());
//! let inside = gate.clone();
//! let walker = greenline::spawn(move || inside.pass());
//! greenline::yield_now();
//! assert!(!walker.is_finished());
//! gate.open();
//! walker.join().unwrap();
//! ```
//!
//! Source: the single blocking primitive of libdill; tickets with generations as in Go's netpoll.

pub use crate::ids::{Ticket, WaitResult};

use crate::api::current_hub::current_hub;
use crate::hub::try_current;
use crate::ids::WaitReason;
use crate::time::NEVER;
use std::time::Instant;

impl Ticket {
    /// Makes the green thread ready again. Answers whether this was the wake-up that did it; `false` when
    /// it has been woken already, or has gone on, or its hub is gone.
    pub fn wake(self) -> bool {
        try_current().is_some_and(|hub| hub.wake(self))
    }
}

/// A ticket for the next park of the current green thread.
pub fn ticket() -> Ticket {
    current_hub().ticket()
}

/// Blocks the current green thread until its `ticket` is used or `deadline` has passed; `None` waits for
/// ever. `what` says what is waited for, in reports: "a channel to have room".
///
/// May also return because of an earlier ticket of the same park, so wait in a loop that looks at what was
/// waited for.
///
/// # Panics
/// When `ticket` belongs to another green thread. On the root, when nothing can ever wake the hub: see
/// [`deadlock`](crate#deadlock). Unwinds when the green thread is killed or a timeout around it fires.
#[track_caller]
pub fn park(ticket: Ticket, deadline: Option<Instant>, what: &'static str) -> WaitResult {
    let hub = current_hub();
    let deadline = deadline.map_or(NEVER, |instant| hub.clock().at(instant));
    hub.block(ticket, deadline, WaitReason::For(what))
}
