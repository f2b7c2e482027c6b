//! Messages in the memory of a monitor, first in, first out.
//!
//! ```text
//!            head                            tail
//!   |         | length, bytes | length, bytes |         |    head, tail: counted on and on; in the ring, modulo its size
//! ```
//!
//! The ring itself is only where they are, a few numbers, and part of the monitor's state. So a message is there as soon
//! as the tail was moved past it, and gone as soon as the head was, and both are one commit. Whoever is killed before its
//! commit has put nothing, or taken nothing.

use super::monitor::Transaction;
use crate::process::codec::Bytes;
use std::ops::Range;

/// Where the messages are.
#[derive(Clone, Copy)]
pub(crate) struct Ring {
    /// Where in the monitor's memory it begins.
    start: usize,
    size: u64,
    head: u64,
    tail: u64,
    count: u64,
    /// How much of it was written to since its memory was last given back.
    high: u64,
}

/// What came of looking for a message.
pub(crate) enum Popped {
    Message,
    /// There is one, and first of all memory for so many bytes is needed.
    Needs(usize),
}

/// The length before each message.
const LENGTH: u64 = size_of::<u32>() as u64;

/// How much memory an empty ring keeps.
const KEPT: u64 = 1 << 20;

impl Ring {
    /// One without messages.
    pub(crate) fn new(memory: Range<usize>) -> Ring {
        Ring { start: memory.start, size: memory.len() as u64, head: 0, tail: 0, count: 0, high: 0 }
    }

    /// The longest message that fits into an empty ring of so many bytes; `None`: none does.
    pub(crate) fn longest(size: usize) -> Option<usize> {
        Some(size.checked_sub(LENGTH as usize)?.min(u32::MAX as usize))
    }

    /// How many messages there are.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Stores a message at the tail of the ring `of` a state. `false`: there is no room.
    #[inline]
    pub(crate) fn push<S: Copy>(
        change: &mut Transaction<'_, S>,
        of: impl Fn(&mut S) -> &mut Ring,
        message: &[u8],
    ) -> bool {
        let mut ring = *of(change);
        let end = ring.tail + LENGTH + message.len() as u64;
        if end - ring.head > ring.size {
            return false;
        }
        ring.write(change, ring.tail, &(message.len() as u32).to_ne_bytes());
        ring.write(change, ring.tail + LENGTH, message);
        ring.tail = end;
        ring.count += 1;
        ring.high = ring.high.max(end.min(ring.size));
        *of(change) = ring;
        true
    }

    /// Copies the message at the head of the ring `of` a state, and takes it out; those are woken that wait at the gate
    /// `room`. `None`: there is none.
    #[inline]
    pub(crate) fn pop<S: Copy>(
        change: &mut Transaction<'_, S>,
        of: impl Fn(&mut S) -> &mut Ring,
        bytes: &mut Bytes,
        room: Option<usize>,
    ) -> Option<Popped> {
        let mut ring = *of(change);
        ring.count = ring.count.checked_sub(1)?;
        let mut length = [0; LENGTH as usize];
        ring.read(change, ring.head, &mut length);
        let length = u32::from_ne_bytes(length) as usize;
        let Some(message) = bytes.resize_in_place(length) else {
            return Some(Popped::Needs(length));
        };
        ring.read(change, ring.head + LENGTH, message);
        // Before any commit: who is killed between the two must not have left them asleep.
        room.map(|gate| change.notify_all(gate));
        ring.head += LENGTH + length as u64;
        if ring.count == 0 {
            // What comes next is stored where the memory is in the cache still, or at least in memory.
            (ring.head, ring.tail) = (0, 0);
        }
        *of(change) = ring;
        Some(Popped::Message)
    }

    /// After a `pop`, and all else that goes with it: gives back what an empty ring does not need. It commits.
    #[inline]
    pub(crate) fn trim<S: Copy>(change: &mut Transaction<'_, S>, of: impl Fn(&mut S) -> &mut Ring) {
        let ring = *of(change);
        if ring.count == 0 && ring.high > KEPT {
            // The message that is taken now is in there until this is the state.
            change.commit();
            change.free_pages(ring.start + KEPT as usize..ring.start + ring.high as usize);
            of(change).high = KEPT;
        }
    }

    /// Writes where the state says that nothing is.
    #[inline]
    fn write<S: Copy>(&self, change: &Transaction<'_, S>, at: u64, bytes: &[u8]) {
        let (at, middle) = self.place(at, bytes.len());
        change.write(at, &bytes[..middle]);
        change.write(self.start, &bytes[middle..]);
    }

    #[inline]
    fn read<S: Copy>(&self, change: &Transaction<'_, S>, at: u64, bytes: &mut [u8]) {
        let (at, middle) = self.place(at, bytes.len());
        change.read(at, &mut bytes[..middle]);
        change.read(self.start, &mut bytes[middle..]);
    }

    /// Where in the memory that is, and how many of so many bytes lie before the ring's end: the others lie at its beginning.
    #[inline]
    fn place(&self, at: u64, length: usize) -> (usize, usize) {
        let at = (at % self.size) as usize;
        (self.start + at, length.min(self.size as usize - at))
    }
}
