//! Green threads for Linux, as gevent has them: stackful coroutines, scheduled by a hub on each OS thread, in which unmodified
//! blocking code yields.
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
//! | making unmodified code yield | [`patch`] |
//! | sockets and servers | [`net`], or `std::net` once patched |
//! | functions that compute for long, or block and cannot be patched | [`offload()`] |
//! | Ctrl-C and other signals | [`signal`] |
//! | other OS threads: making them, spawning on their hubs | [`thread`], [`Handle`] |
//! | other processes, and memory shared with them; one interface for all three | the crate `greenline-process` |
//! | a green thread that does not yield | [`watchdog`] |
//! | building more | [`wait`], [`io`], [`policy`], [`trace`], [`Generator`] |
//!
//! # Words
//!
//! - A **green thread** is a function with a stack of its own. It yields only where it blocks. It never leaves its OS thread,
//!   so its captures need not be `Send`.
//! - The **hub** is the scheduler of one OS thread. It is made when the program first needs it.
//! - The **root** is the OS thread's own stack, for example `main`. It spawns and blocks as green threads do. While it is
//!   blocked, the hub's loop runs on its stack. So a program needs no runtime object, and no green thread runs until the root
//!   blocks.
//! - To **block** is to wait at a point that the hub knows, while other green threads run: [`sleep()`],
//!   [`JoinHandle::join`], [`wait::park`], and, after [`patch::all`], the interposed calls of std and C: sleeps, locks,
//!   threads, sockets, pipes, files, children.
//! - To **patch** is to call [`patch::all`] in the first line of `main`. From then on plain `std::thread::spawn` makes green
//!   threads, and each green thread is a thread of its own to std and C.
//! - To **offload** a function is to run it on another OS thread while the calling green thread waits: [`offload()`].
//! - An **OS thread** is scheduled by the kernel: a [`thread::Thread`], also after the patch. It has a hub of its own if it
//!   needs one. Other OS threads spawn there through a [`Handle`].
//! - A **process** is a copy of this one, forked to run a closure, with memory of its own: a `greenline_process::Process`. A wait for
//!   a process, or for an object shared with it, blocks only the calling green thread.
//! - A **model** is one of these three ways to run a closure concurrently: `greenline_process::model::Model`.
//! - A **signal** that is [subscribed](signal::handle) to starts a green thread at each delivery.
//! - The **policy** chooses which ready green thread runs next. The default is first in, first out. [`install_policy`]
//!   installs another one.
//! - A **ticket** is the right to wake a green thread from one wait. A stale ticket is harmless. See [`wait`].
//! - **Kill** and **timeout** interrupt a green thread where it blocks, by an unwind that runs its destructors.
//!
//! # When main ends
//!
//! Green threads that are still alive when `main` returns end with the process, as std's threads do. To let them finish, join
//! them, or call [`join_everything`]. To run their destructors, call [`shutdown`]. When any other OS thread ends, its green
//! threads are abandoned, with a warning in the log, and their stacks stay mapped. To unwind them then would be unsound,
//! because `thread_local!` values that they have borrowed are gone.
//!
//! Before the process ends, it waits for each [`thread::Thread`] and each `greenline_process::Process` that is no daemon.
//!
//! # Deadlock
//!
//! A hub is deadlocked when the root is blocked, no green thread is ready, no timer is set, no descriptor is waited for, and
//! no [`Handle`] exists outside. Then nothing can ever happen again. The blocking call in the root panics, with a list of all
//! green threads, where each was spawned, and for what it waits. The hub stays usable.
//!
//! # Limits
//!
//! The crate needs Linux on x86_64 or aarch64, glibc, and `panic = "unwind"` (for kill and timeout). There is no preemption:
//! a green thread that computes without blocking keeps the other green threads of its OS thread from running. The [`watchdog`]
//! reports it. A hub uses one core. A program that wants several has [OS threads](thread) or processes, which it makes
//! first.
//!
//! The [patch](patch::coverage) covers most blocking calls, but not all. Memory-mapped files, directories, and what the C
//! library does by itself (its `FILE`s) block the OS thread. A kill or a timeout does not unwind an interposed call, but makes
//! it return early: see [`patch`].
//!
//! Without [`patch::locks`], a `thread_local!` belongs to the OS thread, and its green threads share it. So its initialiser
//! must not block: std assumes that no other code runs in between, and drops a value that another green thread has borrowed.
//! Its destructor must not block while green threads are alive. Either is undefined behaviour, which no type prevents. If a
//! green thread blocks while it holds a `std::sync` lock, and another one of the same OS thread wants the lock, the OS thread
//! stops for ever. With `patch::locks`, each green thread is a thread of its own to std.
//!
//! C code that was built without stack probes may jump over the guard page (4 KiB) with a larger frame.
//!
//! Next: `api/wait.rs`, for readers of the source: park and wake, on which every blocking call is built.
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(
    any(not(feature = "patch"), target_feature = "crt-static"),
    allow(dead_code, unused_imports, reason = "parts of the core are used by interposed calls alone")
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
pub mod internals;
pub mod net;
mod observe;
#[cfg(feature = "patch")]
pub mod patch;
pub mod policy;
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
pub use api::scope::{Scope, ScopedJoinHandle, scope};
pub use api::sleep::{sleep, sleep_until, yield_now};
pub use api::spawn::{Builder, Current, current, spawn, spawn_after};
pub use api::this_hub::{install_policy, join_everything, join_everything_timeout, shutdown, stats};
pub use api::timeout::{Elapsed, timeout};
pub use api::{io, trace, wait};
pub use green::JoinError;
pub use hub::Stats;
pub use ids::GreenId;
pub use observe::watchdog;
pub use thread::offload::{offload, offload_threads};

/// The programs of the README, as doctests.
#[cfg(all(doctest, feature = "patch"))]
#[doc = include_str!("../README.md")]
mod readme {}
