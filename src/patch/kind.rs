//! The families of calls that are patched together, and whether a call of a family is to yield.
//!
//! Next: `patch/symbol.rs`, the form of an interposed function.

use crate::hub::{Hub, keep_errno, try_current};
use crate::thread::offload;
use crate::thread::offload::WorkKind;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A family of calls, patched together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Sleeping and yielding: `std::thread::{sleep, sleep_until, yield_now}`, C's `sleep` and its like.
    Sleep,
    /// Calls that wait for another thread to do something: `std::sync`, `std::thread::park`, parking_lot, crossbeam, C's
    /// mutexes, conditions and semaphores.
    Locks,
    /// Making and joining threads: `std::thread`, C's `pthread_create`.
    Threads,
    /// Input and output: sockets, pipes, everything that can be polled; children, signals, and queues between processes.
    Io,
}

impl Kind {
    /// All kinds.
    pub const ALL: &'static [Kind] = &[Kind::Sleep, Kind::Locks, Kind::Threads, Kind::Io];
}

/// One interposed symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Covered {
    /// Name in the C library.
    pub symbol: &'static str,
    /// Kind with which it is patched.
    pub kind: Kind,
    /// Code that calls it.
    pub called_by: &'static str,
    /// Effect when patched, on an OS thread with a hub.
    pub when_patched: &'static str,
}

/// Whether each kind is patched.
static PATCHED: [AtomicBool; Kind::ALL.len()] = [const { AtomicBool::new(false) }; Kind::ALL.len()];

pub(super) fn set_patched(kind: Kind) {
    PATCHED[kind as usize].store(true, Relaxed);
}

/// Returns whether a kind is patched.
pub fn is_patched(kind: Kind) -> bool {
    PATCHED[kind as usize].load(Relaxed)
}

/// Returns the hub to which a call of this kind is to yield. If it returns `None`, the caller makes the plain call.
#[inline]
pub(super) fn patched_hub(kind: Kind) -> Option<&'static Hub> {
    let hub = if is_patched(kind) { try_current() } else { None };
    hub.filter(|hub| hub.can_block())
}

/// Runs `f`, which blocks and cannot be waited for in another way, on an OS thread of the pool, while the other green
/// threads run. Neither a kill nor a timeout ends it. See `offload`.
pub(super) fn offload_blocking<T: Send + 'static>(
    load: WorkKind,
    what: &'static str,
    f: impl FnOnce() -> T + Send,
) -> T {
    keep_errno(|| offload::shielded(load, what, f))
}
