//! Scheduling policies: which ready green thread runs next.
//!
//! A [`Policy`] learns which green threads become ready, and picks the next one to run. Two methods suffice. A policy
//! that needs more (time slices, priorities, tickets, deadlines) overrides the defaulted methods. A policy never sees
//! a stack or a file descriptor. [`Fifo`] is the default. The hub calls it directly, so that custom policies cost
//! nothing where none is installed.
//!
//! Next: `policy/traits.rs`, what a policy has to implement.
//!
//! ```
//! use greenline::{GreenId, policy::{Policy, ReadyReason}};
//!
//! /// The last to become ready runs first.
//! #[derive(Default)]
//! struct Lifo(Vec<GreenId>);
//!
//! impl Policy for Lifo {
//!     fn ready(&mut self, green: GreenId, _: ReadyReason) {
//!         self.0.push(green);
//!     }
//!     fn pick(&mut self) -> Option<GreenId> {
//!         self.0.pop()
//!     }
//! }
//!
//! greenline::install_policy(Lifo::default());
//! let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
//! let all: Vec<_> = (0..3)
//!     .map(|n| {
//!         let order = order.clone();
//!         greenline::spawn(move || order.borrow_mut().push(n))
//!     })
//!     .collect();
//! greenline::join_all(all);
//! assert_eq!(*order.borrow(), [2, 1, 0]);
//! ```

mod fifo;
mod run_queue;
mod traits;

pub use fifo::Fifo;
pub(crate) use run_queue::{Custom, RunQueue};
pub use traits::{Attributes, Policy, ReadyReason, StopReason};
