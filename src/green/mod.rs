//! The record of a green thread, and the states of a green thread.
//!
//! ```text
//!                spawn                               park
//!                  |        +-- yield_now --+     +----------> Parked
//!   Delayed        v        v               |     |               |
//!      |        (ready) ---pick---> (running) ----+               |
//!      +-- timer, ^ ^      \__ Runnable __/       |               |
//!          kill --+ |                             | the body ends |
//!                   +------- wake, timer, kill ---|---------------+
//!                                                 v
//!                                             Finished, until its outcome is taken
//! ```
//!
//! A green thread is in exactly one of these states; only the hub changes it.
//!
//! The textbook states *ready* and *running* are one value, `Runnable`. `Hub::current` tells which green thread runs, and the
//! run queue has those that are ready. Two values would cost two stores at every switch, and `yield_now` would have to load
//! the record, which it does not touch now.
//!
//! The root, the OS thread's own stack, has a record too. It is never Delayed or Finished.
//!
//! Next: `green/outcome.rs`, how a green thread ends.

mod completions;
mod interrupt;
mod outcome;
mod panic_count;

use crate::context::{ActiveContext, Body};
use crate::ids::{GreenId, ParkResult, WaitReason};
use crate::policy::Attributes;
use crate::stack::StackSize;
use crate::sys::sigset::Signals;
use crate::time::Time;
use crate::tls::Tcb;
pub(crate) use completions::Completions;
pub(crate) use interrupt::{Interrupt, Interruptible, TimeoutScope, carried_by};
pub use outcome::JoinError;
pub(crate) use outcome::Outcome;
pub use outcome::{catch_body, panic_message};
pub(crate) use panic_count::{PanicCount, prepare as prepare_panic_count};
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

/// The state of a green thread: see the picture at the top of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GreenState {
    Delayed,
    Runnable,
    Parked(Interruptible),
    Finished,
}

/// The body of a green thread, or its outcome.
pub(crate) enum BodyState {
    NotStarted(Body),
    Running,
    Finished(Outcome),
}

/// The green thread that is woken when another one has finished.
pub(crate) enum Joiner {
    None,
    /// A green thread that waits for this one alone: the parts of its ticket.
    One(GreenId, u32),
    /// A green thread that waits for several: their queue, and the index of this one.
    Several(Rc<Completions>, u32),
}

/// Fields that few green threads need. They are kept apart, so that a million sleeping green threads do not pay for them.
#[derive(Default)]
pub(crate) struct RareFields {
    pub(crate) timeouts: Vec<TimeoutScope>,
    /// Values of `green_local!` by their keys. There are few, so this is a list.
    pub(crate) locals: Vec<(*const (), Rc<dyn Any>)>,
    /// Bodies of green threads that are spawned when this one finishes.
    pub(crate) links: Vec<Body>,
    pub(crate) attributes: Option<Attributes>,
    /// Its own signal mask, if `has_mask`.
    pub(crate) mask: Signals,
    /// Signals of the mask that are blocked for all green threads, because this one waits for them.
    pub(crate) held: Signals,
}

/// The record of a green thread: everything that belongs to it and is not on its stack.
///
/// The fields that parking, waking and switching touch come first and lie in one cache line, because the record is mostly not
/// in the cache when it is needed. `Slab` marks a free entry with an invalid value (niche) of some field. That field must
/// lie in the first cache line, too. So fields after it are wrapped in `Cell`, because a `Cell` offers no niche.
#[repr(C, align(64))]
pub(crate) struct Green {
    pub(crate) id: GreenId,
    /// Its context; `None` before its first run, after its last, and for the root.
    pub(crate) context: Option<ActiveContext>,
    /// The thread control block that is loaded while it runs: its own, or the OS thread's.
    pub(crate) tcb: Tcb,

    // Every park and wake touches these fields.
    /// The reason of its park.
    pub(crate) wait: WaitReason,
    /// Number of parks that have ended; a ticket of an earlier epoch is stale.
    pub(crate) epoch: u32,
    pub(crate) state: GreenState,
    /// The result of its park, from the wake-up until the park returns.
    pub(crate) park_result: Option<ParkResult>,
    /// Whether a kill or a timeout is to be delivered.
    pub(crate) interrupted: bool,
    /// Whether it is inside of a timeout, which may have expired.
    pub(crate) has_timeouts: bool,
    /// Distance in cache lines from its context down to its stack pointer at its last park: see `hub/prefetch.rs`.
    pub(crate) stack_depth: u16,
    /// Whether its signal mask differs from the root's: see `hub/green_sigmask.rs`.
    pub(crate) has_mask: bool,

    // The fields from here on are used less often.
    /// Whether a kill is to be delivered: see `green/interrupt.rs`.
    pub(crate) killed: bool,
    /// Whether an interposed call has returned early for the pending interrupt; the next calls do not.
    pub(crate) interrupt_consumed: bool,
    /// Whether the destructors of its thread-locals run. They must not unwind, so it cannot be killed any more.
    pub(crate) running_tls_destructors: bool,
    /// Whether its outcome is dropped when it finishes: no handle will take it.
    pub(crate) detached: bool,
    pub(crate) stack_size: StackSize,
    pub(crate) body: Cell<BodyState>,
    pub(crate) joiner: Cell<Joiner>,
    /// The name that the program gave it. Few have one, so it takes one word here.
    pub(crate) name: Option<Box<Rc<str>>>,
    pub(crate) rare: Option<Box<RareFields>>,
    pub(crate) spawned_at: &'static Location<'static>,
}

/// Where a green thread was spawned, for reports. For threads of std and of C that is not known.
pub(crate) struct SpawnSite {
    is_pthread: bool,
    at: &'static Location<'static>,
}

impl fmt::Display for SpawnSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_pthread {
            true => f.write_str("made by pthread_create"),
            false => write!(f, "spawned at {}", self.at),
        }
    }
}

/// Each of a million sleeping green threads costs a page of stack, a timer, a handle, and a record.
const _: () = assert!(size_of::<Green>() <= 128 && std::mem::offset_of!(Green, killed) < 64);

impl Green {
    /// Returns the record of a green thread that is ready to run `body`. The caller sets the other fields.
    #[inline]
    pub(crate) fn new(
        id: GreenId,
        tcb: Tcb,
        body: BodyState,
        spawned_at: &'static Location<'static>,
    ) -> Green {
        Green {
            id,
            context: None,
            tcb,
            wait: WaitReason::Nothing,
            epoch: 0,
            state: GreenState::Runnable,
            park_result: None,
            interrupted: false,
            has_timeouts: false,
            has_mask: false,
            stack_depth: 0,
            killed: false,
            interrupt_consumed: false,
            running_tls_destructors: false,
            detached: false,
            stack_size: StackSize::DEFAULT,
            body: Cell::new(body),
            joiner: Cell::new(Joiner::None),
            name: None,
            rare: None,
            spawned_at,
        }
    }

    pub(crate) fn rare_mut(&mut self) -> &mut RareFields {
        self.rare.get_or_insert_default()
    }

    /// Updates and returns whether an interrupt is to be delivered. Calls `now` only inside of a timeout.
    pub(crate) fn refresh_pending_interrupt(&mut self, now: impl FnOnce() -> Time) -> bool {
        self.interrupted = self.killed;
        let timeouts = self.rare.as_mut().map_or(&mut [][..], |rare| &mut rare.timeouts);
        self.has_timeouts = !timeouts.is_empty();
        let now = if self.has_timeouts { now() } else { 0 };
        for scope in timeouts {
            scope.fired |= !scope.delivered && scope.deadline <= now;
            self.interrupted |= scope.is_pending();
        }
        self.interrupted
    }

    /// Returns where it was spawned.
    pub(crate) fn origin(&self) -> SpawnSite {
        SpawnSite { is_pthread: self.tcb.is_pthread(), at: self.spawned_at }
    }

    /// Returns the name that the program gave it, or `green-N`.
    pub(crate) fn name(&self) -> Rc<str> {
        match &self.name {
            Some(name) => (**name).clone(),
            None => format!("green-{}", self.id).into(),
        }
    }
}
