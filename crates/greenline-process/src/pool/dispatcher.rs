//! The parent's side of a pool: sends chunks and collects results. No green thread does that in the background: each
//! waiter collects all messages that have arrived, and puts every result into its batch.
//!
//! **No lost wake-up.** A waiter holds the lock of [`InFlight`] from its check for new messages until it is registered as
//! waiting. The check that finds no message registers the process at the shared condition, and then the waiter looks once
//! more. **Leader election.** When a waiter stops waiting for any reason, the drop of its [`WaitGuard`] promotes a follower,
//! if its OS thread has followers and no leader.
//!
//! Next: `pool/results.rs`, the handles that callers have.

use super::batch::{Batch, Outcome};
use super::message::{ResultHeader, decode, parts};
use super::shared_state::PoolShared;
use super::task::EncodedCalls;
use super::task_error::TaskError;
use super::waiters::{Waiter, Waiters};
use crate::child::Child;
use crate::shared::ProcessId;
use greenline::internals::RawMutex;
use greenline::internals::{RemoteTicket, with_blocking_disabled};
use greenline::wait::{self, Ticket, WaitResult};
use std::collections::{HashMap, VecDeque};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

pub(super) struct Dispatcher {
    pub(super) shared: Arc<PoolShared>,
    /// The process that created the pool. Other processes have copies of this struct.
    owner: ProcessId,
    pub(super) supervisor: Child,
    next_chunk: AtomicU64,
    in_flight: RawMutex<InFlight>,
}

/// The chunks without a result, and the green threads that wait for results.
#[derive(Default)]
pub(super) struct InFlight {
    chunks: HashMap<u64, Chunk>,
    /// Chunks whose worker has died before it had done all calls. They wait for space to be sent again.
    resend: VecDeque<u64>,
    /// Whether new tasks are refused.
    closed: bool,
    /// Why there will be no more results.
    over: Option<TaskError>,
    waiters: Waiters,
}

/// A chunk that has calls without an outcome.
struct Chunk {
    calls: EncodedCalls,
    /// Number of calls that have an outcome. Workers execute the calls in order.
    done: usize,
    batch: Arc<Batch>,
    /// Index within the batch of the first call.
    first: usize,
}

impl Chunk {
    /// Stores the outcome of the next call.
    fn put(&mut self, outcome: Outcome) {
        self.batch.put(self.first + self.done, outcome);
        self.done += 1;
    }

    fn is_done(&self) -> bool {
        self.done == self.calls.count
    }
}

impl InFlight {
    /// Stores the results of a message.
    fn accept(&mut self, message: &[u8]) {
        let (header, payload) = decode::<ResultHeader>(message);
        let Some(chunk) = self.chunks.get_mut(&header.chunk) else { return };
        for (call, result) in (header.first as usize..).zip(parts(payload)) {
            // A result that a dying worker had sent already arrives twice.
            if call == chunk.done {
                chunk.put(Ok(result.to_vec()));
            }
        }
        if let Some(death) = header.death.filter(|death| death.call as usize == chunk.done) {
            chunk.put(Err(TaskError::WorkerDied { exit: death.exit }));
        }
        self.waiters.wake(&chunk.batch);
        if chunk.is_done() {
            self.chunks.remove(&header.chunk);
        } else if header.death.is_some() {
            self.resend.push_back(header.chunk);
        }
    }

    /// Fails all calls that have no outcome, unless that was done already.
    fn end(&mut self, why: TaskError) {
        if self.over.is_some() {
            return;
        }
        self.resend.clear();
        for (_, mut chunk) in self.chunks.drain() {
            while !chunk.is_done() {
                chunk.put(Err(why.clone()));
            }
        }
        self.over = Some(why);
        self.waiters.wake_all();
    }
}

impl Dispatcher {
    pub(super) fn new(shared: Arc<PoolShared>, supervisor: Child) -> Dispatcher {
        let (owner, next_chunk) = (ProcessId::current(), AtomicU64::new(0));
        Dispatcher { shared, owner, supervisor, next_chunk, in_flight: RawMutex::default() }
    }

    /// Calls `f` with the lock held. Green threads cannot park meanwhile: the allocator may use locks that are patched.
    fn with_in_flight<R>(&self, f: impl FnOnce(&mut InFlight) -> R) -> R {
        with_blocking_disabled(|| f(&mut self.in_flight.lock()))
    }

    /// Sends `unsent`, whose first call has index `first` in the batch. Blocks while there is no space. Returns `false` if
    /// the deadline has passed. The calls are taken when they are sent, and not if the caller is unwound before.
    ///
    /// Errors: the pool is closed or over, or the chunk is too large, or this is not the process that created the pool.
    pub(super) fn send(
        &self,
        unsent: &mut Option<EncodedCalls>,
        batch: &Arc<Batch>,
        first: usize,
        deadline: Option<Instant>,
    ) -> Result<bool, TaskError> {
        let Some(calls) = unsent else { return Ok(true) };
        let id = self.next_chunk.fetch_add(1, Relaxed);
        let message = calls.encode(id, 0);
        let (size, limit) = (message.len(), self.shared.largest_message);
        if size > limit {
            return Err(TaskError::TooLarge { size, limit });
        }
        let sent = self.wait(deadline, None, |in_flight| {
            let refusal = in_flight.over.as_ref().or(in_flight.closed.then_some(&TaskError::Closed));
            if let Some(why) = refusal {
                return Some(Err(why.clone()));
            }
            if !self.shared.push_task(&message) {
                return None;
            }
            let chunk = Chunk { calls: unsent.take()?, done: 0, batch: batch.clone(), first };
            in_flight.chunks.insert(id, chunk);
            Some(Ok(()))
        });
        sent?.transpose().map(|sent| sent.is_some())
    }

    /// Waits until `look` finds something: results of `batch`, or a change of the shared state. Returns `None` if the
    /// deadline has passed. If it has passed before the call, the caller does not wait.
    ///
    /// Errors: this is not the process that created the pool.
    pub(super) fn wait<R>(
        &self,
        deadline: Option<Instant>,
        batch: Option<&Batch>,
        mut look: impl FnMut(&mut InFlight) -> Option<R>,
    ) -> Result<Option<R>, TaskError> {
        self.check_process()?;
        let mut guard = WaitGuard { dispatcher: self, waiter: Waiter::new(batch) };
        let mut expired = deadline.is_some_and(|deadline| deadline <= Instant::now());
        loop {
            // Of the same park as the remote ticket. A signal handler that parks in between makes both stale.
            let park_ticket = wait::ticket();
            let (waiter, ticket) = (&mut guard.waiter, RemoteTicket::current().ok());
            let found = self.with_in_flight(|in_flight| {
                in_flight.waiters.unregister(waiter);
                let found = look(in_flight).or_else(|| {
                    self.collect(in_flight);
                    look(in_flight)
                });
                if found.is_some() {
                    return found;
                }
                in_flight.waiters.register(waiter, ticket);
                if !waiter.leads || !self.supervisor.has_ended() {
                    return None;
                }
                // All workers have ended with the supervisor. What they have sent before is collected first.
                self.collect(in_flight);
                look(in_flight).or_else(|| {
                    in_flight.end(TaskError::Broken("its supervisor was killed".to_owned()));
                    look(in_flight)
                })
            });
            if found.is_some() || expired {
                return Ok(found);
            }
            expired = !guard.park(park_ticket, deadline);
        }
    }

    fn check_process(&self) -> Result<(), TaskError> {
        if self.is_ours() { Ok(()) } else { Err(TaskError::NotOurs) }
    }

    /// Collects all messages that have arrived, and sends again what has to be.
    fn collect(&self, in_flight: &mut InFlight) {
        while let Some(message) = self.shared.poll_results() {
            in_flight.accept(&message);
        }
        while let Some(id) = in_flight.resend.front() {
            // A chunk that has ended meanwhile is not in flight any more.
            let message = in_flight.chunks.get(id).map(|chunk| chunk.calls.encode(*id, chunk.done));
            if message.is_some_and(|message| !self.shared.push_task(&message)) {
                break;
            }
            in_flight.resend.pop_front();
        }
        let status = self.shared.status();
        if let Some(broken) = status.broken {
            in_flight.end(TaskError::Broken(broken.describe()));
        }
        if in_flight.closed && in_flight.chunks.is_empty() && !status.finished {
            self.shared.update(|state| state.status.finished = true);
        }
    }

    /// Refuses new tasks, unless this is another process than the one that created the pool.
    pub(super) fn close(&self) {
        if self.is_ours() {
            self.with_in_flight(|in_flight| {
                in_flight.closed = true;
                self.collect(in_flight);
            });
        }
    }

    /// Ends the workers, unless this is another process than the one that created the pool.
    pub(super) fn terminate(&self) {
        if self.is_ours() {
            self.with_in_flight(|in_flight| {
                self.collect(in_flight);
                in_flight.end(TaskError::Terminated);
            });
            self.shared.update(|state| state.status.terminated = true);
        }
    }

    /// Waits until the supervisor and all workers have ended.
    ///
    /// # Panics
    /// If the pool is neither closed nor over.
    pub(super) fn join(&self) -> Result<(), TaskError> {
        self.check_process()?;
        let is_ending = self.with_in_flight(|in_flight| {
            self.collect(in_flight);
            in_flight.closed || in_flight.over.is_some()
        });
        assert!(is_ending, "the pool is still running: close or terminate it before the join");
        // The waiter notices the end of the supervisor, too.
        self.wait(None, None, |in_flight| {
            (in_flight.over.is_some() || self.shared.status().staffed == 0).then_some(())
        })?;
        let _ = self.supervisor.join();
        Ok(())
    }

    /// Returns whether this is the process that created the pool.
    pub(super) fn is_ours(&self) -> bool {
        ProcessId::current() == self.owner
    }
}

/// Unregisters a waiter when it is dropped.
struct WaitGuard<'a> {
    dispatcher: &'a Dispatcher,
    waiter: Waiter<'a>,
}

impl WaitGuard<'_> {
    /// Blocks until the waiter has to look again. Returns `false` if the deadline has passed.
    ///
    /// Unwinds if the green thread is killed or a timeout around it fires.
    fn park(&self, ticket: Ticket, deadline: Option<Instant>) -> bool {
        let Dispatcher { shared, supervisor, .. } = self.dispatcher;
        if self.waiter.leads {
            return shared.wait_for_results(deadline, Some(supervisor.sentinel().as_raw_fd()));
        }
        wait::park(ticket, deadline, "a result of a pool of processes") == WaitResult::Notified
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.dispatcher.with_in_flight(|in_flight| {
            in_flight.waiters.unregister(&mut self.waiter);
            in_flight.waiters.promote_follower(&self.waiter);
        });
    }
}
