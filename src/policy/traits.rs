//! The contract between the hub and a scheduling policy.
//!
//! Next: `policy/fifo.rs`, the policy that runs by default.

use crate::ids::GreenId;
use std::time::Duration;

/// Chooses the next green thread to run.
///
/// `pick` must return every id that `ready` was given, once, at some time. The hub skips an id that is not ready or is
/// returned twice, and logs a warning.
///
/// No method may block, spawn, or call into greenline otherwise. A method that panics aborts the process, because
/// suspended green threads rely on the policy. No method may rely on a `thread_local!`: the thread-locals loaded during
/// a call may be those of any green thread.
///
/// The hub counts the ready green threads itself, so a policy does not have to.
///
/// Source: the two required methods are those of Boost.Fiber's `algo` (`awakened`, `pick_next`); [`ran`](Policy::ran)
/// is the accounting of Linux's `put_prev_task`.
pub trait Policy {
    /// Adds `green` to the ready green threads. The root (the OS thread's own stack) is scheduled like the others.
    fn ready(&mut self, green: GreenId, why: ReadyReason);

    /// Removes and returns the green thread that runs next. Returns `None` if none is ready.
    fn pick(&mut self) -> Option<GreenId>;

    /// Notes that `green` exists, with the attributes that its spawner chose
    /// ([`Builder::attributes`](crate::Builder::attributes)). The hub calls this before the first `ready` of `green`.
    /// When a policy is installed, the hub first calls it for every green thread that is alive, the root included.
    fn spawned(&mut self, green: GreenId, attributes: &Attributes) {
        let _ = (green, attributes);
    }

    /// Notes that `green` has stopped running, after `elapsed`, and why. The hub calls this before the `ready` that
    /// follows. `elapsed` is zero unless [`wants_time`](Policy::wants_time) returns `true`.
    fn ran(&mut self, green: GreenId, elapsed: Duration, why: StopReason) {
        let _ = (green, elapsed, why);
    }

    /// Notes that `green` has finished and never runs again. The hub calls this after its last `ran`.
    fn gone(&mut self, green: GreenId) {
        let _ = green;
    }

    /// Returns whether `ran` gets the time that a green thread ran, which costs two readings of the clock a switch.
    /// The hub calls this once, when the policy is installed.
    fn wants_time(&self) -> bool {
        false
    }

    /// Returns the green thread that will be picked `ahead` picks after the next one (0: by the next pick), if that
    /// is known. It is a hint: the hub brings the stack of that green thread into the cache.
    fn peek(&self, ahead: usize) -> Option<GreenId> {
        let _ = ahead;
        None
    }
}

/// Why a green thread became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyReason {
    /// It was just spawned.
    New,
    /// It yielded.
    Yielded,
    /// Another green thread, a descriptor or a signal woke it, or a kill or a timeout interrupts it.
    Woken,
    /// Its timer expired: the end of a sleep, of a wait with a deadline, of a delayed start.
    Expired,
}

/// Why a green thread stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// It yielded. It is ready again.
    Yielded,
    /// It parked: it waits for something.
    Parked,
    /// Its function has ended.
    Finished,
}

/// Scheduling attributes of a green thread. The hub passes them to the policy and does not read them.
///
/// Source: `sched_setattr(2)` (priority, deadline); lottery scheduling, Waldspurger and Weihl, OSDI 1994 (tickets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Urgency. A policy of priorities runs larger ones first. 0 unless set.
    pub priority: i32,
    /// Share of the processor for proportional-share policies (lottery, stride). 1 unless set.
    pub tickets: u32,
    /// Relative deadline: the time from becoming ready by which the work has to be done. `None` unless set.
    pub deadline: Option<Duration>,
}

impl Default for Attributes {
    fn default() -> Attributes {
        Attributes { priority: 0, tickets: 1, deadline: None }
    }
}
