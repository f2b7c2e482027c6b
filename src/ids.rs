//! The vocabulary of waiting: ids, tickets, and the reasons of waiting and waking.
//!
//! Next: `green/mod.rs`, the record of a green thread.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::RawFd;

/// Identifies a green thread within its hub. An id is not reused before 4,294,967,294 others were spawned.
///
/// Displayed as a number that counts the spawns of the hub. The root (the OS thread's own stack) is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GreenId(u64);

impl GreenId {
    pub(crate) const ROOT: GreenId = GreenId(0);
    /// No green thread: the hub's own loop runs.
    pub(crate) const HUB: GreenId = GreenId(u64::MAX);

    /// Returns the id of the green thread with the record `key`, the `serial`th to be spawned. An id is one word, because
    /// every switch writes it in one piece.
    #[inline]
    pub(crate) fn new(serial: u32, key: usize) -> GreenId {
        debug_assert!(key <= u32::MAX as usize);
        GreenId(u64::from(serial) << 32 | key as u64)
    }

    #[inline]
    pub(crate) fn key(self) -> usize {
        self.0 as u32 as usize
    }

    /// Returns the id as one word.
    #[inline(always)]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn from_bits(bits: u64) -> GreenId {
        GreenId(bits)
    }

    fn serial(self) -> u64 {
        self.0 >> 32
    }
}

impl fmt::Debug for GreenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GreenId({})", self.serial())
    }
}

impl fmt::Display for GreenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serial().fmt(f)
    }
}

/// The right to wake one green thread from one park. It cannot leave its OS thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) id: GreenId,
    pub(crate) epoch: u32,
    not_send: PhantomData<*const ()>,
}

impl Ticket {
    #[inline]
    pub(crate) fn new(id: GreenId, epoch: u32) -> Ticket {
        Ticket { id, epoch, not_send: PhantomData }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({}, {})", self.id, self.epoch)
    }
}

/// Why a [`park`](crate::wait::park) has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitResult {
    /// [`Ticket::wake`] was called.
    Notified,
    /// The deadline has passed.
    Expired,
}

/// Why a park has returned, inside the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParkResult {
    Notified,
    Expired,
    /// A kill or a timeout is to be delivered.
    Interrupted,
    /// Nothing can ever wake the root. Only the root gets this.
    Deadlocked,
}

/// The direction of data, for waiting on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// The thing that a green thread waits for, for reports.
///
/// The tag has many unused values; the slab of records uses one of them: see `green::Green`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum WaitReason {
    Nothing,
    Sleep,
    Join(GreenId),
    For(&'static str),
    /// A descriptor to be ready.
    Io(RawFd, Direction),
    /// The word at this address to change, and its waker to say so.
    Futex(usize),
}
