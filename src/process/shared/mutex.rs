//! A lock between processes that the kernel opens when its holder dies.
//!
//! ```text
//!   31        30          29 ... 0
//!   WAITERS | HOLDER_DIED | id of the OS thread that has it; 0: nobody
//! ```
//!
//! It is taken by writing one's id into the word, and released by writing 0. Before the first and until after the second
//! the kernel knows of the word ([`OsThread::set_pending`]): so if who has it dies in between, the kernel finds its id
//! there, writes HOLDER_DIED instead, and wakes one that waits. If it dies between releasing and waking, or if one that was
//! woken dies before it looks, the kernel finds the word announced but free, and wakes another.
//!
//! It is held for a few instructions, never over a park, and never together with another, so that one wait in the kernel
//! at a time is all that it costs an OS thread, and no green thread of the same OS thread can ever find it taken. Two
//! things must not be done while it is held: code of a user must not run, and a signal handler must not take it.
//!
//! What it guards has to bear that a holder stops anywhere: `monitor.rs`. So it is not even said to the next holder.
//! Source: the robust futex ABI of the kernel, and glibc's robust mutexes, which keep to it.

use super::robust_list::OsThread;
use crate::arch::syscall::syscall;
use std::hint::spin_loop;
use std::ptr::null;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Somebody may wait.
const WAITERS: u32 = libc::FUTEX_WAITERS;
/// Who has it, by the OS thread's id.
const HOLDER: u32 = libc::FUTEX_TID_MASK;

/// How often one looks before one sleeps: longer than it is held, if its holder runs.
const SPINS: u32 = 200;

/// How long one sleeps before one looks again. A wake-up can be lost in one case: it goes to one that is killed before it
/// looks, and somebody else has taken the lock meanwhile, so that the kernel does not find it free and wakes nobody.
static LOOK_AGAIN: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// In shared memory, where zeros are one that is free.
pub(super) struct Mutex {
    word: AtomicU32,
}

/// It is held.
pub(super) struct Guard<'a> {
    mutex: &'a Mutex,
    /// Not `Send`, for it has a pointer.
    holder: OsThread,
}

impl Mutex {
    /// Takes it; blocks the OS thread while another has it. Not to be taken by who has one already.
    #[inline]
    pub(super) fn lock(&self) -> Guard<'_> {
        let holder = OsThread::current();
        holder.set_pending(&self.word);
        if self.word.compare_exchange(0, holder.id(), Acquire, Relaxed).is_err() {
            self.wait(holder.id());
        }
        Guard { mutex: self, holder }
    }

    #[cold]
    fn wait(&self, id: u32) {
        // Who has slept does not know whether others do.
        let mut slept = 0;
        let mut spins = SPINS;
        loop {
            let seen = self.word.load(Relaxed);
            if seen & HOLDER == 0 {
                let ours = id | seen & WAITERS | slept;
                if self.word.compare_exchange(seen, ours, Acquire, Relaxed).is_ok() {
                    return;
                }
            } else if spins > 0 {
                spins -= 1;
                spin_loop();
            } else if seen & WAITERS != 0 || self.mark(seen) {
                self.futex(libc::FUTEX_WAIT, seen | WAITERS, &raw const LOOK_AGAIN);
                slept = WAITERS;
                spins = SPINS;
            }
        }
    }

    /// Has who releases it wake somebody.
    fn mark(&self, seen: u32) -> bool {
        self.word.compare_exchange(seen, seen | WAITERS, Relaxed, Relaxed).is_ok()
    }

    /// Not a private one: the word is where several processes see it.
    fn futex(&self, operation: i32, value: u32, timeout: *const libc::timespec) {
        let args = [self.word.as_ptr() as usize, operation as usize, value as usize, timeout as usize, 0, 0];
        // SAFETY: a word of ours, and a time or null. Past the C library, and so past the patch.
        unsafe { syscall(libc::SYS_futex, args) };
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.mutex.word.swap(0, Release) & WAITERS != 0 {
            self.mutex.futex(libc::FUTEX_WAKE, 1, null());
        }
        self.holder.clear_pending();
    }
}
