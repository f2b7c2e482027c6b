//! Waiting for a word in memory to change: the kernel's futex, for green threads.
//!
//! Every lock of std is a word that atomic instructions change. A thread that cannot go on asks to be parked "as long as
//! the word is still 2"; a thread that changes the word asks to wake a waiter. This file does the same for green threads,
//! by a table of waiters (a hash table by the word's address). Wakers on any OS thread look here first, and then wake the
//! OS threads that wait in the kernel's table. (OS threads wait here, too, for C's conditions and barriers.)
//!
//! **No wake-up is lost**, by the kernel's own argument. The waiter reads the word and enters the table under the bucket's
//! lock. The waker takes that lock after it has changed the word. So either the waiter sees the change, or the waker sees
//! the waiter. Wakers look into an empty bucket without its lock. For that both sides put a fence between their write and
//! their read (waiter: count, word; waker: word, count).
//!
//! A waiter's entry lies on the waiter's stack. If the park ends without a wake-up, for example by its deadline, the waiter
//! takes the entry out. A wake-up that comes first wins, so it is never lost on a waiter that has given up.
//!
//! The meaning of the words is up to the callers (`patch`). Source: futex(2); "Futexes Are Tricky" (U. Drepper); WebKit's
//! ParkingLot.
//!
//! Next: `patch/pthread/futex_call.rs`, the interposed system call.
#![allow(unsafe_code)]

use super::current::try_current;
use super::fields::Hub;
use super::inbox::Inbox;
use super::interpose::keep_errno;
use crate::green::Interruptible;
use crate::ids::{ParkResult, Ticket, WaitReason};
use crate::sys::kernel_futex;
use crate::sys::raw_mutex::Lock;
use crate::time::Time;
use libc::{clockid_t, timespec};
use std::cell::Cell;
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicUsize, fence};

/// The thread that waits.
#[derive(Clone, Copy)]
pub(crate) enum Waiter {
    /// The running green thread, or the root, of this hub.
    Green { hub: &'static Hub, deadline: Time, interruptible: Interruptible },
    /// An OS thread without a hub, until an absolute time of a clock.
    OsThread { until: Option<(clockid_t, timespec)> },
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FutexWaitResult {
    /// By a waker, or for no reason.
    Woken,
    /// It did not begin, because the condition did not hold.
    Refused,
    Expired,
    /// A kill or a timeout is to be delivered.
    Interrupted,
    /// No thread is left that could change the word, which was reported on stderr. Only for the root. The caller has to
    /// wait in the kernel.
    Deadlocked,
    /// It did not begin, because other OS threads cannot reach the hub for want of a file descriptor. The caller has to
    /// wait in the kernel.
    Unreachable,
}

/// An entry of the table. It lies on the waiter's stack and does not move.
struct QueuedWaiter {
    /// Address of the word. A requeue changes it under the locks of both buckets.
    word: AtomicUsize,
    /// Only wakers that name one of these bits wake the waiter.
    bits: u32,
    target: WakeTarget,
    /// Whether the entry is in the table, and its neighbours; under the bucket's lock.
    queued: Cell<bool>,
    before: Cell<*const QueuedWaiter>,
    after: Cell<*const QueuedWaiter>,
}

/// How a waker reaches the waiter.
enum WakeTarget {
    /// By the hub; from other OS threads by the hub's inbox.
    Green { hub: *const Hub, inbox: *const Inbox, ticket: Ticket },
    /// By setting this word to 1.
    OsThread(AtomicU32),
}

/// The waiters of a bucket, the longest waiting first: a list through the entries themselves. Nothing may be allocated
/// under the lock, because the allocator's own locks may be patched.
struct WaitQueue {
    first: *const QueuedWaiter,
    last: *const QueuedWaiter,
}

// SAFETY: any OS thread reaches the entries only under the bucket's lock. An entry is taken out under it before it is
// gone.
unsafe impl Send for WaitQueue {}

impl WaitQueue {
    const fn new() -> WaitQueue {
        WaitQueue { first: null(), last: null() }
    }

    fn push(&mut self, waiter: &QueuedWaiter) {
        waiter.before.set(self.last);
        waiter.after.set(null());
        // SAFETY: entries in the queue are alive, because a waiter takes its entry out before it returns.
        match unsafe { self.last.as_ref() } {
            Some(last) => last.after.set(waiter),
            None => self.first = waiter,
        }
        self.last = waiter;
        waiter.queued.set(true);
    }

    fn remove(&mut self, waiter: &QueuedWaiter) {
        let (before, after) = (waiter.before.get(), waiter.after.get());
        // SAFETY: as in `push`.
        unsafe {
            match before.as_ref() {
                Some(before) => before.after.set(after),
                None => self.first = after,
            }
            match after.as_ref() {
                Some(after) => after.before.set(before),
                None => self.last = before,
            }
        }
        waiter.queued.set(false);
    }

    /// Returns the entries for `word`.
    fn entries(&self, word: usize) -> impl Iterator<Item = &QueuedWaiter> {
        // SAFETY: as in `push`; they stay while the lock is held, as long as `self` is borrowed.
        let follow = |at: *const QueuedWaiter| unsafe { at.as_ref() };
        let all = std::iter::successors(follow(self.first), move |entry| follow(entry.after.get()));
        all.filter(move |entry| entry.word.load(Relaxed) == word)
    }

    /// Takes out the first entry for `word` that has one of `bits`.
    fn take_first(&mut self, word: usize, bits: u32) -> Option<&QueuedWaiter> {
        let first: *const QueuedWaiter = self.entries(word).find(|entry| entry.bits & bits != 0)?;
        // SAFETY: as in `entries`.
        let first = unsafe { &*first };
        self.remove(first);
        Some(first)
    }
}

struct Bucket {
    /// At least the number of entries in the queue.
    count: AtomicU32,
    queue: Lock<WaitQueue>,
}

/// The table takes some 128 KiB, of which only the used pages are ever touched.
const BUCKETS: usize = 1 << 12;

static TABLE: [Bucket; BUCKETS] =
    [const { Bucket { count: AtomicU32::new(0), queue: Lock::new(WaitQueue::new()) } }; BUCKETS];

/// Returns the index of the bucket for the word at this address (Fibonacci hashing).
fn index(word: usize) -> usize {
    (word as u64 >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize
        >> (usize::BITS - BUCKETS.trailing_zeros())
}

/// Waits until a waker of `word` names one of `bits`, or until the deadline. Does not begin if `still` returns `false`.
///
/// `still` is called with the bucket locked, so that no wake-up can come between its result and the wait. It reads the
/// word, and must not block. May end for no reason, as futex(2) may.
pub(crate) fn wait(waiter: Waiter, word: usize, bits: u32, still: impl FnOnce() -> bool) -> FutexWaitResult {
    wait_after(waiter, word, bits, still, || true)
}

/// Waits as [`wait`] does, after it has called `ready`: at that time wakers see the waiter, and no lock is held. If `ready`
/// returns `false`, there is no wait.
pub(crate) fn wait_after(
    waiter: Waiter,
    word: usize,
    bits: u32,
    still: impl FnOnce() -> bool,
    ready: impl FnOnce() -> bool,
) -> FutexWaitResult {
    let target = match waiter {
        Waiter::Green { hub, .. } => {
            let Ok(inbox) = hub.inbox() else { return FutexWaitResult::Unreachable };
            WakeTarget::Green { hub, inbox: Arc::as_ptr(inbox), ticket: hub.ticket() }
        }
        Waiter::OsThread { .. } => WakeTarget::OsThread(AtomicU32::new(0)),
    };
    let entry = QueuedWaiter {
        word: AtomicUsize::new(word),
        bits,
        target,
        queued: Cell::new(false),
        before: Cell::new(null()),
        after: Cell::new(null()),
    };
    if !entry.enter_if(still) {
        return FutexWaitResult::Refused;
    }
    let result = if ready() { entry.block(waiter) } else { FutexWaitResult::Refused };
    // If a waker has taken the entry out, this is a wake-up, whatever else happened.
    if entry.leave() { result } else { FutexWaitResult::Woken }
}

impl QueuedWaiter {
    /// Enters the table if `still` returns `true`.
    fn enter_if(&self, still: impl FnOnce() -> bool) -> bool {
        let bucket = &TABLE[index(self.word.load(Relaxed))];
        bucket.count.fetch_add(1, SeqCst);
        let mut queue = bucket.queue.lock();
        fence(SeqCst);
        if still() {
            queue.push(self);
            return true;
        }
        drop(queue);
        bucket.count.fetch_sub(1, Relaxed);
        false
    }

    /// Blocks `waiter`, whose entry this is.
    fn block(&self, waiter: Waiter) -> FutexWaitResult {
        match (waiter, &self.target) {
            (Waiter::Green { hub, deadline, interruptible }, &WakeTarget::Green { ticket, .. }) => {
                let word = self.word.load(Relaxed);
                let waiters = &hub.futex_waiters;
                waiters.set(waiters.get() + 1);
                let result =
                    keep_errno(|| hub.park(ticket, deadline, WaitReason::Futex(word), interruptible));
                waiters.set(waiters.get() - 1);
                match result {
                    ParkResult::Notified => FutexWaitResult::Woken,
                    ParkResult::Expired => FutexWaitResult::Expired,
                    ParkResult::Interrupted => FutexWaitResult::Interrupted,
                    ParkResult::Deadlocked => {
                        hub.report_deadlock(word);
                        FutexWaitResult::Deadlocked
                    }
                }
            }
            (Waiter::OsThread { until }, WakeTarget::OsThread(woken)) => {
                match kernel_futex::wait_until(woken, 0, until) {
                    true => FutexWaitResult::Woken,
                    false => FutexWaitResult::Expired,
                }
            }
            _ => unreachable!("the target is of the waiter's kind"),
        }
    }

    /// Takes the entry out of the table. Returns `false` if a waker has already done so.
    fn leave(&self) -> bool {
        loop {
            let word = self.word.load(Relaxed);
            let bucket = &TABLE[index(word)];
            let mut queue = bucket.queue.lock();
            if self.word.load(Relaxed) != word {
                // Requeued since the first read.
                continue;
            }
            if !self.queued.get() {
                return false;
            }
            queue.remove(self);
            bucket.count.fetch_sub(1, Relaxed);
            return true;
        }
    }
}

/// Wakes up to `most` waiters of `word` that have one of `bits`, the longest waiting first. Returns their number.
pub(crate) fn wake(word: usize, most: usize, bits: u32) -> usize {
    fence(SeqCst);
    let bucket = &TABLE[index(word)];
    if bucket.count.load(Relaxed) == 0 {
        return 0;
    }
    let mut woken = 0;
    while woken < most {
        let Some(is_there) = bucket.wake_first(word, bits) else { break };
        woken += usize::from(is_there);
    }
    woken
}

impl Bucket {
    /// Takes the first waiter for `word` that has one of `bits` out of the queue, and wakes it without the lock. Returns
    /// `false` if the waiter is gone with its hub.
    fn wake_first(&self, word: usize, bits: u32) -> Option<bool> {
        let mut queue = self.queue.lock();
        let entry = queue.take_first(word, bits)?;
        self.count.fetch_sub(1, Relaxed);
        let (hub, inbox, ticket) = match entry.target {
            WakeTarget::Green { hub, inbox, ticket } => (hub, inbox, ticket),
            WakeTarget::OsThread(ref woken) => {
                woken.store(1, SeqCst);
                let address = woken.as_ptr() as usize;
                drop(queue);
                // If it still waits, it does so in the kernel at this address, where by now there may be another object.
                kernel_futex::wake_one_at(address);
                return Some(true);
            }
        };
        if let Some(hub) = try_current().filter(|current| std::ptr::eq(*current, hub)) {
            drop(queue);
            // If the ticket is stale, something else has woken the waiter, which sees that it was taken out.
            let woken = hub.state.try_borrow_mut().map(|mut state| state.wake(ticket, ParkResult::Notified));
            return Some(woken.is_ok() || hub.inbox().is_ok_and(|inbox| inbox.wake(ticket)));
        }
        // SAFETY: the pointer is into an Arc of the waiter's hub. As long as the lock is held, the waiter cannot return and
        // its hub cannot end.
        let inbox = unsafe {
            Arc::increment_strong_count(inbox);
            Arc::from_raw(inbox)
        };
        drop(queue);
        Some(inbox.wake(ticket))
    }
}

/// Empties the table in the child of a fork, because all waiters are the parent's.
pub(crate) fn reset_after_fork() {
    for bucket in &TABLE {
        if bucket.count.swap(0, Relaxed) > 0 || bucket.queue.is_taken() {
            // SAFETY: the child has one OS thread, which holds no lock of the table.
            unsafe { bucket.queue.reset_after_fork(WaitQueue::new()) };
        }
    }
}

/// Moves up to `most` waiters of `from` to `to`. Returns their number. If both words are in the same bucket, the waiters
/// keep their places, as in the kernel.
pub(crate) fn requeue(from: usize, to: usize, most: usize) -> usize {
    let (source, sink) = (index(from), index(to));
    if source == sink {
        let queue = TABLE[source].queue.lock();
        return queue.entries(from).take(most).inspect(|entry| entry.word.store(to, Relaxed)).count();
    }
    // Both locks, the lower first.
    let mut low = TABLE[source.min(sink)].queue.lock();
    let mut high = TABLE[source.max(sink)].queue.lock();
    let (out_of, into) = if source < sink { (&mut *low, &mut *high) } else { (&mut *high, &mut *low) };
    let mut moved = 0;
    while moved < most {
        let Some(entry) = out_of.take_first(from, u32::MAX) else { break };
        entry.word.store(to, Relaxed);
        into.push(entry);
        moved += 1;
    }
    TABLE[sink].count.fetch_add(moved as u32, SeqCst);
    TABLE[source].count.fetch_sub(moved as u32, Relaxed);
    moved
}
