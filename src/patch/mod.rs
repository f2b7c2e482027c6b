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

#[cfg_attr(target_feature = "crt-static", path = "no_io.rs")]
mod io;
#[cfg_attr(target_feature = "crt-static", path = "no_pthread.rs")]
mod pthread;
mod sleep;
mod symbol;

use crate::hub::{Hub, keep_errno, try_current};
use crate::thread::offload;
use crate::thread::offload::WorkKind;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A family of calls, patched together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Sleeping and giving way: `std::thread::{sleep, sleep_until, yield_now}`, C's `sleep` and its like.
    Sleep,
    /// Whatever waits for another thread to do something: `std::sync`, `std::thread::park`, parking_lot,
    /// crossbeam, C's mutexes, conditions and semaphores.
    Locks,
    /// Making and joining threads: `std::thread`, C's `pthread_create`.
    Threads,
    /// Input and output: sockets, pipes, whatever can be polled; children, signals, and queues between processes.
    Io,
}

impl Kind {
    /// All there are.
    pub const ALL: &'static [Kind] = &[Kind::Sleep, Kind::Locks, Kind::Threads, Kind::Io];

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

static PATCHED: AtomicU32 = AtomicU32::new(0);

/// Patches every kind, for the whole process and from now on: the first line of `main`. Doing it twice does no
/// harm.
///
/// # Panics
/// Where [`try_all`] answers an error.
#[doc(alias = "patch_all")]
pub fn all() {
    if let Err(error) = try_all() {
        panic!("{error}");
    }
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

/// Patches [`Kind::Locks`]: who waits for a lock, a condition, a channel or to be unparked lets the others run.
///
/// From now on each green thread that begins is a thread of its own to std and to C, since it is by threads that
/// locks tell who has them: it has `thread_local!` values of its own, which are dropped when it ends, an
/// identity (`std::thread::current().id()`), a count of panics, an `errno`. Those that have begun already go on
/// sharing the OS thread's, so call this first.
///
/// And as with threads: a value that is not `Send` because it relies on the thread-locals of who made it must not be
/// captured by a closure that [`spawn`](crate::spawn) or a [`scope`](crate::scope()) runs. Theirs need not be `Send`,
/// since they do not leave the OS thread; `Rc`, `Cell` and their like are as sound there as ever.
///
/// # Errors
/// [`Unsupported`]: it takes a glibc that is linked dynamically and in which everything is where it is
/// expected, which is looked at; a processor and kernel that let a program load the thread pointer; and a file
/// descriptor for other OS threads to wake the hub by. Nothing is changed then.
pub fn locks() -> Result<(), Unsupported> {
    pthread::support()?;
    patch(Kind::Locks);
    Ok(())
}

/// Patches [`Kind::Threads`], and [`Kind::Locks`] with it: `std::thread::spawn`, called on an OS thread that has
/// a hub (this one has, from now on), makes a green thread of that hub.
///
/// Real OS threads are still made by [`greenline::thread`](crate::thread), and by OS threads without a hub.
///
/// # Errors
/// As for [`locks`].
pub fn threads() -> Result<(), Unsupported> {
    locks()?;
    patch(Kind::Threads);
    Ok(())
}

/// Patches [`Kind::Io`]: a call of std, or of C, that would wait for a socket, a pipe or a terminal lets the others run.
///
/// So does one that waits for any of several, as `select` and `epoll_wait` do, for a child, or for a signal.
///
/// A file is read at once, as far as it is in memory, and written at once. What has to be waited for is
/// [offloaded](crate::offload()): what comes from the disk or goes to it, and what is much; `fsync`, `fs::copy`, the other
/// end of a named pipe, locks on files that belong to the process; looking names up. A call that is offloaded is not
/// ended by a kill or a timeout.
///
/// # Errors
/// [`Unsupported`]: the C library is not glibc, or linked statically; or no file descriptor is left for the hub.
pub fn io() -> Result<(), Unsupported> {
    pthread::reach_hub()?;
    patch(Kind::Io);
    Ok(())
}

fn patch(kind: Kind) {
    // A reference to each family, so that the linker takes it along whatever else it finds unused.
    std::hint::black_box((sleep::COVERAGE, pthread::COVERAGE, io::COVERAGE));
    PATCHED.fetch_or(kind.bit(), Relaxed);
}

/// Whether a kind is patched.
pub fn is_patched(kind: Kind) -> bool {
    PATCHED.load(Relaxed) & kind.bit() != 0
}

/// Something that the patch needs is not there. Says what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    reason: String,
}

impl Unsupported {
    fn new(reason: impl Into<String>) -> Unsupported {
        Unsupported { reason: reason.into() }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "std's locks and threads cannot be patched here: {}", self.reason)
    }
}

impl std::error::Error for Unsupported {}

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

/// All symbols that are interposed, on a platform where all of it can be patched.
///
#[doc = include_str!("coverage.md")]
///
/// What std calls besides is listed in `tests/coverage.rs`, with the reason why it cannot block, or with what it waits for.
pub fn coverage() -> impl Iterator<Item = &'static Covered> {
    [&[sleep::COVERAGE], pthread::COVERAGE, io::COVERAGE].into_iter().flatten().copied().flatten()
}

/// The hub that a call of this kind is to yield to; `None`: make the plain system call.
#[inline]
fn patched_hub(kind: Kind) -> Option<&'static Hub> {
    if !is_patched(kind) {
        return None;
    }
    try_current().filter(|hub| hub.can_block())
}

/// Has an OS thread do what blocks, and cannot be waited for in another way, while the others run. Not ended by kill or
/// timeout. See `offload`.
fn offload_blocking<T: Send + 'static>(
    load: WorkKind,
    what: &'static str,
    f: impl FnOnce() -> T + Send,
) -> T {
    keep_errno(|| offload::shielded(load, what, f))
}
