//! Who runs next.
//!
//! A [`Policy`] is told which green threads became ready and asked which of them runs next: two verbs. It
//! never sees a stack, a file descriptor or a clock. [`Fifo`] is the default, and the hub calls it
//! directly, so that a policy one does not use costs nothing.
//!
//! Called by `hub`; calls nobody. Read next: `policy/fifo.rs`.
//!
//! ```
//! use greenline::{GreenId, policy::{self, Policy, ReadyReason}};
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
//! policy::install(Lifo::default());
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

use crate::ids::GreenId;
use crate::sys::abort::AbortOnUnwind;
pub use fifo::Fifo;

/// Chooses the next green thread to run.
///
/// Every id given by `ready` must be answered by `pick` once, some time; an id that is not ready, or is
/// answered twice, is passed over by the hub with a warning in the log. Neither verb may block, spawn, or
/// call into greenline otherwise; one that panics aborts the process, for those who are suspended count on it. Nor may
/// they rely on a `thread_local!`: they are called with those of whoever runs.
///
/// Source: the two verbs of Boost.Fiber's `algo` (`awakened`, `pick_next`).
pub trait Policy {
    /// `green` became ready to run, and why. The root (the OS thread's own stack) is among those that do.
    fn ready(&mut self, green: GreenId, why: ReadyReason);

    /// Takes out the one that runs next; `None` when nobody is ready.
    fn pick(&mut self) -> Option<GreenId>;
}

/// Why a green thread became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyReason {
    /// It was just spawned.
    New,
    /// It gave way to the others.
    Yielded,
    /// What it waited for came, or it is to be interrupted.
    Woken,
    /// Its time has come: the end of a sleep, of a wait with a deadline, of a delay.
    Expired,
}

/// The policy in use. FIFO without an indirect call, anything else through one.
pub(crate) enum RunQueue {
    Fifo(Fifo),
    Other(Box<dyn Policy>),
}

impl RunQueue {
    #[inline]
    pub(crate) fn ready(&mut self, green: GreenId, why: ReadyReason) {
        match self {
            RunQueue::Fifo(fifo) => fifo.ready(green, why),
            RunQueue::Other(policy) => {
                // Who is ready and not in line never runs again.
                let guard = AbortOnUnwind("a policy panicked");
                policy.ready(green, why);
                guard.disarm();
            }
        }
    }

    #[inline]
    pub(crate) fn pick(&mut self) -> Option<GreenId> {
        match self {
            RunQueue::Fifo(fifo) => fifo.pick(),
            RunQueue::Other(policy) => policy.pick(),
        }
    }

    /// Whether it is code of the program's that chooses.
    #[inline]
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, RunQueue::Other(_))
    }

    /// How many are ready; 0 if that is not known.
    pub(crate) fn len(&self) -> usize {
        match self {
            RunQueue::Fifo(fifo) => fifo.len(),
            RunQueue::Other(_) => 0,
        }
    }

    /// Those who will run so many picks `ahead`, if that is known and what they have left is likely to be far away.
    #[inline]
    pub(crate) fn soon<const N: usize>(&self, ahead: [usize; N], cold: bool) -> [Option<GreenId>; N] {
        match self {
            RunQueue::Fifo(fifo) => fifo.soon(ahead, cold),
            RunQueue::Other(_) => [None; N],
        }
    }

    /// Puts `policy` in place; those that are ready now are handed over in the old policy's order.
    /// Answers the old one.
    pub(crate) fn replace(&mut self, mut policy: Box<dyn Policy>) -> RunQueue {
        while let Some(green) = self.pick() {
            policy.ready(green, ReadyReason::Yielded);
        }
        std::mem::replace(self, RunQueue::Other(policy))
    }
}

/// Makes this OS thread's hub choose by `policy` from now on. Green threads that are ready already are
/// handed over to it in the order in which they would have run.
pub fn install(policy: impl Policy + 'static) {
    crate::hub::current().install(Box::new(policy));
}
