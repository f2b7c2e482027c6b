//! Messages in a stretch of shared memory, first in, first out.
//!
//! ```text
//!   |......| 5 | bytes ... | 12 | bytes ......... |.....|          what is between `head` and `tail` counts
//!          ^ head                                 ^ tail
//! ```
//!
//! The ring itself is only where they are, a few numbers, and part of a monitor's state; so a message is put, or taken, by
//! the commit of the change in which that is done, and before that nothing is. Each lies in one piece, after its length:
//! what would not fit before the end begins at the start again, and `end` says where the last one before it ends. Whenever
//! there are none they begin at the start, so that a ring that is seldom full stays in the cache.
#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr::NonNull;

/// Where the messages are: part of a state.
#[derive(Clone, Copy)]
pub(crate) struct Ring {
    /// The stretch of memory.
    from: usize,
    to: usize,
    head: usize,
    tail: usize,
    /// Where messages end if `tail` is before `head`.
    end: usize,
    count: usize,
}

const HEADER: usize = size_of::<usize>();

impl Ring {
    /// One without messages.
    pub(crate) fn new(stretch: Range<usize>) -> Ring {
        Ring {
            from: stretch.start,
            to: stretch.end,
            head: stretch.start,
            tail: stretch.start,
            end: stretch.end,
            count: 0,
        }
    }

    /// The largest message that a stretch of so many bytes has room for.
    pub(crate) const fn largest(bytes: usize) -> usize {
        bytes - HEADER
    }

    /// How many messages there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Puts a message last. `false`: there is no room now.
    ///
    /// # Safety
    /// `memory` has the stretch that the ring was made for, all writes to which go through it, and who calls is the only
    /// one meanwhile.
    #[inline]
    pub(crate) unsafe fn push(&mut self, memory: NonNull<u8>, message: &[u8]) -> bool {
        let size = HEADER + message.len();
        let at = if self.count == 0 {
            (self.head, self.tail) = (self.from, self.from);
            if self.to - self.from < size {
                return false;
            }
            self.from
        } else if self.tail > self.head {
            if self.to - self.tail >= size {
                self.tail
            } else if self.head - self.from >= size {
                self.end = self.tail;
                self.from
            } else {
                return false;
            }
        } else if self.head - self.tail >= size {
            self.tail
        } else {
            return false;
        };
        // SAFETY: within the stretch, where no message is; the caller's.
        unsafe {
            let to = memory.add(at);
            to.cast::<usize>().write_unaligned(message.len());
            to.add(HEADER).copy_from_nonoverlapping(NonNull::from(message).cast(), message.len());
        }
        self.tail = at + size;
        self.count += 1;
        true
    }

    /// Takes the first message. `None`: there is none.
    ///
    /// # Safety
    /// As for [`push`](Ring::push).
    #[inline]
    pub(crate) unsafe fn pop(&mut self, memory: NonNull<u8>) -> Option<Vec<u8>> {
        self.count = self.count.checked_sub(1)?;
        if self.tail <= self.head && self.head == self.end {
            self.head = self.from;
        }
        // SAFETY: a message that was put there, after its length; the caller's.
        let message = unsafe {
            let at = memory.add(self.head);
            let len = at.cast::<usize>().read_unaligned();
            std::slice::from_raw_parts(at.add(HEADER).as_ptr(), len).to_vec()
        };
        self.head += HEADER + message.len();
        Some(message)
    }
}
