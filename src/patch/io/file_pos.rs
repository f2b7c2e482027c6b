//! Where in a file a call reads or writes, and the lock on a file's own position.
//!
//! While an OS thread of the pool reads or writes at the file's own position, the kernel keeps that position locked. So
//! the next caller with the same descriptor first parks for the [`FilePositionLock`].
//!
//! Next: `patch/io/file.rs`, which takes the lock.

use super::iovec::Slices;
use crate::green::Interruptible;
use crate::hub::Hub;
use crate::hub::futex::{self, Waiter};
use crate::ids::Direction;
use crate::patch::symbol::kernel;
use crate::time::NEVER;
use libc::{c_int, off_t};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// The offset that stands for the file's own position.
const CURRENT_POSITION: usize = usize::MAX;

/// A descriptor, and where to read or write.
#[derive(Clone, Copy)]
pub(super) struct FilePos {
    pub(super) fd: c_int,
    pub(super) offset: usize,
    /// The program's flags of `preadv2`.
    pub(super) flags: c_int,
}

impl FilePos {
    /// The offset, or else the file's own position.
    #[inline]
    pub(super) fn new(fd: c_int, offset: Option<off_t>, flags: c_int) -> FilePos {
        FilePos { fd, offset: offset.map_or(CURRENT_POSITION, |offset| offset as usize), flags }
    }

    #[inline]
    pub(super) fn is_current(self) -> bool {
        self.offset == CURRENT_POSITION
    }

    /// Returns the position `done` bytes further on. The file's own position has moved by itself.
    pub(super) fn after(self, done: usize) -> FilePos {
        if self.is_current() { self } else { FilePos { offset: self.offset + done, ..self } }
    }

    /// Reads or writes, with `flags` in addition to the program's. Returns a raw answer.
    ///
    /// # Safety
    /// As preadv2(2) or pwritev2(2).
    #[inline]
    pub(super) unsafe fn call(self, direction: Direction, flags: c_int, slices: Slices) -> isize {
        let number = match direction {
            Direction::Read => libc::SYS_preadv2,
            Direction::Write => libc::SYS_pwritev2,
        };
        let (slices, count) = (slices.first as usize, slices.count);
        let flags = (self.flags | flags) as usize;
        // SAFETY: the caller's contract.
        unsafe { kernel(number, [self.fd as usize, slices, count, self.offset, 0, flags]) }
    }
}

/// The right to use a descriptor's own position for long. Several descriptors may share a lock.
pub(super) struct FilePositionLock(&'static AtomicU32);

/// 1: locked.
static POSITION_LOCKS: [AtomicU32; 64] = [const { AtomicU32::new(0) }; 64];

impl FilePositionLock {
    fn word(fd: c_int) -> &'static AtomicU32 {
        &POSITION_LOCKS[fd as usize % POSITION_LOCKS.len()]
    }

    pub(super) fn lock(hub: &'static Hub, fd: c_int) -> FilePositionLock {
        let word = FilePositionLock::word(fd);
        while word.compare_exchange(0, 1, AcqRel, Acquire).is_err() {
            FilePositionLock::wait_unlocked(hub, fd);
        }
        FilePositionLock(word)
    }

    /// Parks while the position is locked.
    #[inline]
    pub(super) fn wait_unlocked(hub: &'static Hub, fd: c_int) {
        let word = FilePositionLock::word(fd);
        while word.load(Acquire) != 0 {
            let waiter = Waiter::Green { hub, deadline: NEVER, interruptible: Interruptible::No };
            futex::wait(waiter, word.as_ptr() as usize, u32::MAX, || word.load(Acquire) != 0);
        }
    }
}

impl Drop for FilePositionLock {
    fn drop(&mut self) {
        self.0.store(0, Release);
        futex::wake(self.0.as_ptr() as usize, u32::MAX as usize, u32::MAX);
    }
}

/// In the child of a fork no position is locked.
pub(super) fn reset_after_fork() {
    POSITION_LOCKS.iter().for_each(|word| word.store(0, Relaxed));
}
