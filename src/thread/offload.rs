//! What cannot be polled: done on another OS thread, while the green thread that has asked for it alone waits.
//!
//! A pool for the whole process, shared by all hubs. Its OS threads are made when there is work and none is idle, up to
//! a limit; further work stands in a line. One that was idle for some seconds ends. The last to become idle is the
//! first to be called, so that the others get their seconds.
//!
//! ```text
//!   offload -> give -> an idle worker, a new one, or the line        worker:  live: job, next: the line, or idle
//!     join by the promise  <--------------------------------------------------+
//! ```
//!
//! There are three kinds of jobs ([`WorkKind`]). A *call* of the C library ends by itself: a disk, a name server answers. A
//! *function* of the program may need a green thread to go on, which may need a call. So each of these kinds has the
//! limit for itself, and calls always go on. A *wait* ends when somebody else does something: gives back a lock on a
//! file, opens the other end of a pipe. He may need any of the others for that; were the limit used up by those who wait
//! for him, nothing would ever go on. So waits have OS threads beyond it.
//!
//! Holds: a job that was given is run, once, by a worker or, where no OS thread can be had, by who gave it. All that is
//! shared is under one lock, in which nobody blocks. After a fork the child has an empty pool.
//!
//! Signals are for the program's own OS threads to handle: one that has them blocked, to wait for them in its own way,
//! must not lose them to one of these. Only a function of the program has those that its caller's OS thread had.
//!
//! Leaves to others: what is to be done (`patch/io`), waiting for it (`hub/inbox.rs`: `api/oneshot.rs`).
//! Source: gevent's `ThreadPool`; libuv's and Go's blocking calls.
#![allow(unsafe_code)]

use crate::api::current_hub::current_hub;
use crate::api::oneshot::oneshot;
use crate::green::catch_body;
use crate::hub::{try_current, with_blocking_disabled};
use crate::ids::WaitReason;
use crate::sys::at_fork::{self, forks};
use crate::sys::catch::drop_ignoring_panics;
use crate::sys::kernel_futex;
use crate::sys::quiescent::quiescent;
use crate::sys::raw_mutex::Lock;
use crate::sys::signals_blocked::SignalsBlocked;
use crate::sys::tid::gettid;
use crate::thread::Thread;
use crate::time::NEVER;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize};
use std::time::{Duration, Instant};

/// How many jobs of a kind are done at once, unless the program or the environment says something else.
///
/// What is offloaded mostly waits: for a disk, whose own line holds some 32 or 64 requests, or for a name server. So
/// the processors say nothing about it. Four, as libuv has it, and slow lookups of names keep files from being read;
/// hundreds, and what is too much for the disk fills memory with stacks.
const LIMIT_BY_ITSELF: usize = 64;

/// How long an OS thread of the pool waits for another job before it ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many jobs of a kind are done at once; 0: not asked yet.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

static POOL: Lock<Pool> = Lock::new(Pool::new());

/// Runs `f` on an OS thread of a pool, and answers what it returns. The current green thread waits, and the others run
/// meanwhile: for what blocks and cannot be patched, and for what computes for long.
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
/// It is a call and not a thread: what `f` throws goes on in who has called. It costs some 10 to 20 microseconds, so
/// offload what takes longer.
///
/// As many functions run at once as [`offload_threads`] says; the others wait their turn, first in, first out. So none
/// may wait for another one, which may not have begun: those are for [`Thread`]. One that calls
/// `offload` itself runs the inner function at once, where it is.
///
/// There, `f` has no hub, and so nothing in it is patched. Should it make one, by spawning green threads say, then that OS
/// thread ends when `f` returns, as [`Thread::start`] describes, and the pool makes another one.
///
/// When the green thread that waits is killed, or its timeout fires, `f` goes on, or is even still to begin, and what it
/// returns is dropped by the pool. Where no OS thread can be made, and none is there, `f` runs where it is
/// called.
///
/// # Panics
/// When `f` does, with what it has thrown. Unwinds when the green thread is killed or a timeout around it fires.
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
    let (sender, handle) = oneshot();
    // As it was thrown, for even a kill of who calls may come through here, where `f` runs in place.
    let body = move || sender.complete(Ok(catch_unwind(AssertUnwindSafe(f))));
    run(Job { load: WorkKind::UserFn, body: Box::new(body) });
    let result = handle.join_by(|ticket| {
        current_hub().block_at(ticket, NEVER, WaitReason::For("an offloaded function"), at);
    });
    result.expect("a job keeps its promise").unwrap_or_else(|thrown| resume_unwind(thrown))
}

/// Says how many [offloaded](offload) functions run at once, from now on: 64 by itself, or what the environment variable
/// `GREENLINE_OFFLOAD` says. Each may take an OS thread. If there are more now, they are not interrupted.
///
/// As many calls of the C library that are [patched](crate::patch::io) to be offloaded, to read a file say, run at once
/// beside them. Those that wait for a lock on a file, or for the other end of a named pipe, are not counted.
///
/// # Panics
/// When `n` is 0.
///
/// Source: gevent's `threadpool.maxsize`.
pub fn offload_threads(n: usize) {
    assert!(n > 0, "offload_threads(0): nothing that is offloaded would ever run");
    LIMIT.store(n, Relaxed);
    with_blocking_disabled(serve_line);
}

/// What kind of job it is. See the top of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkKind {
    UserFn,
    LibcCall,
    ExternalWait,
}

/// [`offload`], for interposed calls: `f` may borrow from who calls, which waits until it has ended, come what may.
pub(crate) fn shielded<T: Send + 'static>(
    load: WorkKind,
    what: &'static str,
    f: impl FnOnce() -> T + Send,
) -> T {
    let guard = crate::sys::abort::AbortOnUnwind("a wait that has to last was ended by an unwind");
    let (sender, handle) = oneshot();
    let body = move || sender.complete(Ok(catch_unwind(AssertUnwindSafe(f))));
    let body: Box<dyn FnOnce() + Send + '_> = Box::new(body);
    // SAFETY: only the lifetime is another. What `f` borrows outlives this function, which is not left, for the guard,
    // until the promise is kept; and by then `f`, and all that it has captured, is gone.
    let body: Box<dyn FnOnce() + Send> = unsafe { std::mem::transmute(body) };
    run(Job { load, body });
    let result = handle.join_by(|ticket| {
        current_hub().park(ticket, NEVER, WaitReason::For(what), true);
    });
    guard.disarm();
    result.expect("a job keeps its promise").unwrap_or_else(|thrown| resume_unwind(thrown))
}

/// What is to be done. It throws nothing but what the destructor of its result throws.
struct Job {
    load: WorkKind,
    body: Box<dyn FnOnce() + Send>,
}

/// Has it run, here if need be. Given by nobody: the allocator may have locks, and std, for its threads, has some; and
/// nobody may park while the pool is locked.
fn run(job: Job) {
    if let Err(job) = with_blocking_disabled(|| give(job)) {
        (job.body)();
    }
}

struct Pool {
    /// Who has no job, the last to become so last.
    idle: Vec<Arc<Worker>>,
    /// All, idle or not.
    workers: Vec<Arc<Worker>>,
    /// What there was no room for.
    line: VecDeque<Job>,
    /// How many jobs of each kind are being done.
    running: [usize; 3],
}

impl Pool {
    const fn new() -> Pool {
        Pool { idle: Vec::new(), workers: Vec::new(), line: VecDeque::new(), running: [0; 3] }
    }

    /// Whether such a job may begin.
    fn has_room(&self, load: WorkKind) -> bool {
        load == WorkKind::ExternalWait || self.running[load as usize] < LIMIT.load(Relaxed)
    }

    fn begin(&mut self, load: WorkKind) {
        self.running[load as usize] += 1;
    }

    fn end(&mut self, load: WorkKind) {
        self.running[load as usize] -= 1;
    }

    /// The first of the line that may begin: from now on it has.
    fn next_in_line(&mut self) -> Option<Job> {
        let at = self.line.iter().position(|job| self.has_room(job.load))?;
        let job = self.line.remove(at)?;
        self.begin(job.load);
        Some(job)
    }

    /// Gives a job to somebody idle. Answers who it is, to be rung when the lock is given back; or the job.
    fn call(&mut self, job: Job) -> Result<Arc<Worker>, Job> {
        let Some(worker) = self.idle.pop() else { return Err(job) };
        *worker.job.lock() = Some(job);
        Ok(worker)
    }

    /// A new one, that has to be started; with the lowest number that is free.
    fn hire(&mut self, job: Job) -> Arc<Worker> {
        let taken = |number| self.workers.iter().any(|worker| worker.number == number);
        let number = (1..).find(|&number| !taken(number)).expect("there are fewer workers than numbers");
        let worker = Arc::new(Worker {
            number,
            forks: forks(),
            tid: AtomicI32::new(0),
            calls: AtomicU32::new(0),
            job: Lock::new(Some(job)),
        });
        self.workers.push(worker.clone());
        worker
    }

    fn dismiss(&mut self, worker: &Arc<Worker>) {
        self.workers.retain(|other| !Arc::ptr_eq(other, worker));
    }

    /// Takes one out who idles. `false`: it does not, and has a job.
    fn remove_idle(&mut self, worker: &Arc<Worker>) -> bool {
        let idles = self.is_idle(worker);
        if idles {
            self.idle.retain(|other| !Arc::ptr_eq(other, worker));
            self.dismiss(worker);
        }
        idles
    }

    fn is_idle(&self, worker: &Arc<Worker>) -> bool {
        self.idle.iter().any(|other| Arc::ptr_eq(other, worker))
    }
}

/// One OS thread of the pool.
struct Worker {
    number: u32,
    /// In which process, counted by forks.
    forks: u32,
    /// Its number for the kernel; 0 until it runs.
    tid: AtomicI32,
    /// How often it was called: what it sleeps by.
    calls: AtomicU32,
    job: Lock<Option<Job>>,
}

/// What has become of a job that has begun.
enum Begun {
    /// A worker does it.
    Elsewhere,
    /// It has not begun after all, and stands in the line.
    Later,
    /// There is no OS thread for it, and none that will have time.
    Nowhere(Job),
}

/// Gives a job to whoever may do it, or to the line. Answers it if who calls has to do it: an OS thread of the pool, which
/// might wait for itself; or there is no other OS thread to be had.
fn give(job: Job) -> Result<(), Job> {
    at_fork::register(reset_after_fork);
    settle_limit();
    let me = gettid();
    {
        let mut pool = POOL.lock();
        if pool.workers.iter().any(|worker| worker.tid.load(Relaxed) == me) {
            return Err(job);
        }
        if !pool.has_room(job.load) {
            pool.line.push_back(job);
            return Ok(());
        }
        pool.begin(job.load);
    }
    match begin(job) {
        Begun::Nowhere(job) => Err(job),
        Begun::Elsewhere | Begun::Later => Ok(()),
    }
}

/// Has a job, for which there is room, done by somebody idle or somebody new.
fn begin(job: Job) -> Begun {
    let worker = {
        let mut pool = POOL.lock();
        match pool.call(job) {
            Ok(worker) => {
                drop(pool);
                worker.ring();
                return Begun::Elsewhere;
            }
            Err(job) => pool.hire(job),
        }
    };
    let newcomer = worker.clone();
    let name = format!("greenline-off-{}", worker.number);
    match Thread::new(move || newcomer.live()).name(name).daemon(true).start() {
        Ok(_) => Begun::Elsewhere,
        // There are too many, or there is no memory.
        Err(_) => begin_without(&worker),
    }
}

/// [`begin`], without the worker that could not be started.
fn begin_without(worker: &Arc<Worker>) -> Begun {
    let job = worker.job.lock().take().expect("who was never started has taken no job");
    let mut pool = POOL.lock();
    pool.dismiss(worker);
    match pool.call(job) {
        Ok(worker) => {
            drop(pool);
            worker.ring();
            Begun::Elsewhere
        }
        Err(job) => {
            pool.end(job.load);
            // Others that are about to start may fail, too.
            if pool.workers.iter().all(|worker| worker.tid.load(Relaxed) == 0) {
                return Begun::Nowhere(job);
            }
            pool.line.push_front(job);
            Begun::Later
        }
    }
}

/// Begins what may begin of the line.
fn serve_line() {
    loop {
        // The lock is given back before the job is handed on.
        let next = POOL.lock().next_in_line();
        match next.map(begin) {
            Some(Begun::Elsewhere) => {}
            Some(Begun::Nowhere(job)) => (job.body)(),
            Some(Begun::Later) | None => return,
        }
    }
}

impl Worker {
    /// The whole life of the OS thread.
    fn live(self: Arc<Worker>) {
        self.tid.store(gettid(), Relaxed);
        let deaf = SignalsBlocked::new();
        let mut job = self.job.lock().take();
        while let Some(Job { load, body }) = job {
            // What the program's function starts has its signals.
            let done = if load == WorkKind::UserFn {
                deaf.with_original_mask(|| catch_body(body))
            } else {
                catch_body(body)
            };
            // A destructor may throw: that of a result that nobody wants.
            if let Err(thrown) = done {
                drop_ignoring_panics(thrown);
            }
            job = self.next(load);
        }
    }

    /// Another job, after one of that kind. `None`: the OS thread is to end.
    fn next(self: &Arc<Worker>, done: WorkKind) -> Option<Job> {
        let mut pool = POOL.lock();
        if self.forks != forks() {
            // The job has forked, and this is the child. Its one thread ends, and so, as C has it, does the process.
            return None;
        }
        pool.end(done);
        if try_current().is_some() {
            // Green threads may be alive on it, and what is called here would be patched.
            pool.dismiss(self);
            drop(pool);
            with_blocking_disabled(serve_line);
            return None;
        }
        if let Some(job) = pool.next_in_line() {
            return Some(job);
        }
        pool.idle.push(self.clone());
        drop(pool);
        self.wait()
    }

    /// Idles. While it is listed as idle it allocates nothing, and holds no lock but, for a moment, the pool's: a fork
    /// may come at any time.
    fn wait(self: &Arc<Worker>) -> Option<Job> {
        let end = Instant::now() + PATIENCE;
        loop {
            let calls = self.calls.load(Acquire);
            // Whoever gives it one calls afterwards.
            if let Some(job) = self.job.lock().take() {
                return Some(job);
            }
            let left = end.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                quiescent(|| kernel_futex::wait(&self.calls, calls, Some(left)));
            } else if POOL.lock().remove_idle(self) {
                return None;
            }
        }
    }

    /// Has it look for its job.
    fn ring(&self) {
        self.calls.fetch_add(1, AcqRel);
        kernel_futex::wake_one(&self.calls);
    }
}

/// Makes sure that there is a limit.
fn settle_limit() {
    if LIMIT.load(Relaxed) == 0 {
        let said = std::env::var("GREENLINE_OFFLOAD").ok().and_then(|text| text.trim().parse().ok());
        let limit = said.filter(|&n| n > 0).unwrap_or(LIMIT_BY_ITSELF);
        // Unless the program says something meanwhile.
        let _ = LIMIT.compare_exchange(0, limit, Relaxed, Relaxed);
    }
}

/// The child of a fork begins with nobody in its pool. What was given to the parent's, the parent does.
fn reset_after_fork() {
    // SAFETY: the child has one OS thread, and it is here.
    unsafe { POOL.reset_after_fork(Pool::new()) };
}
