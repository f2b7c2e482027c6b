//! A ring buffer of messages in the memory of a monitor, first in, first out.
//!
//! ```text
//!            head                            tail
//!   |         | length, bytes | length, bytes |         |    head, tail: only grow; in the ring, modulo its size
//! ```
//!
//! The ring itself is a few numbers that say where the messages are. It is part of the monitor's state. So a message is
//! there as soon as the tail was moved past it, and gone as soon as the head was, and both are one commit. A process that
//! is killed before its commit has put nothing, or taken nothing.
//!
//! Next: `queue.rs`, which stores its messages in a ring.

use super::monitor::Transaction;
use crate::codec::Bytes;
use std::ops::Range;

/// Positions of the messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    /// Offset in the monitor's memory at which it begins.
    start: usize,
    size: u64,
    head: u64,
    tail: u64,
    len: u64,
    /// Number of its bytes that were written to since its memory was last freed.
    high_water_mark: u64,
}

/// The result of a `pop`.
pub(crate) enum PopResult {
    /// It has copied a message.
    Message,
    /// It has done nothing. A buffer of that many bytes is needed first.
    NeedsBuffer(usize),
}

/// Size of the length before each message.
const LENGTH: u64 = size_of::<u32>() as u64;

/// Bytes of memory that an empty ring keeps.
const KEPT: u64 = 1 << 20;

impl Ring {
    /// Returns a ring without messages.
    pub(crate) fn new(memory: Range<usize>) -> Ring {
        Ring { start: memory.start, size: memory.len() as u64, head: 0, tail: 0, len: 0, high_water_mark: 0 }
    }

    /// Returns the size of the longest message that fits into an empty ring of that size, or `None` if none fits.
    pub(crate) fn max_message(size: usize) -> Option<usize> {
        Some(size.checked_sub(LENGTH as usize)?.min(u32::MAX as usize))
    }

    /// Returns its size in bytes.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.size as usize
    }

    /// Returns the number of messages.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Stores a message at the tail of the ring `of` a state. If there is no room, returns `false`.
    #[inline]
    pub(crate) fn push<S: Copy>(
        transaction: &mut Transaction<'_, S>,
        of: impl Fn(&mut S) -> &mut Ring,
        message: &[u8],
    ) -> bool {
        let mut ring = *of(transaction);
        let end = ring.tail + LENGTH + message.len() as u64;
        if end - ring.head > ring.size {
            return false;
        }
        ring.write(transaction, ring.tail, &(message.len() as u32).to_ne_bytes());
        ring.write(transaction, ring.tail + LENGTH, message);
        ring.tail = end;
        ring.len += 1;
        ring.high_water_mark = ring.high_water_mark.max(end.min(ring.size));
        *of(transaction) = ring;
        true
    }

    /// Copies the message at the head of the ring `of` a state, takes it out, and wakes the waiters of the condition
    /// variable `room`. If there is no message, returns `None`.
    #[inline]
    pub(crate) fn pop<S: Copy>(
        transaction: &mut Transaction<'_, S>,
        of: impl Fn(&mut S) -> &mut Ring,
        bytes: &mut Bytes,
        room: Option<usize>,
    ) -> Option<PopResult> {
        let mut ring = *of(transaction);
        ring.len = ring.len.checked_sub(1)?;
        let mut length = [0; LENGTH as usize];
        ring.read(transaction, ring.head, &mut length);
        let length = u32::from_ne_bytes(length) as usize;
        if length > bytes.capacity() {
            return Some(PopResult::NeedsBuffer(length));
        }
        bytes.resize(length, 0);
        ring.read(transaction, ring.head + LENGTH, bytes);
        // Before any commit: if the process is killed after it, the waiters must not be left asleep.
        room.map(|condvar| transaction.notify_all(condvar));
        ring.head += LENGTH + length as u64;
        if ring.len == 0 {
            // The next message is stored in memory that is in the cache, or at least allocated.
            (ring.head, ring.tail) = (0, 0);
        }
        *of(transaction) = ring;
        Some(PopResult::Message)
    }

    /// Frees the memory that an empty ring does not need. It commits, so it comes last after a `pop`.
    #[inline]
    pub(crate) fn trim<S: Copy>(transaction: &mut Transaction<'_, S>, of: impl Fn(&mut S) -> &mut Ring) {
        let ring = *of(transaction);
        if ring.len == 0 && ring.high_water_mark > KEPT {
            // Until the commit, the old state says that the message is still in that memory.
            transaction.commit();
            transaction.free_pages(ring.start + KEPT as usize..ring.start + ring.high_water_mark as usize);
            of(transaction).high_water_mark = KEPT;
        }
    }

    /// Writes where the state says that nothing is.
    #[inline]
    fn write<S: Copy>(&self, transaction: &Transaction<'_, S>, at: u64, bytes: &[u8]) {
        let (at, middle) = self.place(at, bytes.len());
        transaction.write(at, &bytes[..middle]);
        transaction.write(self.start, &bytes[middle..]);
    }

    #[inline]
    fn read<S: Copy>(&self, transaction: &Transaction<'_, S>, at: u64, bytes: &mut [u8]) {
        let (at, middle) = self.place(at, bytes.len());
        transaction.read(at, &mut bytes[..middle]);
        transaction.read(self.start, &mut bytes[middle..]);
    }

    /// Returns where in the memory `at` is, and how many of `length` bytes lie before the ring's end. The others lie at its
    /// beginning.
    #[inline]
    fn place(&self, at: u64, length: usize) -> (usize, usize) {
        let at = (at % self.size) as usize;
        (self.start + at, length.min(self.size as usize - at))
    }
}
