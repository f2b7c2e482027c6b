//! Green threads for Linux, as gevent has them: stackful coroutines, scheduled by a hub on each OS thread,
//! in which unmodified blocking code yields.
//!
//! ```
//! use std::time::Duration;
//!
//! greenline::patch::all(); // from here on, std::thread::sleep yields
//!
//! let work = |name: &'static str| {
//!     move || {
//!         for step in 1..=3 {
//!             println!("{name}: step {step}");
//!             std::thread::sleep(Duration::from_millis(5));
//!         }
//!         name
//!     }
//! };
//! let both = greenline::join_all([greenline::spawn(work("work1")), greenline::spawn(work("work2"))]);
//! assert_eq!(both.into_iter().map(Result::unwrap).collect::<Vec<_>>(), ["work1", "work2"]);
//! ```
//!
//! # What there is
//!
//! | for | see |
//! |---|---|
//! | making green threads, and waiting for them | [`spawn`], [`join_all`], [`scope()`], [`timeout()`], [`JoinHandle`] |
//! | having unmodified code yield | [`patch`] |
//! | sockets, and servers on them | [`net`], or `std::net` once patched |
//! | what can neither yield nor be patched, or computes for long | [`offload()`] |
//! | Ctrl-C and its like | [`signal`] |
//! | other OS threads: making them, talking to their hubs | [`thread`], [`Handle`] |
//! | other processes, and what is shared with them | [`process`] |
//! | a green thread, an OS thread or a process, by one name | [`model`] |
//! | building more | [`wait`], [`io`], [`policy`], [`trace`], [`Generator`] |
//!
//! # Words
//!
//! - A **green thread** is a function with a stack of its own that gives way only where it blocks. It never
//!   leaves its OS thread, so what it captures need not be `Send`.
//! - The **hub** is the scheduler of one OS thread, made when it is first needed.
//! - The **root** is the OS thread's own stack: `main`, say. It spawns and blocks like the others; while it is
//!   blocked, the hub's loop runs on it. So a program needs no runtime object, and nothing runs until the root
//!   blocks.
//! - To **block** is to wait at a point that the hub knows: [`sleep()`], [`JoinHandle::join`],
//!   [`wait::park`], and, after [`patch::all`], the calls of std and C that are interposed: sleeps, locks, threads,
//!   sockets, pipes, files, children. The others run meanwhile.
//! - **Patched**, by [`patch::all`] in the first line of `main`, plain `std::thread::spawn` makes green threads, and
//!   each green thread is a thread of its own to std and C.
//! - To **offload** a function is to have another OS thread run it, while the green thread that asked waits: see
//!   [`offload()`].
//! - An **OS thread** is one that the kernel schedules, a [`thread::Thread`] also after the patch. It has a hub of its
//!   own if it needs one; a [`Handle`] is how others spawn there.
//! - A **process** is a copy of this one, forked to run a closure, with memory of its own: a [`process::Process`]. Who
//!   waits for one, or for what it shares, blocks a green thread and no other.
//! - A **model** is one of these three ways to run a closure concurrently: [`model::Model`].
//! - A **signal** that is [subscribed](signal::handle) to is a green thread for each delivery.
//! - The **policy** says which of the ready green threads runs next; first in, first out unless you
//!   [install](install_policy) another.
//! - A **ticket** is the right to wake a green thread from one wait; a stale one is harmless. See [`wait`].
//! - **Kill** and **timeout** interrupt a green thread where it blocks, as an unwind that runs its destructors.
//!
//! # When main ends
//!
//! Green threads that are still alive when `main` returns end with the process, as std's threads do; join
//! them, or call [`join_everything`], if they shall finish, or [`shutdown`] for their destructors to run. When
//! any other OS thread ends they are abandoned, too, with a warning in the log, and their stacks stay mapped:
//! to unwind them then would be unsound, for `thread_local!` values that they have borrowed are gone.
//!
//! Before the process ends it waits for each [`thread::Thread`] and each [`process::Process`] that is no daemon.
//!
//! # Deadlock
//!
//! When the root blocks, no green thread is ready, no timer is set, no descriptor is waited for, and nobody outside
//! holds a [`Handle`], nothing can ever happen again. The blocking call in the root then panics with a list of all
//! green threads, what each waits for and where it was spawned. The hub stays usable.
//!
//! # Limits
//!
//! Linux on x86_64 or aarch64, with glibc, and `panic = "unwind"` (kill and timeout need it). A green thread
//! that computes without blocking keeps the others of its OS thread from running: there is no preemption.
//! The [`watchdog`] says who it is. A hub uses one core; a program that wants several has [OS threads](thread) or
//! [processes](process), the latter [made first](process#one-os-thread).
//!
//! What is [patched](patch::coverage) is most of what blocks, and not all: memory-mapped files, directories, and what
//! the C library does by itself (its `FILE`s) keep the OS thread. An interposed call is not unwound by a kill or
//! a timeout, but cut short: see [`patch`].
//!
//! Without [`patch::locks`], a `thread_local!` belongs to the OS thread and is shared by its green threads, so an
//! initialiser of one must not block: std assumes that nobody else comes in between, and drops what the other has borrowed.
//! The destructor of one must not block while green threads are alive. Either is undefined behaviour, which no type
//! forbids. A `std::sync` lock held across a blocking call stops the OS thread for ever
//! when another green thread of it wants the lock. With it, each green thread is a thread of its own to std.
//! A frame larger than the guard page (4 KiB) of C code built without stack probes may jump over it.
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(
    any(not(feature = "patch"), not(feature = "process"), target_feature = "crt-static"),
    allow(
        dead_code,
        unused_imports,
        reason = "parts of the core are used by interposed calls or by processes alone"
    )
)]

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("greenline supports Linux on x86_64 and aarch64, and nothing else");

mod api;
#[path = "../arch/mod.rs"]
#[allow(unsafe_code)]
mod arch;
mod context;
mod fd_table;
mod green;
mod hub;
mod ids;
#[cfg(feature = "process")]
pub mod model;
pub mod net;
mod observe;
#[cfg(feature = "patch")]
pub mod patch;
pub mod policy;
#[cfg(feature = "process")]
pub mod process;
mod reactor;
pub mod signal;
mod stack;
mod sys;
pub mod thread;
mod time;
mod tls;

pub use api::generator::{Generator, Yielder};
pub use api::handle::{Handle, HubGone};
pub use api::join::{
    AsCompleted, JoinHandle, as_completed, join_all, join_all_timeout, join_first, kill_all, try_join_all,
};
pub use api::local::{AccessError, LocalKey};
pub use api::oneshot::RemoteJoinHandle;
pub use api::policy::install_policy;
pub use api::scope::{Scope, ScopedJoinHandle, scope};
pub use api::sleep::{sleep, sleep_until, yield_now};
pub use api::spawn::{Builder, Current, current, spawn, spawn_after};
pub use api::timeout::{Elapsed, timeout};
pub use api::{io, trace, wait};
pub use green::JoinError;
pub use hub::Stats;
pub use ids::GreenId;
pub use observe::watchdog;
pub use thread::offload::{offload, offload_threads};

use crate::api::current_hub::current_hub;
use std::time::Duration;

/// The programs of the README, as doctests.
#[cfg(all(doctest, feature = "patch", feature = "process"))]
#[doc = include_str!("../README.md")]
mod readme {}

/// The programs of the book's list of examples, as doctests.
#[cfg(all(doctest, feature = "patch", feature = "process"))]
#[doc = include_str!("../docs/src/examples.md")]
mod book_examples {}

/// Blocks the root until all green threads of its hub have ended, detached ones included.
///
/// # Panics
/// When called by a green thread, which would wait for itself. When they can never end: see
/// [deadlock](crate#deadlock).
///
/// Source: gevent's `wait()` without arguments.
#[track_caller]
pub fn join_everything() {
    current_hub().join_everything(time::NEVER);
}

/// As [`join_everything`], for no longer than `timeout`. Answers whether all have ended.
///
/// # Panics
/// As [`join_everything`].
#[track_caller]
pub fn join_everything_timeout(timeout: Duration) -> bool {
    let hub = current_hub();
    hub.join_everything(hub.clock().after(timeout))
}

/// Kills all green threads of this hub and waits until they have ended, so that their destructors have run.
/// Those that swallow every kill for some two thirds of a second are abandoned, with an error in the log.
///
/// # Panics
/// When called by a green thread, which would wait for itself.
#[track_caller]
pub fn shutdown() {
    let hub = current_hub();
    assert!(hub.current() == GreenId::ROOT, "only the root can shut its hub down");
    hub.shut_down();
}

/// What this OS thread's hub has done so far.
pub fn stats() -> Stats {
    current_hub().stats()
}
