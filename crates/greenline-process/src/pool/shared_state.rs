//! The memory that the parent, the supervisor and the workers share, under one monitor.
//!
//! ```text
//!   state:   two rings, last claim, why the pool is over, number of workers
//!   memory:  | a slot for each worker: progress, outbox | tasks, a ring | results, a ring |
//! ```
//!
//! **Results.** A worker appends each result to its outbox. A result exists as soon as the length of the outbox includes
//! it. At the end of the chunk, or when the outbox is full, the worker sends all results to the parent as one message. If
//! the worker dies, the supervisor sends them. If it dies after it has sent them and before it has emptied its outbox,
//! they are sent twice. Therefore each message has the index of its first call, and the parent ignores repeated results.
//!
//! Next: `pool/supervisor.rs`, the processes that use it.
#![allow(unsafe_code)]

use super::ledger::{LastClaim, WorkerSlot};
use super::message::{ChunkHeader, ResultHeader, WorkerDeath, decode, encode, length_of};
use crate::codec::Bytes;
use crate::shared::{Limit, Monitor, PopResult, Ring, Transaction};
use std::io;
use std::os::fd::RawFd;
use std::time::Instant;

/// Condition of the parent: results, space for tasks, the end of the pool.
const RESULTS: usize = 0;
/// Condition of workers and supervisor: space for results.
const SPACE: usize = 1;
/// Condition of the supervisor: the end of the pool.
const SHUTDOWN: usize = 2;
/// Condition of the first worker: a chunk to claim. Each worker has its own condition, so that a chunk wakes one worker.
/// If that worker dies before it has claimed the chunk, the supervisor wakes all.
const FIRST_WORKER: usize = 3;

#[derive(Clone, Copy)]
pub(super) struct PoolState {
    tasks: Ring,
    results: Ring,
    last: LastClaim,
    /// Whether the parent has found no space for a chunk.
    wants_space: bool,
    pub(super) status: Status,
}

/// Whether the pool goes on.
#[derive(Clone, Copy)]
pub(super) struct Status {
    /// Whether the pool is closed and the parent has seen the end of all chunks.
    pub(super) finished: bool,
    pub(super) terminated: bool,
    pub(super) broken: Option<Broken>,
    /// Number of slots that have a worker or will get one.
    pub(super) staffed: usize,
}

/// Why the supervisor cannot go on.
#[derive(Clone, Copy)]
pub(super) enum Broken {
    /// A worker has ended before its initializer has returned.
    Initializer { exit: i32 },
    /// A worker could not be started, or its exit code could not be read.
    Worker { errno: i32 },
}

impl Broken {
    pub(super) fn describe(self) -> String {
        match self {
            Broken::Initializer { exit } => {
                format!("the initializer of a worker failed: the worker ended with exit code {exit}")
            }
            Broken::Worker { errno } => {
                let error = io::Error::from_raw_os_error(errno);
                format!("a worker could not be started, or its exit code could not be read: {error}")
            }
        }
    }
}

impl Status {
    /// Returns whether the supervisor has to kill the workers.
    pub(super) fn must_kill(&self) -> bool {
        self.terminated || self.broken.is_some()
    }

    /// Returns whether workers end instead of claiming another chunk.
    pub(super) fn is_over(&self) -> bool {
        self.must_kill() || self.finished
    }
}

/// The shared state. The parent creates it, and the supervisor and the workers inherit it.
pub(super) struct PoolShared {
    monitor: Monitor<PoolState>,
    pub(super) slots: usize,
    /// The most bytes that a message can have.
    pub(super) largest_message: usize,
    /// The most bytes that an outbox may have, so that the ring of results has space for them.
    outbox: usize,
}

impl PoolShared {
    /// Creates shared state for that many workers, with rings of `bytes` bytes.
    ///
    /// Errors: no memory or no descriptor is left.
    pub(super) fn new(slots: usize, bytes: usize) -> io::Result<PoolShared> {
        let ring = bytes.max(4096).next_multiple_of(4096);
        let rings_at = slots * size_of::<WorkerSlot>();
        let state = PoolState {
            tasks: Ring::new(rings_at..rings_at + ring),
            results: Ring::new(rings_at + ring..rings_at + 2 * ring),
            last: LastClaim::default(),
            wants_space: false,
            status: Status { finished: false, terminated: false, broken: None, staffed: slots },
        };
        let monitor = Monitor::with_memory(state, FIRST_WORKER + slots, rings_at + 2 * ring)?;
        let largest_message = Ring::max_message(ring).expect("a ring of 4096 bytes has space for a message");
        Ok(PoolShared { monitor, slots, largest_message, outbox: ring / 2 })
    }

    pub(super) fn slot(&self, slot: usize) -> &WorkerSlot {
        assert!(slot < self.slots, "there is no slot {slot}");
        let memory = self.monitor.memory(slot * size_of::<WorkerSlot>(), size_of::<WorkerSlot>());
        // SAFETY: the monitor's memory begins with the slots. It is zero at first, which is a value of `WorkerSlot`, and
        // aligned to 64 bytes.
        unsafe { memory.cast::<WorkerSlot>().as_ref() }
    }

    /// Changes the state and wakes all waiters of all processes.
    pub(super) fn update(&self, f: impl FnOnce(&mut PoolState)) {
        self.monitor.change(|state| {
            f(state);
            (0..FIRST_WORKER + self.slots).for_each(|condition| _ = state.notify_all(condition));
        });
    }

    pub(super) fn status(&self) -> Status {
        self.monitor.snapshot().status
    }

    // Called by the parent.

    /// Sends a chunk to one worker. Returns `false` if there is no space.
    pub(super) fn push_task(&self, message: &[u8]) -> bool {
        self.monitor.change(|state| {
            let has_space = Ring::push(state, |state| &mut state.tasks, message);
            if has_space {
                // A worker that is not asleep looks for chunks before it sleeps.
                (FIRST_WORKER..FIRST_WORKER + self.slots).find(|&condition| state.notify_all(condition));
            } else {
                state.wants_space = true;
            }
            has_space
        })
    }

    /// Takes a message with results. If there is none, registers the parent as waiting for [`RESULTS`]: a change that it does
    /// not find afterwards ends its next [wait](PoolShared::wait_for_results).
    pub(super) fn poll_results(&self) -> Option<Bytes> {
        pop_message(|bytes| {
            self.monitor.try_change_or_register(RESULTS, |state| {
                let popped = Ring::pop(state, |state| &mut state.results, bytes, Some(SPACE))?;
                Ring::trim(state, |state| &mut state.results);
                Some(popped)
            })
        })
    }

    /// Waits until the parent may find something new, or `beside` is readable. Returns `false` if the deadline has passed.
    pub(super) fn wait_for_results(&self, deadline: Option<Instant>, beside: Option<RawFd>) -> bool {
        self.monitor.spin_then_park(RESULTS, deadline, beside)
    }

    // Called by workers and the supervisor.

    /// Claims a chunk for the worker in `slot`. Blocks while there is none. Returns the sequence number of the claim, and the
    /// chunk; `None` if the pool is over.
    pub(super) fn claim_chunk(&self, slot: usize) -> Option<(u64, Bytes)> {
        let mut sequence = 0;
        let mut claim = |state: &mut Transaction<'_, PoolState>, bytes: &mut Bytes| {
            if state.status.is_over() {
                return Some(None);
            }
            let notified = state.wants_space.then_some(RESULTS);
            let popped = Ring::pop(state, |state| &mut state.tasks, bytes, notified)?;
            if let PopResult::Message = popped {
                state.wants_space = false;
                self.record_last_claim(state);
                // The worker may still be registered as waiting, if no process has woken it. The next chunk has to wake
                // another.
                state.notify_all(FIRST_WORKER + slot);
                sequence = state.last.sequence + 1;
                let (header, _) = decode::<ChunkHeader>(bytes);
                state.last = LastClaim { sequence, slot, chunk: header.id };
                Ring::trim(state, |state| &mut state.tasks);
            }
            Some(Some(popped))
        };
        let message =
            pop_message(|bytes| self.monitor.wait_spinning(FIRST_WORKER + slot, |state| claim(state, bytes)));
        message.map(|message| (sequence, message))
    }

    /// Copies the last claim to the slot of the claiming worker.
    fn record_last_claim(&self, state: &PoolState) {
        self.slot(state.last.slot).record(state.last);
    }

    /// Puts the result of call `call` of a chunk into the outbox. If it does not fit, the outbox is sent first. A result
    /// that is larger than the whole outbox is sent alone.
    pub(super) fn put_result(&self, slot: &WorkerSlot, chunk: u64, call: u32, result: &[u8]) {
        if slot.push_result(result, self.outbox) {
            return;
        }
        self.send_outbox(slot, chunk, None);
        slot.reset_outbox(call);
        if !slot.push_result(result, self.outbox) {
            let header = ResultHeader { chunk, first: call, death: None };
            self.send(&encode(&header, &[&length_of(result), result]));
            slot.reset_outbox(call + 1);
        }
    }

    /// Sends the content of the outbox to the parent, and the death of the worker, if any. Blocks while there is no space.
    pub(super) fn send_outbox(&self, slot: &WorkerSlot, chunk: u64, death: Option<WorkerDeath>) {
        slot.with_outbox(|content, first| {
            if !content.is_empty() || death.is_some() {
                self.send(&encode(&ResultHeader { chunk, first, death }, &[content]));
            }
        });
    }

    /// Sends a message to the parent. Blocks while there is no space. If the pool is over, the message is dropped, because
    /// the parent does not read it.
    fn send(&self, message: &[u8]) {
        self.monitor.wait(SPACE, Limit::Unlimited, |state| {
            if state.status.is_over() {
                return Some(());
            }
            // The parent is woken even if there is no space: it has to make some.
            state.notify_all(RESULTS);
            Ring::push(state, |state| &mut state.results, message).then_some(())
        });
    }

    /// After the death of a worker, sends to the parent which chunk it held and the results that it had not sent.
    pub(super) fn collect_dead_worker(&self, slot: usize, exit: i32) {
        // All workers look for chunks again. The dead one may have been the one that was woken for a chunk.
        self.update(|state| self.record_last_claim(state));
        let slot = self.slot(slot);
        if let Some((chunk, call)) = slot.held_chunk() {
            self.send_outbox(slot, chunk, Some(WorkerDeath { call, exit }));
        }
    }

    /// Waits until all workers have ended, or have to be killed.
    pub(super) fn wait_for_shutdown(&self) {
        self.monitor.wait(SHUTDOWN, Limit::Unlimited, |state| {
            (state.status.staffed == 0 || state.status.must_kill()).then_some(())
        });
    }
}

/// Calls `pop` until it has copied a message. The memory for a long message is allocated between two calls, outside of
/// the monitor.
fn pop_message(mut pop: impl FnMut(&mut Bytes) -> Option<PopResult>) -> Option<Bytes> {
    let mut bytes = Bytes::new();
    while let PopResult::NeedsBuffer(length) = pop(&mut bytes)? {
        bytes = Bytes::from_vec(vec![0; length]);
    }
    Some(bytes)
}
