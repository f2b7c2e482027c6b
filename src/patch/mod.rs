//! Interposed libc: blocking calls of code that has never heard of greenline yield.
//!
//! This crate defines the C library's blocking functions itself, under their own names (symbol interposition). The linker
//! binds std, every Rust crate that calls libc, and (through the executable's dynamic symbols) every C library to these
//! definitions. There is no preloading and no build script. Each function first checks whether it was patched, and whether
//! a hub runs on this OS thread. If not, it is the plain call, one load and one branch later. So nothing is changed before
//! [`all`], in other OS threads, before `main` and in signal handlers.
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
//! If a green thread is killed in an interposed call, or its [`timeout`](crate::timeout()) fires, the call does not unwind,
//! because the frames of std and C above it must not be unwound. Instead, the call lets the other green threads run and
//! returns early. The unwind begins at the next blocking call of greenline itself.
//!
//! Not reached are: calls that the C library makes to itself, code that makes system calls of its own (the `rustix`
//! crate), and programs that link the C library statically without using these symbols. [`coverage`] lists what is
//! reached. Source: gevent's `monkey.patch_all`.
//!
//! Next: `patch/kind.rs`, when a call yields.
#![allow(unsafe_code)]

#[cfg_attr(target_feature = "crt-static", path = "no_io.rs")]
mod io;
mod kind;
mod nanosleep;
#[cfg_attr(target_feature = "crt-static", path = "no_pthread.rs")]
mod pthread;
mod symbol;

use kind::set_patched;
pub use kind::{Covered, Kind, is_patched};
use std::fmt;

/// Patches every kind, for the whole process and from now on. Call it in the first line of `main`. A second call has no
/// effect.
///
/// # Panics
/// If [`try_all`] returns an error.
#[doc(alias = "patch_all")]
pub fn all() {
    try_all().unwrap_or_else(|error| panic!("{error}"));
}

/// Patches every kind, for the whole process and from now on.
///
/// # Errors
/// [`Unsupported`]: this platform lacks what [`locks`] needs. Nothing is patched then.
pub fn try_all() -> Result<(), Unsupported> {
    threads()?;
    io()?;
    sleep();
    Ok(())
}

/// Patches [`Kind::Sleep`].
pub fn sleep() {
    patch(Kind::Sleep);
}

/// Patches [`Kind::Locks`]: a green thread that waits for a lock, a condition, a channel or to be unparked lets the other
/// green threads run.
///
/// From now on each green thread that starts is a thread of its own to std and to C, because locks know their owner by
/// its thread. It has its own `thread_local!` values, which are dropped when it ends, its own identity
/// (`std::thread::current().id()`), count of panics, and `errno`. Green threads that have already started go on sharing the
/// OS thread's, so call this first.
///
/// As with threads, a value that is not `Send` because it relies on the thread-locals of its maker must not be captured by
/// a closure that [`spawn`](crate::spawn) or a [`scope`](crate::scope()) runs. Such closures need not be `Send`, because
/// they do not leave the OS thread; `Rc`, `Cell` and their like stay sound there.
///
/// # Errors
/// [`Unsupported`] if any of these is missing: a glibc that is linked dynamically and laid out as expected, which is
/// checked; a processor and kernel that let a program load the thread pointer; and a file descriptor by which other OS
/// threads wake the hub. Nothing is changed then.
pub fn locks() -> Result<(), Unsupported> {
    pthread::support().map_err(|reason| Unsupported { reason })?;
    patch(Kind::Locks);
    Ok(())
}

/// Patches [`Kind::Threads`], and [`Kind::Locks`] with it. If an OS thread has a hub (the calling one has, from now on),
/// `std::thread::spawn` makes a green thread of that hub.
///
/// [`greenline::thread`](crate::thread) and OS threads without a hub still make real OS threads.
///
/// # Errors
/// As for [`locks`].
pub fn threads() -> Result<(), Unsupported> {
    locks()?;
    patch(Kind::Threads);
    Ok(())
}

/// Patches [`Kind::Io`]: a call of std or C that would wait for a socket, a pipe or a terminal lets the other green threads
/// run. The same holds for calls that wait for any of several descriptors, as `select` and `epoll_wait` do, for a child, or
/// for a signal.
///
/// A read of a file returns at once the part that is in memory, and a write is done at once. Operations that block are
/// [offloaded](crate::offload()): reads from the disk, writes to it, and large ones; `fsync`, `fs::copy`; the wait for the
/// other end of a named pipe; locks on files that belong to the process; name lookups. Neither a kill nor a timeout ends
/// an offloaded call.
///
/// # Errors
/// [`Unsupported`]: the C library is not glibc, or linked statically; or no file descriptor is left for the hub.
pub fn io() -> Result<(), Unsupported> {
    pthread::reach_hub().map_err(|reason| Unsupported { reason })?;
    patch(Kind::Io);
    Ok(())
}

fn patch(kind: Kind) {
    // A reference to each family, so that the linker keeps it even if it finds nothing else that uses it.
    std::hint::black_box((nanosleep::COVERAGE, pthread::COVERAGE, io::COVERAGE));
    set_patched(kind);
}

/// The patch needs something that is missing. The message says what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    reason: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "std's locks and threads cannot be patched here: {}", self.reason)
    }
}

impl std::error::Error for Unsupported {}

/// Returns all interposed symbols, on a platform where every kind can be patched.
///
#[doc = include_str!("coverage.md")]
///
/// `crates/third-party/tests/coverage.rs` lists the other functions that std calls, with the reason why each cannot block, or with what it
/// waits for.
pub fn coverage() -> impl Iterator<Item = &'static Covered> {
    [&[nanosleep::COVERAGE], pthread::COVERAGE, io::COVERAGE].into_iter().flatten().copied().flatten()
}
