//! Offloading: a function that cannot be polled runs on another OS thread, and only the calling green thread waits.
//!
//! The process has one pool of OS threads for this, shared by all hubs. A worker is made when there is work and no worker is
//! idle, up to a limit. Work beyond the limit waits in a queue. A worker that was idle for some seconds ends. The last
//! worker to become idle gets the next work, so that the others can end.
//!
//! ```text
//!   offload -> submit -> an idle worker, a new one, or the queue        worker:  run: work, next: the queue, or idle
//!     join by the oneshot channel  <------------------------------------------------+
//! ```
//!
//! There are three kinds of work ([`WorkKind`]). A *libc call* ends by itself: a disk or a name server replies. A *user
//! function* may wait for a green thread, which may wait for a libc call. So each of these kinds has the limit for itself,
//! and libc calls always make progress. An *external wait* ends when another thread or process acts: it releases a lock on
//! a file, opens the other end of a pipe. It may need any kind of work for that. If external waits used up the limit, nothing
//! would go on. So they are not limited.
//!
//! **Invariants.** (1) Submitted work runs once, on a worker, or on a submitting OS thread if no OS thread can be made.
//! (2) All shared state is under one lock, under which no code blocks. (3) After a fork the child has an empty pool.
//!
//! Signals are for the program's own OS threads: one of those may have a signal blocked, to wait for it with `sigwait`, and
//! a worker must not take it. So workers block all signals. While a worker runs a user function, it has the signal mask of
//! the OS thread that made the worker.
//!
//! | file             | concept                                         |
//! |------------------|-------------------------------------------------|
//! | `thread_pool.rs` | the workers, the queue and the limit            |
//! | `pool_worker.rs` | submitting work; what a worker's OS thread does |
//!
//! Next: `thread/offload/thread_pool.rs`.
//!
//! Source: gevent's `ThreadPool`; libuv's and Go's blocking calls.
#![allow(unsafe_code)]

mod pool_worker;
mod thread_pool;

use crate::api::current_hub::current_hub;
use crate::api::oneshot::oneshot;
use crate::green::Interruptible;
use crate::ids::{Ticket, WaitReason};
use crate::sys::abort::AbortOnUnwind;
use crate::time::NEVER;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::Relaxed;
use thread_pool::Work;
pub(crate) use thread_pool::WorkKind;

/// Runs `f` on an OS thread of a pool, and returns its result. The calling green thread waits, and other green threads run
/// meanwhile. Use it for functions that block and cannot be patched, and for functions that compute for long.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// let ticks = Rc::new(Cell::new(0));
/// let clock = greenline::spawn({
///     let ticks = ticks.clone();
///     move || loop {
///         ticks.set(ticks.get() + 1);
///         greenline::yield_now();
///     }
/// });
/// let primes = greenline::offload(|| (2..20_000_u32).filter(|n| (2..*n).all(|m| n % m != 0)).count());
/// assert_eq!(primes, 2262);
/// assert!(ticks.get() > 0);
/// clock.kill();
/// ```
///
/// An offload costs some 10 to 20 microseconds, so offload what takes longer.
///
/// At most [`offload_threads`] functions run at once. The others wait in a queue, first in, first out. So a function must not
/// wait for another one, which may not have started. Use [`Thread`](crate::thread::Thread) for such functions. A function
/// that calls `offload` itself runs the inner function at once, on the same OS thread.
///
/// `f` runs without a hub, and so nothing in it is patched. If it makes a hub, by spawning green threads for example, its OS
/// thread ends when `f` returns, as [`Thread::start`](crate::thread::Thread::start) describes, and the pool makes another
/// one.
///
/// If the calling green thread is killed, or its timeout fires, `f` still runs to its end, even if it has not started. The
/// pool drops its result. If no OS thread can be made and the pool has none, `f` runs on the calling OS thread.
///
/// # Panics
/// If `f` panics, with its payload. Unwinds if the calling green thread is killed or a timeout around the call fires.
///
/// Source: gevent's `get_hub().threadpool.apply`.
#[doc(alias = "threadpool")]
#[doc(alias = "spawn_blocking")]
#[track_caller]
pub fn offload<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let at = Location::caller();
    let result = run_elsewhere(WorkKind::UserFn, f, |ticket| {
        current_hub().block_at(ticket, NEVER, WaitReason::For("an offloaded function"), at);
    });
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

/// Sets how many [offloaded](offload) functions run at once, from now on. The default is the environment variable
/// `GREENLINE_OFFLOAD`, or else 64. Each function may take an OS thread. Functions that run already are not interrupted.
///
/// The same number of [patched](crate::patch::io) calls of the C library, that read a file for example, may run besides.
/// Calls that wait for a lock on a file, or for the other end of a named pipe, do not count.
///
/// # Panics
/// If `n` is 0.
///
/// Source: gevent's `threadpool.maxsize`.
pub fn offload_threads(n: usize) {
    assert!(n > 0, "offload_threads(0): no offloaded function would ever run");
    thread_pool::LIMIT.store(n, Relaxed);
    pool_worker::serve_queue_or_run();
}

/// [`offload`], for interposed calls: `f` may borrow from the caller, which waits until `f` has ended, and is neither killed
/// nor timed out meanwhile. `what` names the wait in reports.
pub(crate) fn shielded<T: Send + 'static>(
    kind: WorkKind,
    what: &'static str,
    f: impl FnOnce() -> T + Send,
) -> T {
    let guard = AbortOnUnwind("an unwind ended the wait for an offloaded call that borrows from its caller");
    let f: Box<dyn FnOnce() -> T + Send + '_> = Box::new(f);
    // SAFETY: only the lifetime changes. What `f` borrows outlives this function. The function returns only after the result
    // was sent, and by then `f` and its captures are gone. The guard keeps it from unwinding before.
    let f: Box<dyn FnOnce() -> T + Send> = unsafe { std::mem::transmute(f) };
    let result = run_elsewhere(kind, f, |ticket| {
        current_hub().park(ticket, NEVER, WaitReason::For(what), Interruptible::No);
    });
    guard.disarm();
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

/// Submits `f`, and waits for its result. `park` parks with the ticket that it gets. A panic of `f` is returned with its
/// payload unchanged, because even a kill of the caller may come through here, if `f` runs on the calling OS thread.
fn run_elsewhere<T: Send + 'static>(
    kind: WorkKind,
    f: impl FnOnce() -> T + Send + 'static,
    park: impl Fn(Ticket),
) -> std::thread::Result<T> {
    let (sender, handle) = oneshot();
    let body = move || sender.complete(Ok(catch_unwind(AssertUnwindSafe(f))));
    pool_worker::submit_or_run(Work { kind, body: Box::new(body) });
    handle.join_by(park).expect("work completes its oneshot channel")
}
