//! The parent's side of a pool: sends chunks and collects results. No green thread does that in the background: each
//! waiter collects all messages that have arrived, and puts every result into its batch.
//!
//! **No lost wake-up.** A waiter holds the lock of [`InFlight`] from its check for new messages until it is registered as
//! waiting. **Leader election.** When a waiter stops waiting for any reason, the drop of its [`WaitGuard`] promotes a
//! follower, if its OS thread has followers and no leader.
//!
//! Next: `process/pool/results.rs`, the handles that callers have.

use super::batch::{Batch, ResultSlice};
use super::message::{ResultHeader, decode, results};
use super::shared_state::{PoolShared, Snapshot};
use super::task::EncodedCalls;
use super::task_error::TaskError;
use super::waiters::{Role, Waiter, Waiters};
use crate::api::current_hub::current_hub;
use crate::green::Interruptible;
use crate::hub::{RemoteTicket, with_blocking_disabled};
use crate::ids::ParkResult;
use crate::process::child::Child;
use crate::process::shared::ProcessId;
use crate::sys::raw_mutex::Lock;
use crate::time::NEVER;
use std::collections::{HashMap, VecDeque};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(super) struct Dispatcher {
    shared: Arc<PoolShared>,
    /// The process that created the pool. Other processes have copies of this struct.
    owner: ProcessId,
    supervisor: Child,
    next_chunk: AtomicU64,
    in_flight: Lock<InFlight>,
}

/// The chunks without a result, and the green threads that wait for results.
#[derive(Default)]
struct InFlight {
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
    fn put(&mut self, outcome: Result<ResultSlice, TaskError>) {
        self.batch.put(self.first + self.done, outcome);
        self.done += 1;
    }

    fn is_done(&self) -> bool {
        self.done == self.calls.count()
    }
}

impl InFlight {
    /// Stores the results of a message.
    fn accept(&mut self, message: &Arc<Vec<u8>>) {
        let (header, payload) = decode::<ResultHeader>(message);
        let Some(chunk) = self.chunks.get_mut(&header.chunk) else { return };
        for (call, range) in (header.first as usize..).zip(results(message, payload)) {
            // A result that a dying worker had sent already arrives twice.
            if call == chunk.done {
                chunk.put(Ok(ResultSlice { message: message.clone(), range }));
            }
        }
        if let Some(death) =
            header.death.filter(|death| !chunk.is_done() && death.call as usize == chunk.done)
        {
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

/// The next step of a waiter.
enum Next<R> {
    /// Return this; `None` if the deadline has passed.
    Return(Option<R>),
    Retry,
    Park,
}

impl Dispatcher {
    pub(super) fn new(shared: Arc<PoolShared>, supervisor: Child) -> Dispatcher {
        let (owner, next_chunk) = (ProcessId::current(), AtomicU64::new(0));
        Dispatcher { shared, owner, supervisor, next_chunk, in_flight: Lock::default() }
    }

    pub(super) fn shared(&self) -> &PoolShared {
        &self.shared
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
        self.shared.check_size(message.len())?;
        let sent = self.wait(deadline, Waiter::new(None), |in_flight| {
            if let Some(why) = &in_flight.over {
                return Some(Err(why.clone()));
            }
            if in_flight.closed {
                return Some(Err(TaskError::Closed));
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

    /// Waits until `look` finds something. It is called again when results of `batch` have arrived. Returns `None` if the
    /// deadline has passed. If it has passed before the call, the caller does not wait.
    ///
    /// Errors: this is not the process that created the pool.
    pub(super) fn wait_for<R>(
        &self,
        deadline: Option<Instant>,
        batch: &Batch,
        mut look: impl FnMut() -> Option<R>,
    ) -> Result<Option<R>, TaskError> {
        self.wait(deadline, Waiter::new(Some(batch)), |_| look())
    }

    /// Looks, collects, looks again. If there is nothing, registers the waiter and parks.
    fn wait<R>(
        &self,
        deadline: Option<Instant>,
        waiter: Waiter<'_>,
        mut look: impl FnMut(&mut InFlight) -> Option<R>,
    ) -> Result<Option<R>, TaskError> {
        self.check_process()?;
        let mut guard = WaitGuard { dispatcher: self, waiter };
        let mut expired = deadline.is_some_and(|deadline| deadline <= Instant::now());
        loop {
            let switches = current_hub().status().switches();
            let (waiter, ticket) = (&mut guard.waiter, RemoteTicket::new(current_hub()).ok());
            let next = self.with_in_flight(|in_flight| {
                in_flight.waiters.unregister(waiter);
                if let Some(found) = look(in_flight) {
                    return Next::Return(Some(found));
                }
                let snapshot = self.collect(in_flight);
                if let Some(found) = look(in_flight) {
                    return Next::Return(Some(found));
                }
                if in_flight.waiters.would_lead(waiter) && self.supervisor.has_ended() {
                    // All workers have ended with the supervisor. What they have sent before is collected first.
                    self.collect(in_flight);
                    if let Some(found) = look(in_flight) {
                        return Next::Return(Some(found));
                    }
                    in_flight.end(TaskError::Broken("its supervisor was killed".to_owned()));
                    return Next::Retry;
                }
                if expired {
                    return Next::Return(None);
                }
                if !self.shared.register_for_results(snapshot) {
                    return Next::Retry;
                }
                in_flight.waiters.register(waiter, ticket);
                Next::Park
            });
            match next {
                Next::Return(found) => return Ok(found),
                Next::Retry => {}
                Next::Park => expired = !guard.park(deadline, switches),
            }
        }
    }

    fn check_process(&self) -> Result<(), TaskError> {
        if self.is_ours() { Ok(()) } else { Err(TaskError::NotOurs) }
    }

    /// Collects all messages that have arrived, and sends again what has to be. Returns a snapshot of the shared state.
    fn collect(&self, in_flight: &mut InFlight) -> Snapshot {
        let snapshot = loop {
            match self.shared.poll_results() {
                Ok(message) => in_flight.accept(&Arc::new(message.into_vec())),
                Err(snapshot) => break snapshot,
            }
        };
        while let Some(id) = in_flight.resend.front() {
            // A chunk that has ended meanwhile is not in flight any more.
            let message = in_flight.chunks.get(id).map(|chunk| chunk.calls.encode(*id, chunk.done));
            if message.is_some_and(|message| !self.shared.push_task(&message)) {
                break;
            }
            in_flight.resend.pop_front();
        }
        let (status, _) = snapshot;
        if let Some(broken) = status.broken {
            in_flight.end(TaskError::Broken(broken.describe()));
        }
        if in_flight.closed && in_flight.chunks.is_empty() && !status.finished {
            self.shared.update(|state| state.status.finished = true);
        }
        snapshot
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
        self.wait(None, Waiter::new(None), |in_flight| {
            (in_flight.over.is_some() || self.shared.status().staffed == 0).then_some(())
        })?;
        let _ = self.supervisor.join();
        Ok(())
    }

    /// Waits for the end of a terminated supervisor, which takes some milliseconds. Blocks the OS thread: for destructors.
    pub(super) fn reap(&self) {
        self.supervisor.wait_in_kernel(None);
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

/// How long an unregistered waiter sleeps before it looks again.
const RECHECK_INTERVAL: Duration = Duration::from_millis(5);

impl WaitGuard<'_> {
    /// Blocks until the waiter has to look again. Returns `false` if the deadline has passed. `switches` is the hub's switch
    /// count before the waiter looked.
    ///
    /// Unwinds if the green thread is killed or a timeout around it fires.
    fn park(&self, deadline: Option<Instant>, switches: u64) -> bool {
        let Dispatcher { shared, supervisor, .. } = self.dispatcher;
        let hub = current_hub();
        let mut until = deadline.map_or(NEVER, |deadline| hub.clock().at(deadline));
        match self.waiter.role() {
            Role::Leader => {
                return shared.wait_for_results(deadline, Some(supervisor.sentinel().as_raw_fd()));
            }
            Role::Follower => {}
            Role::Unregistered => until = until.min(hub.clock().at(Instant::now() + RECHECK_INTERVAL)),
        }
        match hub.wait_fds(&[], switches, until, Interruptible::Yes) {
            Ok(ParkResult::Interrupted) => hub.throw_pending_interrupt(),
            Ok(ParkResult::Expired) => return deadline.is_none_or(|deadline| Instant::now() < deadline),
            _ => {}
        }
        true
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
