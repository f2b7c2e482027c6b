//! A pool of worker processes: functions called on other cores, with their arguments sent there and their results
//! sent back.
//!
//! ```no_run
//! use greenline::process::Pool;
//!
//! fn square(n: u64) -> u64 { n * n }
//!
//! let pool = Pool::new(4).unwrap();
//! assert_eq!(pool.apply(square, (7,)).unwrap(), 49);
//! assert_eq!(pool.map(square, 1..=4).unwrap(), [1, 4, 9, 16]);
//! ```
//!
//! Who works in it: the process that makes the pool; a **foreman**, a child that does nothing but start workers, and
//! another for each that dies; and the **workers**, children of the foreman. The foreman has one OS thread as long as it
//! lives, so a worker can be replaced whatever OS threads its parent has by then. Tasks and results do not pass through
//! the foreman: they lie in memory that all share, under one monitor.
//!
//! | file         | is about                                                                 |
//! |--------------|--------------------------------------------------------------------------|
//! | `task.rs`    | which functions can be sent, and how                                     |
//! | `floor.rs`   | the shared memory: tasks on their way in, notes on their way out, who holds what |
//! | `worker.rs`  | a worker's life, and the foreman's                                       |
//! | `office.rs`  | the parent's side: what was sent, and what has come of it                |
//! | `results.rs` | what callers hold: a result to come, or an iterator over them            |
//! | `error.rs`   | why there is no result                                                   |
//!
//! # Nothing is lost
//!
//! A worker writes down which task it takes before the taking is committed, and its result is committed as a whole. So
//! whenever it dies, the foreman knows which call it was in, and that one fails, by
//! [`TaskError::WorkerDied`]; of what else the worker had been given the rest is sent again, to others.
//!
//! Source: Python's `multiprocessing.Pool`, where the caller of a task whose worker dies waits for ever.

mod error;
mod floor;
mod office;
mod results;
mod task;
mod worker;

pub use error::TaskError;
pub use results::{AsyncResult, Results, TimedOut};
pub use task::Task;

use super::Process;
use floor::Floor;
use office::{Batch, Office};
use results::{all, one};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use task::Calls;

/// How a pool is to be.
#[must_use = "it does nothing until it is started"]
pub struct Builder {
    workers: usize,
    initializer: Rc<dyn Fn()>,
    max_tasks: Option<u64>,
    bytes: usize,
}

impl Builder {
    /// How many workers; as many as there are cores, if not said.
    pub fn workers(mut self, workers: usize) -> Builder {
        self.workers = workers;
        self
    }

    /// What each worker calls before its first task. If that panics, the pool is [broken](TaskError::Broken).
    pub fn initializer(mut self, initializer: impl Fn() + 'static) -> Builder {
        self.initializer = Rc::new(initializer);
        self
    }

    /// After how many tasks a worker leaves, and another takes its place: for tasks that leak. Never, if not said.
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Builder {
        self.max_tasks = Some(tasks.max(1));
        self
    }

    /// For how many bytes of arguments that wait there is room, and of results; neither may be larger. 64 MiB each, if
    /// not said. It is address space: memory is used as far as it is needed.
    pub fn bytes(mut self, bytes: usize) -> Builder {
        self.bytes = bytes;
        self
    }

    /// Starts the foreman, who starts the workers.
    ///
    /// # Errors
    /// No workers were asked for, or more than 4,096. Those of [`Process::start`]; no memory to be shared, and no descriptor
    /// left: each worker takes one.
    pub fn start(self) -> io::Result<Pool> {
        let Builder { workers, initializer, max_tasks, bytes } = self;
        if !(1..=4096).contains(&workers) {
            let text = format!("a pool can have 1 to 4096 workers, not {workers}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let office = Arc::new(Office::new(Floor::new(workers, bytes)?));
        let terms = worker::Terms { initializer, max_tasks };
        let copy = office.clone();
        let foreman = Process::new(move || worker::oversee(copy.floor(), terms));
        office.engage(foreman.name("foreman").daemon_with_children().start()?);
        Ok(Pool { office, workers })
    }
}

/// Worker processes. Dropping it [terminates](Pool::terminate) it.
pub struct Pool {
    office: Arc<Office>,
    workers: usize,
}

impl Pool {
    /// A pool of so many workers.
    ///
    /// # Errors
    /// As for [`Builder::start`].
    pub fn new(workers: usize) -> io::Result<Pool> {
        Pool::builder().workers(workers).start()
    }

    /// A pool that is to be told more.
    pub fn builder() -> Builder {
        let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Builder { workers, initializer: Rc::new(|| {}), max_tasks: None, bytes: 64 << 20 }
    }

    /// Has a worker call `f`, and waits for the result. Blocks the current green thread and no other.
    ///
    /// `args` is the tuple of the arguments; `f` is a function, or a closure that captures nothing.
    ///
    /// # Errors
    /// Why there is no result.
    pub fn apply<F, Args>(&self, f: F, args: Args) -> Result<F::Output, TaskError>
    where
        F: Task<Args>,
        Args: Serialize + DeserializeOwned,
    {
        self.apply_async(f, args).get()
    }

    /// Has a worker call `f`. Blocks only while the pool has no room for the arguments.
    ///
    /// What is wrong is said when the result is asked for.
    pub fn apply_async<F, Args>(&self, f: F, args: Args) -> AsyncResult<F::Output>
    where
        F: Task<Args>,
        Args: Serialize + DeserializeOwned,
    {
        self.send_all(f, [args], NonZeroUsize::MIN, one)
    }

    /// Has `f` called with each of `all`, and answers the results in the same order, when all have come.
    ///
    /// They are sent in chunks, some four for each worker.
    ///
    /// # Errors
    /// The first one's whose call has no result.
    pub fn map<F, A>(&self, f: F, all: impl IntoIterator<Item = A>) -> Result<Vec<F::Output>, TaskError>
    where
        F: Task<(A,)>,
        A: Serialize + DeserializeOwned,
    {
        self.map_async(f, all, None).get()
    }

    /// [`map`](Pool::map), without waiting, and in chunks of so many.
    pub fn map_async<F, A>(
        &self,
        f: F,
        all: impl IntoIterator<Item = A>,
        chunk: Option<NonZeroUsize>,
    ) -> AsyncResult<Vec<F::Output>>
    where
        F: Task<(A,)>,
        A: Serialize + DeserializeOwned,
    {
        self.starmap_async(f, all.into_iter().map(|arg| (arg,)), chunk)
    }

    /// [`map`](Pool::map), for functions of several arguments, which are given as tuples.
    ///
    /// # Errors
    /// As for `map`.
    pub fn starmap<F, Args>(
        &self,
        f: F,
        tuples: impl IntoIterator<Item = Args>,
    ) -> Result<Vec<F::Output>, TaskError>
    where
        F: Task<Args>,
        Args: Serialize + DeserializeOwned,
    {
        self.starmap_async(f, tuples, None).get()
    }

    /// [`starmap`](Pool::starmap), without waiting, and in chunks of so many.
    pub fn starmap_async<F, Args>(
        &self,
        f: F,
        tuples: impl IntoIterator<Item = Args>,
        chunk: Option<NonZeroUsize>,
    ) -> AsyncResult<Vec<F::Output>>
    where
        F: Task<Args>,
        Args: Serialize + DeserializeOwned,
    {
        let tuples: Vec<Args> = tuples.into_iter().collect();
        let fair = tuples.len().div_ceil(4 * self.workers);
        let chunk = chunk.or(NonZeroUsize::new(fair)).unwrap_or(NonZeroUsize::MIN);
        self.send_all(f, tuples, chunk, all)
    }

    /// As [`map`](Pool::map), but each result is there as soon as those before it are. `items` is asked only for as much as the
    /// workers can soon begin with, so it may be endless.
    pub fn imap<F, A, I>(&self, f: F, items: I) -> Results<F::Output>
    where
        F: Task<(A,)>,
        A: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
        I::IntoIter: 'static,
    {
        self.results(f, items, false)
    }

    /// As [`imap`](Pool::imap), in whatever order the results come.
    pub fn imap_unordered<F, A, I>(&self, f: F, items: I) -> Results<F::Output>
    where
        F: Task<(A,)>,
        A: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
        I::IntoIter: 'static,
    {
        self.results(f, items, true)
    }

    fn results<F, A, I>(&self, f: F, items: I, as_they_come: bool) -> Results<F::Output>
    where
        F: Task<(A,)>,
        A: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
        I::IntoIter: 'static,
    {
        let calls = items.into_iter().map(move |item| Calls::new(f, [(item,)]));
        Results::new(self.office.clone(), Batch::new(as_they_come), Box::new(calls), 2 * self.workers)
    }

    /// Sends all in chunks; `assemble` makes of the outcomes what is asked for.
    fn send_all<F, Args, R>(
        &self,
        f: F,
        all: impl IntoIterator<Item = Args>,
        chunk: NonZeroUsize,
        assemble: results::Assemble<R>,
    ) -> AsyncResult<R>
    where
        F: Task<Args>,
        Args: Serialize + DeserializeOwned,
    {
        let batch = Batch::new(false);
        let mut all = all.into_iter().peekable();
        let mut count = 0;
        let mut failed = None;
        while all.peek().is_some() {
            let sent = Calls::new(f, all.by_ref().take(chunk.get())).and_then(|calls| {
                let first = count;
                count += calls.count();
                self.office.send(&mut Some(calls), &batch, first, None)
            });
            if let Err(error) = sent {
                failed = Some(error);
                break;
            }
        }
        AsyncResult::new(self.office.clone(), batch, count, failed, assemble)
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Takes no more tasks; those that were sent are done. Does not wait. By another process than that which has made the
    /// pool, nothing is done.
    pub fn close(&self) {
        self.office.close();
    }

    /// Ends the workers at once, by SIGKILL; what is not done fails by [`TaskError::Terminated`]. Does not wait. By another
    /// process than that which has made the pool, nothing is done.
    pub fn terminate(&self) {
        self.office.terminate();
    }

    /// Waits until all workers have ended, after [`close`](Pool::close) or [`terminate`](Pool::terminate). Blocks the current green thread and
    /// no other.
    ///
    /// # Errors
    /// [`TaskError::NotOurs`].
    ///
    /// # Panics
    /// Neither was called: the workers would never end.
    pub fn join(&self) -> Result<(), TaskError> {
        let state = self.office.floor().look();
        let is_ending = state.closed || state.terminated || state.broken.is_some();
        assert!(is_ending, "the pool is still running: close or terminate it, then join");
        self.office.join()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // In a process that has a copy of it, it is not to be ended.
        if self.office.is_ours() {
            self.terminate();
            self.office.reap();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("workers", &self.workers).finish_non_exhaustive()
    }
}
