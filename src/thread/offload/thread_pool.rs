//! The pool's bookkeeping: its workers, the queue, and the limit. All of it is under one lock.
//!
//! Next: `thread/offload/pool_worker.rs`.
#![allow(unsafe_code)]

use crate::sys::at_fork::forks;
use crate::sys::kernel_futex;
use crate::sys::raw_mutex::Lock;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize};

/// Number of functions of a kind that run at once, unless the program or the environment sets another one.
///
/// Offloaded functions mostly wait: for a disk, whose own queue holds some 32 or 64 requests, or for a name server. So the
/// number of processors does not matter. With four, as in libuv, slow lookups of names would keep files from being read.
/// With hundreds, requests beyond what the disk takes would fill memory with stacks.
const DEFAULT_LIMIT: usize = 64;

/// Number of functions of a kind that run at once. 0: not determined yet.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

pub(super) static POOL: Lock<Pool> = Lock::new(Pool::new());

/// The kind of some work. `offload/mod.rs` says why there are three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkKind {
    UserFn,
    LibcCall,
    ExternalWait,
}

/// A function to run. It does not panic, unless the destructor of its result does.
pub(super) struct Work {
    pub(super) kind: WorkKind,
    pub(super) body: Box<dyn FnOnce() + Send>,
}

pub(super) struct Pool {
    /// The workers without work. The last one to become idle is the last.
    pub(super) idle: Vec<Arc<Worker>>,
    /// All workers, idle or not.
    pub(super) workers: Vec<Arc<Worker>>,
    /// Work that waits for the limit, by kind.
    pub(super) queues: [VecDeque<Work>; 3],
    /// Number of functions of each kind that run.
    pub(super) running: [usize; 3],
}

/// One OS thread of the pool.
pub(super) struct Worker {
    pub(super) number: u32,
    /// The process of the worker, as its number of forks.
    pub(super) forks: u32,
    /// The kernel's id of the OS thread. 0: it does not run yet.
    pub(super) tid: AtomicI32,
    /// Number of wake-ups. A futex.
    pub(super) wakes: AtomicU32,
    pub(super) work: Lock<Option<Work>>,
}

impl Worker {
    /// Makes the worker look for its work.
    pub(super) fn wake(&self) {
        self.wakes.fetch_add(1, AcqRel);
        kernel_futex::wake_one(&self.wakes);
    }
}

impl Pool {
    const fn new() -> Pool {
        Pool {
            idle: Vec::new(),
            workers: Vec::new(),
            queues: [const { VecDeque::new() }; 3],
            running: [0; 3],
        }
    }

    /// Takes work that the limit lets start, in the order of submission within each kind. Counts it as started.
    pub(super) fn next_in_queue(&mut self) -> Option<Work> {
        let limit = LIMIT.load(Relaxed);
        [WorkKind::UserFn, WorkKind::LibcCall, WorkKind::ExternalWait].into_iter().find_map(|kind| {
            let running = &mut self.running[kind as usize];
            let has_room = kind == WorkKind::ExternalWait || *running < limit;
            let work = has_room.then(|| self.queues[kind as usize].pop_front())??;
            *running += 1;
            Some(work)
        })
    }

    /// Gives work to an idle worker, which the caller wakes when it has released the lock. Returns the work if no worker is
    /// idle.
    pub(super) fn hand_to_idle(&mut self, work: Work) -> Result<Arc<Worker>, Work> {
        let Some(worker) = self.idle.pop() else { return Err(work) };
        *worker.work.lock() = Some(work);
        Ok(worker)
    }

    /// Adds a worker, with the lowest number that is free. The caller makes its OS thread.
    pub(super) fn add_worker(&mut self, work: Work) -> Arc<Worker> {
        let is_taken = |number| self.workers.iter().any(|worker| worker.number == number);
        let number = (1..).find(|&number| !is_taken(number)).expect("there are fewer workers than numbers");
        let worker = Arc::new(Worker {
            number,
            forks: forks(),
            tid: AtomicI32::new(0),
            wakes: AtomicU32::new(0),
            work: Lock::new(Some(work)),
        });
        self.workers.push(worker.clone());
        worker
    }

    pub(super) fn remove_worker(&mut self, worker: &Arc<Worker>) {
        self.workers.retain(|other| !Arc::ptr_eq(other, worker));
    }

    /// Removes a worker if it is idle. Returns `false` if it is not, and so has work.
    pub(super) fn remove_if_idle(&mut self, worker: &Arc<Worker>) -> bool {
        let idle = self.idle.len();
        self.idle.retain(|other| !Arc::ptr_eq(other, worker));
        let was_idle = self.idle.len() < idle;
        if was_idle {
            self.remove_worker(worker);
        }
        was_idle
    }
}

pub(super) fn set_limit(limit: usize) {
    LIMIT.store(limit, Relaxed);
}

/// Determines the limit, if there is none yet.
pub(super) fn init_limit() {
    if LIMIT.load(Relaxed) == 0 {
        let from_env = std::env::var("GREENLINE_OFFLOAD").ok().and_then(|text| text.trim().parse().ok());
        let limit = from_env.filter(|&n| n > 0).unwrap_or(DEFAULT_LIMIT);
        // The program may have set a limit meanwhile.
        let _ = LIMIT.compare_exchange(0, limit, Relaxed, Relaxed);
    }
}

/// Gives a forked child an empty pool. Work that was submitted in the parent is done there.
pub(super) fn reset_after_fork() {
    // SAFETY: the child has one OS thread, and it does not hold the lock.
    unsafe { POOL.reset_after_fork(Pool::new()) };
}
