//! The words of waiting: who may wake whom, why one was woken, what one waits for. How they are used is told in
//! `wait.rs`.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::RawFd;

/// Names one green thread of one hub. An id is not used again before 4,294,967,294 others were spawned.
///
/// Shown as a number that counts the spawns of the hub; the root (the OS thread's own stack) is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GreenId(u64);

impl GreenId {
    pub(crate) const ROOT: GreenId = GreenId(0);
    /// Nobody: the hub's own loop is running.
    pub(crate) const HUB: GreenId = GreenId(u64::MAX);

    /// The green thread with the record `key`, the `serial`th to be spawned. One word, for it is written
    /// and read in one piece at every switch.
    #[inline]
    pub(crate) fn new(serial: u32, key: usize) -> GreenId {
        debug_assert!(key <= u32::MAX as usize);
        GreenId(u64::from(serial) << 32 | key as u64)
    }

    #[inline]
    pub(crate) fn key(self) -> usize {
        self.0 as u32 as usize
    }

    /// The one word that it is.
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

/// The right to wake one green thread from one park. Belongs to its OS thread.
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

/// How a [`park`](crate::wait::park) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitResult {
    /// By [`Ticket::wake`].
    Notified,
    /// By its deadline.
    Expired,
}

/// Why a parked green thread was made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeReason {
    None,
    Notified,
    Expired,
    Interrupted,
}

/// How a park ended, inside the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParkResult {
    Notified,
    Expired,
    /// A kill or a timeout is to be delivered.
    Interrupted,
    /// Only for the root: nothing can ever wake it.
    Deadlocked,
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What a green thread waits for, for those who ask.
///
/// Its tag has many unused values, of which the slab of records takes one: see [`Green`](super::Green).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum WaitReason {
    Nothing,
    Sleep,
    Join(GreenId),
    For(&'static str),
    /// A descriptor to be ready.
    Io(RawFd, Direction),
    /// The word at this address to be changed, and the waker to say so.
    Futex(usize),
}
