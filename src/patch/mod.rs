//! Interposed libc: blocking calls of code that has never heard of greenline yield.
//!
//! This crate defines the C library's blocking functions itself, under their own names. The linker binds
//! std, every Rust crate that calls libc, and (through the executable's dynamic symbols) every C library to
//! these definitions; there is no preloading and no build script. Each first asks whether it was patched, and
//! whether a hub runs on this OS thread. If not it is the plain system call, one load and one branch later; so
//! before [`all`], in other OS threads, before `main` and in signal handlers nothing is changed.
//!
//! ```
//! use std::time::{Duration, Instant};
//! greenline::patch::all();
//! assert!(greenline::patch::is_patched(greenline::patch::Kind::Sleep));
//!
//! let start = Instant::now();
//! let nap = || std::thread::sleep(Duration::from_millis(50));
//! greenline::join_all((0..20).map(|_| greenline::spawn(nap)));
//! assert!(start.elapsed() < Duration::from_millis(20 * 50)); // they slept together
//! ```
//!
//! A green thread that is killed, or whose [`timeout`](crate::timeout()) fires, in an interposed call is not
//! unwound there, since the frames of std and C above us must not be: the call lets the others run, returns
//! early, and the unwind begins at the next blocking call of greenline itself.
//!
//! Not reached: calls that the C library makes to itself, code that makes system calls of its own (the
//! `rustix` crate), and programs that link the C library statically without using these symbols. What is
//! reached is in [`coverage`]. Source: gevent's `monkey.patch_all`.
#![allow(unsafe_code)]

mod sleep;

use crate::hub::{Hub, existing};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A family of calls, patched together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Sleeping and giving way: `std::thread::{sleep, sleep_until, yield_now}`, C's `sleep` and its like.
    Sleep,
}

impl Kind {
    /// All there are.
    pub const ALL: &'static [Kind] = &[Kind::Sleep];

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

static PATCHED: AtomicU32 = AtomicU32::new(0);

/// Patches every kind, for the whole process and from now on. Doing it twice does no harm.
#[doc(alias = "patch_all")]
pub fn all() {
    for &kind in Kind::ALL {
        only(kind);
    }
}

/// Patches one kind.
pub fn only(kind: Kind) {
    PATCHED.fetch_or(kind.bit(), Relaxed);
    // A reference to each family, so that the linker takes it along whatever else it finds unused.
    std::hint::black_box(sleep::COVERAGE);
}

/// Whether a kind is patched.
pub fn is_patched(kind: Kind) -> bool {
    PATCHED.load(Relaxed) & kind.bit() != 0
}

/// One interposed symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Covered {
    /// Its name in the C library.
    pub symbol: &'static str,
    /// With what it is patched.
    pub kind: Kind,
    /// Who calls it.
    pub called_by: &'static str,
    /// What it does when patched, on an OS thread with a hub.
    pub when_patched: &'static str,
}

/// All symbols that are interposed.
pub fn coverage() -> impl Iterator<Item = &'static Covered> {
    sleep::COVERAGE.iter()
}

/// The hub that a call of this kind is to yield to; `None`: make the plain system call.
#[inline]
fn patched_hub(kind: Kind) -> Option<&'static Hub> {
    if !is_patched(kind) {
        return None;
    }
    existing().filter(|hub| hub.can_block())
}
