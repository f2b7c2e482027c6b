//! The ledger: which worker holds which chunk, how far it has come, and which results it has not sent yet (its outbox).
//!
//! **Claiming a chunk.** One commit of the shared state stores chunk id, worker slot and sequence number in
//! [`LastClaim`]. The state has room for the last claim only. Before the next claim, it is copied to the slot of the
//! claiming worker ([`WorkerSlot::record`]), by the next claiming worker or by the supervisor. A worker holds a chunk if
//! the sequence number of its last claim is greater than the number of the last claim that it has finished.
//!
//! Next: `pool/shared_state.rs`, the state that the last claim is part of.
#![allow(unsafe_code)]

use super::message::{LENGTH, length_of};
use std::cell::UnsafeCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

/// The claim that was made last.
#[derive(Clone, Copy, Default)]
pub(super) struct LastClaim {
    /// Sequence number of the claim; 0 if there was none.
    pub(super) sequence: u64,
    pub(super) slot: usize,
    pub(super) chunk: u64,
}

/// The record of one worker. Written by that worker, by the process that records a claim, and by the supervisor
/// while the slot has no worker.
#[repr(C, align(64))]
pub(super) struct WorkerSlot {
    /// Id and sequence number of the chunk that the worker claimed last.
    chunk: AtomicU64,
    claimed: AtomicU64,
    /// Sequence number of the last claim that the worker has finished.
    finished: AtomicU64,
    /// Index of the call the worker is executing; `NO_CALL` if none.
    call: AtomicU32,
    /// Index of the call that the first result in the outbox belongs to.
    outbox_first: AtomicU32,
    /// Number of bytes in the outbox.
    outbox_length: AtomicU32,
    /// Whether the initializer has returned.
    pub(super) initialized: AtomicBool,
    outbox: UnsafeCell<[u8; OUTBOX]>,
}

/// An index that no call has.
const NO_CALL: u32 = u32::MAX;

/// The most bytes that an outbox holds.
pub(super) const OUTBOX: usize = 32 << 10;

impl WorkerSlot {
    /// Records the last claim, which is one of this slot, unless that was done already.
    pub(super) fn record(&self, claim: LastClaim) {
        if self.claimed.load(Relaxed) < claim.sequence {
            self.chunk.store(claim.chunk, Relaxed);
            self.claimed.store(claim.sequence, Release);
        }
    }

    /// Records that the worker begins that call.
    pub(super) fn begin_call(&self, call: u32) {
        self.call.store(call, Release);
    }

    /// Records that the worker has finished the claim with that sequence number, and sent its results.
    pub(super) fn finish(&self, sequence: u64) {
        // The outbox is emptied first. Otherwise its results could be taken for results of the next chunk.
        self.reset_outbox(0);
        self.finished.store(sequence, Release);
        self.call.store(NO_CALL, Release);
    }

    /// Prepares the slot for a new worker, which has claimed nothing.
    pub(super) fn clear(&self) {
        self.finish(self.claimed.load(Relaxed).max(self.finished.load(Relaxed)));
        self.initialized.store(false, Relaxed);
    }

    /// Returns the chunk that the worker holds, and the index of the call that it is executing.
    pub(super) fn held_chunk(&self) -> Option<(u64, u32)> {
        let is_held = self.claimed.load(Acquire) > self.finished.load(Acquire);
        is_held.then(|| (self.chunk.load(Relaxed), self.call.load(Acquire)))
    }

    /// Empties the outbox. The next result in it belongs to call `first`.
    pub(super) fn reset_outbox(&self, first: u32) {
        // In this order: an empty outbox has no result that could be taken for another call's.
        self.outbox_length.store(0, Release);
        self.outbox_first.store(first, Release);
    }

    /// Appends a result to the outbox, unless it would then have more than `limit` bytes. Returns whether it was appended.
    pub(super) fn push_result(&self, result: &[u8], limit: usize) -> bool {
        let length = self.outbox_length.load(Relaxed) as usize;
        let end = length + LENGTH + result.len();
        if end > limit.min(OUTBOX) {
            return false;
        }
        // SAFETY: the bytes from `length` to `end` are within the outbox, behind its content, and only the slot's worker
        // writes there. They become content by the store below.
        unsafe {
            let to = self.outbox.get().cast::<u8>().add(length);
            to.copy_from_nonoverlapping(length_of(result).as_ptr(), LENGTH);
            to.add(LENGTH).copy_from_nonoverlapping(result.as_ptr(), result.len());
        }
        self.outbox_length.store(end as u32, Release);
        true
    }

    /// Calls `f` with the content of the outbox, and the index of the call that its first result belongs to. To be used by
    /// the slot's worker, or after its death.
    pub(super) fn with_outbox<R>(&self, f: impl FnOnce(&[u8], u32) -> R) -> R {
        let length = self.outbox_length.load(Acquire) as usize;
        // SAFETY: the worker has written that many bytes. No process writes meanwhile: the worker is the caller, or dead.
        let content = unsafe { std::slice::from_raw_parts(self.outbox.get().cast::<u8>(), length) };
        f(content, self.outbox_first.load(Acquire))
    }
}
