//! The pool's bookkeeping: its workers, the queue, and the limit. All of it is under one lock.
//!
//! Next: `thread/offload/pool_worker.rs`.
#![allow(unsafe_code)]

use crate::sys::raw_mutex::Lock;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Number of functions of a kind that run at once, unless the program or the environment sets another one.
///
/// Offloaded functions mostly wait: for a disk, whose own queue holds some 32 or 64 requests, or for a name server. So the
/// number of processors does not matter. With four, as in libuv, slow lookups of names would keep files from being read.
/// With hundreds, requests beyond what the disk takes would fill memory with stacks.
const DEFAULT_LIMIT: usize = 64;

/// Number of functions of a kind that run at once. 0: not determined yet.
pub(super) static LIMIT: AtomicUsize = AtomicUsize::new(0);

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
    /// The kernel's ids of the OS threads of all workers that run, idle or not.
    pub(super) tids: Vec<i32>,
    /// Number of workers made so far.
    pub(super) made: u32,
    /// Work that waits for the limit, by kind.
    pub(super) queues: [VecDeque<Work>; 3],
    /// Number of functions of each kind that run.
    pub(super) running: [usize; 3],
}

/// One OS thread of the pool.
pub(super) struct Worker {
    /// Number of wake-ups. A futex.
    pub(super) wakes: AtomicU32,
    /// The work that it was given and has not taken.
    pub(super) work: Lock<Option<Work>>,
}

impl Pool {
    const fn new() -> Pool {
        let queues = [const { VecDeque::new() }; 3];
        Pool { idle: Vec::new(), tids: Vec::new(), made: 0, queues, running: [0; 3] }
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
