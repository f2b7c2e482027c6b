//! One green thread: its record, and the states it may be in.
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
//! A green thread is in exactly one of these; only `hub` moves it. Ready and running are one state here: who
//! runs is what `Hub::current` says, and who is ready the policy knows. The root, the OS thread's own stack,
//! has a record too and is never Delayed or Finished.
//!
//! Leaves to others: moving between states (`hub`), the stack it runs on (`context`).

mod completions;
mod interrupt;
mod locals;
mod outcome;
mod panic_count;
mod prefetch;

use crate::context::{ActiveContext, Body};
use crate::ids::{GreenId, WaitReason, WakeReason};
use crate::policy::Attributes;
use crate::stack::StackSize;
use crate::sys::sigset::Signals;
use crate::time::Time;
use crate::tls::Tcb;
pub(crate) use completions::Completions;
pub(crate) use interrupt::{Interrupt, TimeoutScope, carried_by};
pub(crate) use locals::GreenLocals;
pub use outcome::JoinError;
pub(crate) use outcome::{Outcome, catch_body, panic_message};
pub(crate) use panic_count::{PanicCount, prepare as prepare_panic_count};
pub(crate) use prefetch::{StackDepth, prefetch_record};
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

/// Where a green thread is in its life: see the picture at the top of `green/mod.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Delayed,
    Runnable,
    /// `shielded`: so that neither kill nor timeout wakes it.
    Parked {
        shielded: bool,
    },
    Finished,
}

/// What is still to be done, or what came of it.
pub(crate) enum BodyState {
    NotStarted(Body),
    Running,
    Finished(Outcome),
}

/// Who is told when a green thread has finished.
pub(crate) enum Joiner {
    None,
    /// Wakes one that waits for it alone: the parts of a ticket.
    One(GreenId, u32),
    /// Tells one that waits for several: which of them it was.
    Several(Rc<Completions>, u32),
}

/// What few green threads need, kept apart so that a million sleeping ones do not pay for it.
#[derive(Default)]
pub(crate) struct RareFields {
    pub(crate) timeouts: Vec<TimeoutScope>,
    pub(crate) locals: GreenLocals,
    pub(crate) links: Vec<Body>,
    pub(crate) attributes: Option<Attributes>,
    /// See `has_mask`; and which of them are blocked for all, since it waits for them.
    pub(crate) mask: Signals,
    pub(crate) held: Signals,
}

/// The record of a green thread: everything that belongs to it and is not on its stack.
///
/// What parking, waking and switching touch comes first, and is one line of the cache: it has mostly gone far away by the
/// time. For that the slab is to see there, too, whether its entry is in use; so what follows hides its unused values, of
/// which the slab would take one for that, in cells.
#[repr(C, align(64))]
pub(crate) struct Green {
    pub(crate) id: GreenId,
    /// Where it runs: none before its first run, after its last, and for the root.
    pub(crate) context: Option<ActiveContext>,
    /// What std and C know it by while it runs there: a thread control block of its own, or the OS thread's.
    pub(crate) tcb: Tcb,

    // Waiting: see `wait`. Touched by every park and wake.
    pub(crate) wait: WaitReason,
    pub(crate) epoch: u32,
    pub(crate) state: State,
    pub(crate) cause: WakeReason,
    /// A kill or a timeout is to be delivered.
    pub(crate) interrupted: bool,
    /// It is inside of a timeout, which may be due.
    pub(crate) has_timeouts: bool,
    /// How deep its stack was when it last parked: see `green/prefetch.rs`.
    pub(crate) depth: StackDepth,
    /// It has signals blocked that the others have not, or the reverse: see `hub/green_sigmask.rs`.
    pub(crate) has_mask: bool,

    // From here on, what is used less often. Interrupts: see `green/interrupt.rs`.
    pub(crate) killed: bool,
    /// An interposed call has returned early for it; the next ones do not.
    pub(crate) cut_short: bool,
    /// Its thread-locals are being destroyed, which must not unwind: it is killed no more.
    pub(crate) ending: bool,
    /// No handle will ask for the outcome.
    pub(crate) detached: bool,
    pub(crate) stack_size: StackSize,
    pub(crate) life: Cell<BodyState>,
    pub(crate) watcher: Cell<Joiner>,
    /// Few have one, so it takes one word here.
    pub(crate) name: Option<Box<Rc<str>>>,
    pub(crate) extras: Option<Box<RareFields>>,
    pub(crate) spawned_at: &'static Location<'static>,
}

/// Where it was made, for reports: of std's and of C's threads that is not known.
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

/// A million sleeping green threads cost a page of stack, a timer, a handle, and this.
const _: () = assert!(size_of::<Green>() <= 128 && std::mem::offset_of!(Green, killed) < 64);

impl Green {
    /// One that is ready to run `life`. For the rest, who makes it says what it is.
    #[inline]
    pub(crate) fn new(
        id: GreenId,
        tcb: Tcb,
        life: BodyState,
        spawned_at: &'static Location<'static>,
    ) -> Green {
        Green {
            id,
            context: None,
            tcb,
            wait: WaitReason::Nothing,
            epoch: 0,
            state: State::Runnable,
            cause: WakeReason::None,
            interrupted: false,
            has_timeouts: false,
            has_mask: false,
            depth: StackDepth::default(),
            killed: false,
            cut_short: false,
            ending: false,
            detached: false,
            stack_size: StackSize::DEFAULT,
            life: Cell::new(life),
            watcher: Cell::new(Joiner::None),
            name: None,
            extras: None,
            spawned_at,
        }
    }

    pub(crate) fn extras(&mut self) -> &mut RareFields {
        self.extras.get_or_insert_default()
    }

    /// Says anew whether an interrupt is to be delivered. `now` is asked for only where a timeout waits.
    pub(crate) fn review_interrupts(&mut self, now: impl FnOnce() -> Time) -> bool {
        self.interrupted = self.killed;
        self.has_timeouts = false;
        if let Some(extras) = &mut self.extras {
            self.has_timeouts = !extras.timeouts.is_empty();
            if self.has_timeouts {
                let now = now();
                for scope in &mut extras.timeouts {
                    scope.fired |= !scope.delivered && scope.deadline <= now;
                    self.interrupted |= scope.is_pending();
                }
            }
        }
        self.interrupted
    }

    pub(crate) fn origin(&self) -> SpawnSite {
        SpawnSite { is_pthread: self.tcb.is_pthread(), at: self.spawned_at }
    }

    /// The name it was given, or `green-N`.
    pub(crate) fn name(&self) -> Rc<str> {
        match &self.name {
            Some(name) => (**name).clone(),
            None => format!("green-{}", self.id).into(),
        }
    }
}
