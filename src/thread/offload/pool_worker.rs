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
use crate::sys::sigset::Signals;
use crate::sys::tid::gettid;
use crate::thread::start::Thread;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

/// How long a worker is idle before it ends.
const IDLE_THREAD_TTL: Duration = Duration::from_secs(5);

/// Puts work into the queue, and serves the queue. Returns work that the caller has to run: because the calling OS thread is a
/// worker, which could wait for itself, or as [`serve_queue`] says.
///
/// The caller has disabled blocking.
pub(super) fn submit(work: Work) -> Option<Work> {
    at_fork::register(thread_pool::reset_after_fork);
    thread_pool::init_limit();
    let own = gettid();
    {
        let mut pool = POOL.lock();
        if pool.workers.iter().any(|worker| worker.tid.load(Relaxed) == own) {
            return Some(work);
        }
        pool.queues[work.kind as usize].push_back(work);
    }
    serve_queue()
}

/// Starts as much of the queue as the limit lets start, on idle workers and new ones. Returns work that the caller has to run,
/// because no OS thread can be made and there is no worker.
///
/// The caller has disabled blocking.
pub(super) fn serve_queue() -> Option<Work> {
    loop {
        let mut pool = POOL.lock();
        let work = pool.next_in_queue()?;
        let worker = match pool.hand_to_idle(work) {
            Ok(idle) => {
                drop(pool);
                idle.wake();
                continue;
            }
            Err(work) => pool.add_worker(work),
        };
        drop(pool);
        let (name, started) = (format!("greenline-off-{}", worker.number), worker.clone());
        if Thread::new(move || run(&started)).name(name).daemon(true).start().is_ok() {
            continue;
        }
        // There are too many OS threads, or there is no memory.
        let work = worker.work.lock().take().expect("a worker that did not start has not taken its work");
        let mut pool = POOL.lock();
        pool.remove_worker(&worker);
        pool.running[work.kind as usize] -= 1;
        // Workers that are about to start may fail as well, so they do not count.
        if pool.workers.iter().all(|worker| worker.tid.load(Relaxed) == 0) {
            return Some(work);
        }
        pool.queues[work.kind as usize].push_front(work);
        // A worker that has become idle meanwhile does not look into the queue again.
        if pool.idle.is_empty() {
            return None;
        }
    }
}

/// Serves the queue, and runs the work for which there is no OS thread.
pub(super) fn serve_queue_or_run() {
    with_blocking_disabled(|| {
        while let Some(work) = serve_queue() {
            (work.body)();
        }
    });
}

/// Runs on the worker's OS thread.
fn run(worker: &Arc<Worker>) {
    worker.tid.store(gettid(), Relaxed);
    let original = Signals::block_all();
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
        work = next(worker, kind);
    }
}

/// Returns the next work, after some of the kind `done`. `None`: the OS thread ends.
fn next(worker: &Arc<Worker>, done: WorkKind) -> Option<Work> {
    let mut pool = POOL.lock();
    if worker.forks != forks() {
        // The work has forked, and this is the child. Its only OS thread ends, and with it, as in C, the process.
        return None;
    }
    pool.running[done as usize] -= 1;
    if try_current().is_some() {
        // Green threads may be alive on this OS thread, and calls of the pool would be patched.
        pool.remove_worker(worker);
        drop(pool);
        serve_queue_or_run();
        return None;
    }
    if let Some(work) = pool.next_in_queue() {
        return Some(work);
    }
    pool.idle.push(worker.clone());
    drop(pool);
    wait(worker)
}

/// Waits for work. While the worker is listed as idle it allocates nothing, and holds no lock except, for a moment, the
/// pool's, because the process may fork at any time.
fn wait(worker: &Arc<Worker>) -> Option<Work> {
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
        } else if POOL.lock().remove_if_idle(worker) {
            return None;
        }
    }
}
