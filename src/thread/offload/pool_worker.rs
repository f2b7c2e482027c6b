//! Submitting work, and what the OS thread of a worker does.
//!
//! Next: `api/oneshot.rs`, by which a result comes back.

use super::thread_pool::{self, POOL, Work, WorkKind, Worker};
use crate::green::catch_body;
use crate::hub::{try_current, with_blocking_disabled};
use crate::sys::at_fork::{self, forks};
use crate::sys::catch::drop_ignoring_panics;
use crate::sys::kernel_futex;
use crate::sys::quiescent::quiescent;
use crate::sys::raw_mutex::Lock;
use crate::sys::sigset::Signals;
use crate::sys::tid::gettid;
use crate::thread::start::Thread;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::{Duration, Instant};

/// How long a worker is idle before it ends.
const IDLE_THREAD_TTL: Duration = Duration::from_secs(5);

/// Puts work into the queue, and serves the queue. If the calling OS thread is a worker, which could wait for itself, the
/// caller runs the work.
pub(super) fn submit_or_run(work: Work) {
    let own = gettid();
    let left = with_blocking_disabled(|| {
        at_fork::register(thread_pool::reset_after_fork);
        thread_pool::init_limit();
        let mut pool = POOL.lock();
        if pool.tids.contains(&own) {
            return Some(work);
        }
        pool.queues[work.kind as usize].push_back(work);
        None
    });
    match left {
        Some(work) => (work.body)(),
        None => serve_queue_or_run(),
    }
}

/// Serves the queue, and runs the work for which there is no OS thread.
///
/// Blocking is disabled while the queue is served, because the allocator may have locks, and std has some for its threads;
/// and nothing may park while the pool is locked.
pub(super) fn serve_queue_or_run() {
    while let Some(work) = with_blocking_disabled(serve_queue) {
        (work.body)();
    }
}

/// Starts as much of the queue as the limit lets start, on idle workers and new ones. Returns work that the caller has to run,
/// because no OS thread can be made and no worker runs.
fn serve_queue() -> Option<Work> {
    loop {
        let mut pool = POOL.lock();
        let work = pool.next_in_queue()?;
        if let Some(idle) = pool.idle.pop() {
            *idle.work.lock() = Some(work);
            drop(pool);
            idle.wakes.fetch_add(1, AcqRel);
            kernel_futex::wake_one(&idle.wakes);
            continue;
        }
        pool.made += 1;
        let name = format!("greenline-off-{}", pool.made);
        drop(pool);
        let worker = Arc::new(Worker { wakes: AtomicU32::new(0), work: Lock::new(Some(work)) });
        let started = worker.clone();
        if Thread::new(move || run(&started)).name(name).daemon(true).start().is_ok() {
            continue;
        }
        // There are too many OS threads, or there is no memory.
        let work = worker.work.lock().take().expect("a worker that did not start has not taken its work");
        let mut pool = POOL.lock();
        pool.running[work.kind as usize] -= 1;
        if pool.tids.is_empty() {
            return Some(work);
        }
        pool.queues[work.kind as usize].push_front(work);
        // A worker that has become idle meanwhile does not look into the queue again.
        if pool.idle.is_empty() {
            return None;
        }
    }
}

/// Runs on the worker's OS thread.
fn run(worker: &Arc<Worker>) {
    // First, because the handler of a signal must not find the pool locked by its own OS thread.
    let original = Signals::block_all();
    let (own, process) = (gettid(), forks());
    POOL.lock().tids.push(own);
    let mut work = worker.work.lock().take();
    while let Some(Work { kind, body }) = work {
        // OS threads that a user function makes inherit the signal mask, so it gets the original one.
        let result = if kind == WorkKind::UserFn {
            original.while_blocked(|| catch_body(body))
        } else {
            catch_body(body)
        };
        // The destructor of a result without a joiner may have panicked.
        if let Err(payload) = result {
            drop_ignoring_panics(payload);
        }
        if process != forks() {
            // The work has forked, and this is the child. Its only OS thread ends, and with it, as in C, the process.
            return;
        }
        work = next(worker, own, kind);
    }
}

/// Returns the next work, after some of the kind `done`. `None`: the OS thread, whose id is `own`, ends.
fn next(worker: &Arc<Worker>, own: i32, done: WorkKind) -> Option<Work> {
    let mut pool = POOL.lock();
    pool.running[done as usize] -= 1;
    if try_current().is_some() {
        // Green threads may be alive on this OS thread, and calls of the pool would be patched.
        pool.tids.retain(|&tid| tid != own);
        drop(pool);
        serve_queue_or_run();
        return None;
    }
    if let Some(work) = pool.next_in_queue() {
        return Some(work);
    }
    pool.idle.push(worker.clone());
    drop(pool);
    // While the worker is listed as idle it allocates nothing, and holds no lock except, for a moment, the pool's, because
    // the process may fork at any time.
    let end = Instant::now() + IDLE_THREAD_TTL;
    loop {
        let wakes = worker.wakes.load(Acquire);
        // A wake-up follows after work was given.
        if let Some(work) = worker.work.lock().take() {
            return Some(work);
        }
        let left = end.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            quiescent(|| kernel_futex::wait(&worker.wakes, wakes, Some(left)));
            continue;
        }
        let mut pool = POOL.lock();
        if let Some(at) = pool.idle.iter().position(|idle| Arc::ptr_eq(idle, worker)) {
            pool.idle.remove(at);
            pool.tids.retain(|&tid| tid != own);
            return None;
        }
    }
}
