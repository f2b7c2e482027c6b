//! A pool of worker processes: functions called on other cores. Their arguments are sent to a worker, and their results
//! are sent back.
//!
//! Next: `pool/task.rs`, which functions can be sent.
//!
//! ```no_run
//! use greenline_process::Pool;
//!
//! fn square(n: u64) -> u64 { n * n }
//!
//! let pool = Pool::new(4).unwrap();
//! assert_eq!(pool.apply(square, (7,)).unwrap(), 49);
//! assert_eq!(pool.map(square, 1..=4).unwrap(), [1, 4, 9, 16]);
//! ```
//!
//! The processes of a pool are the **parent**, which creates the pool; the **supervisor**, a child of the parent, which
//! only starts workers and replaces those that die; and the **workers**, children of the supervisor. The supervisor has
//! one OS thread as long as it lives. So it can fork a new worker however many OS threads the parent has by then. Tasks
//! and results do not pass through the supervisor. They are in memory that all processes share, under one monitor.
//!
//! | file              | is about                                                               |
//! |-------------------|------------------------------------------------------------------------|
//! | `task.rs`         | which functions can be sent, and how they are encoded                  |
//! | `message.rs`      | the headers of chunks and of results                                   |
//! | `ledger.rs`       | which worker holds which chunk, and its outbox                         |
//! | `shared_state.rs` | the shared memory: ring of tasks, ring of results, slots of workers    |
//! | `supervisor.rs`   | the supervisor and the workers                                         |
//! | `batch.rs`        | results that have arrived, in the parent                               |
//! | `waiters.rs`      | green threads that wait for results (leader/followers)                 |
//! | `dispatcher.rs`   | the parent: sends chunks, collects results                             |
//! | `results.rs`      | the handles of callers: a result, or an iterator over results          |
//! | `task_error.rs`   | why a task has no result                                               |
//!
//! # Every task has exactly one result
//!
//! A worker records which chunk it claims before the claim is committed, and its result is committed as a whole. So
//! whenever a worker dies, the supervisor knows which call it was executing. That call fails with
//! [`TaskError::WorkerDied`]. The calls of the chunk that the worker had not begun are sent again, to other workers.
//!
//! Source: Python's `multiprocessing.Pool`, where the caller of a task whose worker dies waits forever.

mod batch;
mod dispatcher;
mod ledger;
mod message;
mod results;
mod shared_state;
mod supervisor;
mod task;
mod task_error;
mod waiters;

pub use results::{AsyncResult, Results, TimedOut};
pub use task::Task;
pub use task_error::TaskError;

use super::builder::Process;
use batch::{Batch, Order};
use dispatcher::Dispatcher;
use results::{Assemble, all, one};
use shared_state::PoolShared;
use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use supervisor::{WorkerConfig, supervise};
use task::EncodedCalls;

/// The configuration of a pool that is to be started.
#[must_use = "it does nothing until it is started"]
pub struct Builder {
    workers: usize,
    config: WorkerConfig,
    bytes: usize,
}

impl Builder {
    /// Sets the number of workers. The default is the number of cores.
    pub fn workers(mut self, workers: usize) -> Builder {
        self.workers = workers;
        self
    }

    /// Sets what each worker calls before its first task. If it panics, the pool is [broken](TaskError::Broken).
    pub fn initializer(mut self, initializer: impl Fn() + 'static) -> Builder {
        self.config.initializer = Rc::new(initializer);
        self
    }

    /// Sets the number of tasks after which a worker ends and another replaces it: for tasks that leak. The default is
    /// no limit.
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Builder {
        self.config.max_tasks = Some(tasks.max(1));
        self
    }

    /// Sets the space for arguments that wait, and for results, in bytes each. No argument and no result can be larger. The
    /// default is 64 MiB each. This is address space: memory is used as far as it is needed.
    pub fn bytes(mut self, bytes: usize) -> Builder {
        self.bytes = bytes;
        self
    }

    /// Starts the supervisor, which starts the workers.
    ///
    /// # Errors
    /// The number of workers is 0 or more than 4,096. The errors of [`Process::start`]. No shared memory or no descriptor is
    /// left: each worker takes one.
    pub fn start(self) -> io::Result<Pool> {
        let Builder { workers, config, bytes } = self;
        if !(1..=4096).contains(&workers) {
            let text = format!("a pool can have 1 to 4096 workers, not {workers}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let shared = Arc::new(PoolShared::new(workers, bytes)?);
        let shared_with_child = shared.clone();
        let supervisor = Process::new(move || supervise(&shared_with_child, &config));
        let supervisor = supervisor.name("supervisor").daemon_with_children().start()?;
        Ok(Pool { dispatcher: Arc::new(Dispatcher::new(shared, supervisor)) })
    }
}

/// Worker processes. Dropping the pool [terminates](Pool::terminate) it.
pub struct Pool {
    dispatcher: Arc<Dispatcher>,
}

impl Pool {
    /// Starts a pool with that many workers.
    ///
    /// # Errors
    /// As for [`Builder::start`].
    pub fn new(workers: usize) -> io::Result<Pool> {
        Pool::builder().workers(workers).start()
    }

    /// Returns the default configuration.
    pub fn builder() -> Builder {
        let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let config = WorkerConfig { initializer: Rc::new(|| {}), max_tasks: None };
        Builder { workers, config, bytes: 64 << 20 }
    }

    /// Calls `f` in a worker and waits for the result. Blocks only the current green thread.
    ///
    /// `args` is the tuple of the arguments. `f` is a function, or a closure that captures nothing.
    ///
    /// # Errors
    /// Why there is no result.
    pub fn apply<F: Task<Args>, Args>(&self, f: F, args: Args) -> Result<F::Output, TaskError> {
        self.apply_async(f, args).get()
    }

    /// Calls `f` in a worker. Blocks only while the pool has no space for the arguments. All errors are errors of the
    /// result.
    pub fn apply_async<F: Task<Args>, Args>(&self, f: F, args: Args) -> AsyncResult<F::Output> {
        self.send_all(f, [args], NonZeroUsize::MIN, one)
    }

    /// Calls `f` with each item of `all` and waits for all results. Returns them in the order of the items. The items are
    /// sent in chunks, about four for each worker.
    ///
    /// # Errors
    /// The error of the first call that has no result.
    pub fn map<F: Task<(A,)>, A>(
        &self,
        f: F,
        all: impl IntoIterator<Item = A>,
    ) -> Result<Vec<F::Output>, TaskError> {
        self.map_async(f, all, None).get()
    }

    /// [`map`](Pool::map) without waiting, in chunks of that many items.
    pub fn map_async<F: Task<(A,)>, A>(
        &self,
        f: F,
        all: impl IntoIterator<Item = A>,
        chunk: Option<NonZeroUsize>,
    ) -> AsyncResult<Vec<F::Output>> {
        self.starmap_async(f, all.into_iter().map(|arg| (arg,)), chunk)
    }

    /// [`map`](Pool::map) for functions of several arguments, which are given as tuples.
    ///
    /// # Errors
    /// As for `map`.
    pub fn starmap<F: Task<Args>, Args>(
        &self,
        f: F,
        tuples: impl IntoIterator<Item = Args>,
    ) -> Result<Vec<F::Output>, TaskError> {
        self.starmap_async(f, tuples, None).get()
    }

    /// [`starmap`](Pool::starmap) without waiting, in chunks of that many items.
    pub fn starmap_async<F: Task<Args>, Args>(
        &self,
        f: F,
        tuples: impl IntoIterator<Item = Args>,
        chunk: Option<NonZeroUsize>,
    ) -> AsyncResult<Vec<F::Output>> {
        let tuples: Vec<Args> = tuples.into_iter().collect();
        let default = NonZeroUsize::new(tuples.len().div_ceil(4 * self.workers()));
        self.send_all(f, tuples, chunk.or(default).unwrap_or(NonZeroUsize::MIN), all)
    }

    /// [`map`](Pool::map) with an iterator over results in the order of `items`. Each result is available as soon as those
    /// before it are. The pool takes only as many items as the workers can begin with soon, so `items` may be endless.
    pub fn imap<F: Task<(A,)>, A, I>(&self, f: F, items: I) -> Results<F::Output>
    where
        I: IntoIterator<Item = A, IntoIter: 'static>,
    {
        self.results(f, items, Order::Calls)
    }

    /// [`imap`](Pool::imap) with the results in the order in which they arrive.
    pub fn imap_unordered<F: Task<(A,)>, A, I>(&self, f: F, items: I) -> Results<F::Output>
    where
        I: IntoIterator<Item = A, IntoIter: 'static>,
    {
        self.results(f, items, Order::Arrival)
    }

    fn results<F: Task<(A,)>, A, I>(&self, f: F, items: I, order: Order) -> Results<F::Output>
    where
        I: IntoIterator<Item = A, IntoIter: 'static>,
    {
        let calls = items.into_iter().map(move |item| EncodedCalls::new(f, [(item,)]));
        Results::new(self.dispatcher.clone(), Batch::new(order), Box::new(calls), 2 * self.workers())
    }

    /// Sends all items in chunks. `assemble` makes the result from their outcomes.
    fn send_all<F: Task<Args>, Args, R>(
        &self,
        f: F,
        all: impl IntoIterator<Item = Args>,
        chunk: NonZeroUsize,
        assemble: Assemble<R>,
    ) -> AsyncResult<R> {
        let batch = Batch::new(Order::Calls);
        let mut all = all.into_iter().peekable();
        let (mut count, mut failed) = (0, None);
        while failed.is_none() && all.peek().is_some() {
            let sent = EncodedCalls::new(f, all.by_ref().take(chunk.get())).and_then(|calls| {
                let first = count;
                count += calls.count;
                self.dispatcher.send(&mut Some(calls), &batch, first, None)
            });
            failed = sent.err();
        }
        AsyncResult { dispatcher: self.dispatcher.clone(), batch, count, failed, assemble }
    }

    /// Returns the number of workers.
    pub fn workers(&self) -> usize {
        self.dispatcher.shared.slots
    }

    /// Makes the pool refuse new tasks. Tasks that were sent are executed. Does not wait. In another process than the one
    /// that created the pool, it does nothing.
    pub fn close(&self) {
        self.dispatcher.close();
    }

    /// Ends the workers at once, by SIGKILL. Tasks that are not done fail with [`TaskError::Terminated`]. Does not wait. In
    /// another process than the one that created the pool, it does nothing.
    pub fn terminate(&self) {
        self.dispatcher.terminate();
    }

    /// Waits until all workers have ended, after [`close`](Pool::close) or [`terminate`](Pool::terminate). Blocks only the
    /// current green thread.
    ///
    /// # Errors
    /// [`TaskError::NotOurs`].
    ///
    /// # Panics
    /// If neither was called: the workers would never end.
    pub fn join(&self) -> Result<(), TaskError> {
        self.dispatcher.join()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // A copy of the pool in another process does not end it.
        if self.dispatcher.is_ours() {
            self.terminate();
            // This takes some milliseconds. A destructor blocks the OS thread.
            self.dispatcher.supervisor.wait_in_kernel(None);
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("workers", &self.workers()).finish_non_exhaustive()
    }
}
