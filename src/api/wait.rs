//! Park and wake: the one way to block. A green thread parks with a deadline and is woken by ticket.
//!
//! Every blocking call of this crate is built on it, and yours should be, too. A waiter takes a [`ticket`], stores it where
//! the waker will find it, and [`park`]s. The waker calls [`Ticket::wake`]. A ticket is good for one park. Once the green
//! thread has gone on, for any reason, the ticket is stale: waking by it does nothing, and returns `false`. So stale tickets
//! may stay in lists.
//!
//! A wake-up before the park is not lost: the park then returns at once. If `wake` returns `true`, the waiter gets
//! [`WaitResult::Notified`], even if a kill or a deadline comes at the same moment. So a value that was handed over with the
//! wake-up is not lost either.
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
//! Next: `api/join.rs`, a wait that is built on it.
//!
//! Source: the single blocking primitive of libdill; tickets with generations as in Go's netpoll.

pub use crate::ids::{Ticket, WaitResult};

use crate::api::current_hub::current_hub;
use crate::hub::try_current;
use crate::ids::WaitReason;
use crate::time::NEVER;
use std::time::Instant;

impl Ticket {
    /// Makes the green thread ready. Returns `false` if it was woken before, has gone on, or its hub is gone.
    pub fn wake(self) -> bool {
        try_current().is_some_and(|hub| hub.wake(self))
    }
}

/// Returns a ticket for the next park of the running green thread.
pub fn ticket() -> Ticket {
    current_hub().ticket()
}

/// Parks the running green thread until its `ticket` is used, or `deadline` has passed. With `None` it waits for ever.
/// `what` names in reports what it waits for: "a channel to have room".
///
/// An earlier ticket for the same park may also end it. So call `park` in a loop that checks the condition.
///
/// # Panics
/// If `ticket` belongs to another green thread. On the root, if nothing can ever wake the hub: see
/// [`deadlock`](crate#deadlock). Unwinds if the green thread is killed or a timeout around the call fires.
#[track_caller]
pub fn park(ticket: Ticket, deadline: Option<Instant>, what: &'static str) -> WaitResult {
    let hub = current_hub();
    let deadline = deadline.map_or(NEVER, |instant| hub.clock().at(instant));
    hub.block(ticket, deadline, WaitReason::For(what))
}
