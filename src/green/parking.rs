//! The words of waiting: who may wake whom, why one was woken, what one waits for. How they are used is told in
//! `wait.rs`.

use super::GreenId;
use crate::reactor::Direction;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::RawFd;

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
pub enum Woken {
    /// By [`Ticket::wake`].
    Notified,
    /// By its deadline.
    Expired,
}

/// Why a parked green thread was made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    None,
    Notified,
    Expired,
    Interrupted,
}

/// How a park ended, inside the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    Notified,
    Expired,
    /// A kill or a timeout is to be delivered.
    Interrupted,
    /// Only for the root: nothing can ever wake it.
    Deadlocked,
}

/// What a green thread waits for, for those who ask.
///
/// Its tag has many unused values, of which the slab of records takes one: see [`Green`](super::Green).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Wait {
    Nothing,
    Sleep,
    Join(GreenId),
    For(&'static str),
    /// A descriptor to be ready.
    Io(RawFd, Direction),
    /// The word at this address to be changed, and the waker to say so.
    // only interposed calls wait so
    #[cfg_attr(
        not(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static"))),
        allow(dead_code)
    )]
    Futex(usize),
}
