//! Waiting for a word in memory to change: the kernel's futex, for green threads.
//!
//! Every lock of std is a word, changed by atomic instructions; who cannot go on asks to be parked "as long as
//! the word is still 2", and who changes it asks that somebody be woken. Here is the same for green threads: a
//! table of those that wait, by the word's address. (OS threads wait here, too, where C's conditions are made of
//! it.) Whoever wakes, on whichever OS thread, looks here first;
//! OS threads that wait are in the kernel's table, and are woken there.
//!
//! **No wake-up is lost**, by the kernel's own argument: the waiter looks at the word and enters the table
//! under the bucket's lock, and the waker takes that lock after it has changed the word. So either the waiter
//! sees the change, or the waker sees the waiter. Wakers look into an empty bucket without its lock; for that
//! both sides put a fence between their write and their read (waiter: count, word; waker: word, count).
//!
//! A waiter lies on the stack of who waits, and takes itself out when its park ends without a wake-up: by its
//! deadline, say. A wake-up that comes first wins, and is not lost on somebody who has given up.
//!
//! Leaves to others: what the words mean (`patch`), parking (`hub`). Source: futex(2); "Futexes Are Tricky"
//! (U. Drepper); WebKit's ParkingLot.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use crate::hub::{Hub, Inbox, try_current};
use crate::ids::{GreenId, ParkResult, Ticket, WaitReason};
use crate::sys::raw_mutex::Lock;
use crate::time::Time;
use std::cell::Cell;
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicUsize, fence};

/// Who waits.
#[derive(Clone, Copy)]
pub(crate) enum Waiter {
    /// The green thread, or the root, that runs on this hub. `shield`: neither kill nor timeout ends it.
    Green { hub: &'static Hub, deadline: Time, shield: bool },
    /// An OS thread without a hub, until an absolute time of a clock.
    OsThread { until: Option<(libc::clockid_t, libc::timespec)> },
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FutexWaitResult {
    /// By a waker, or for no reason.
    Woken,
    /// It did not begin: the word was not as it had to be.
    Refused,
    Expired,
    /// A kill or a timeout is to be delivered; never when shielded.
    Interrupted,
    /// Nobody is left who could change the word. Only for the root.
    Deadlocked,
    /// It did not begin: the hub cannot be reached from other OS threads, for want of a file descriptor. Wait in
    /// the kernel.
    Unreachable,
}

/// One that waits. It lies on its own stack, in which it does not move.
struct QueuedWaiter {
    /// Changed by a requeue, under the locks of both buckets.
    word: AtomicUsize,
    /// Which wakers it is for.
    bits: u32,
    /// How it is woken.
    seat: WakeTarget,
    /// Whether it is in the table, and between whom; under the bucket's lock.
    queued: Cell<bool>,
    before: Cell<*const QueuedWaiter>,
    after: Cell<*const QueuedWaiter>,
}

enum WakeTarget {
    /// By its hub; by other OS threads through what they share with that.
    Green { hub: *const Hub, shared: *const Inbox, id: GreenId, epoch: u32 },
    /// By this word, set to 1.
    OsThread(AtomicU32),
}

/// Those that wait, the longest waiting first: a list through the waiters themselves, for nothing may be
/// allocated under the lock (the allocator's own locks may be patched).
struct WaitQueue {
    first: *const QueuedWaiter,
    last: *const QueuedWaiter,
}

// SAFETY: what it points to is reached only under the bucket's lock, by any OS thread, and taken out under it
// before it goes.
unsafe impl Send for WaitQueue {}

impl WaitQueue {
    const fn new() -> WaitQueue {
        WaitQueue { first: null(), last: null() }
    }

    fn push(&mut self, waiter: &QueuedWaiter) {
        waiter.before.set(self.last);
        waiter.after.set(null());
        // SAFETY: those in the queue are alive, for they take themselves out before they go.
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

    /// The first that waits for `word` and is met by `bits`.
    fn find(&self, word: usize, bits: u32) -> Option<&QueuedWaiter> {
        let mut at = self.first;
        // SAFETY: as in `push`; they stay while the lock is held, which the borrow of `self` stands for.
        while let Some(waiter) = unsafe { at.as_ref() } {
            if waiter.word.load(Relaxed) == word && waiter.bits & bits != 0 {
                return Some(waiter);
            }
            at = waiter.after.get();
        }
        None
    }

    /// How many wait for `word`.
    fn count(&self, word: usize) -> usize {
        let (mut at, mut count) = (self.first, 0);
        // SAFETY: as in `find`.
        while let Some(waiter) = unsafe { at.as_ref() } {
            count += usize::from(waiter.word.load(Relaxed) == word);
            at = waiter.after.get();
        }
        count
    }
}

struct Bucket {
    /// At least as many as are in the queue.
    count: AtomicU32,
    queue: Lock<WaitQueue>,
}

/// Some 128 KiB, of which only what is used is ever touched.
const BUCKETS: usize = 1 << 12;

static TABLE: [Bucket; BUCKETS] =
    [const { Bucket { count: AtomicU32::new(0), queue: Lock::new(WaitQueue::new()) } }; BUCKETS];

/// The buckets of a word: which, by its address.
fn index(word: usize) -> usize {
    (word as u64 >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize
        >> (usize::BITS - BUCKETS.trailing_zeros())
}

/// Waits until a waker of `word` whose bits meet `bits` calls, or the deadline, if `still` answers true: it is
/// asked with the bucket locked, so that no wake-up can come between its answer and the wait. It must look at the
/// word, and not block.
///
/// May end for no reason, as futex(2) may.
pub(crate) fn wait(who: Waiter, word: usize, bits: u32, still: impl FnOnce() -> bool) -> FutexWaitResult {
    wait_after(who, word, bits, still, || true)
}

/// [`wait`], with `ready` called once wakers can see us, and no lock held. If it answers false, there is no wait.
pub(crate) fn wait_after(
    who: Waiter,
    word: usize,
    bits: u32,
    still: impl FnOnce() -> bool,
    ready: impl FnOnce() -> bool,
) -> FutexWaitResult {
    let mut ticket = None;
    let seat = match who {
        Waiter::Green { hub, .. } => {
            let Ok(shared) = hub.inbox() else { return FutexWaitResult::Unreachable };
            let Ticket { id, epoch, .. } = *ticket.insert(hub.ticket());
            WakeTarget::Green { hub, shared: Arc::as_ptr(shared), id, epoch }
        }
        Waiter::OsThread { .. } => WakeTarget::OsThread(AtomicU32::new(0)),
    };
    let waiter = QueuedWaiter {
        word: AtomicUsize::new(word),
        bits,
        seat,
        queued: Cell::new(false),
        before: Cell::new(null()),
        after: Cell::new(null()),
    };
    let bucket = &TABLE[index(word)];
    bucket.count.fetch_add(1, SeqCst);
    {
        let mut queue = bucket.queue.lock();
        fence(SeqCst);
        if !still() {
            drop(queue);
            bucket.count.fetch_sub(1, Relaxed);
            return FutexWaitResult::Refused;
        }
        queue.push(&waiter);
    }
    let ended = if !ready() {
        FutexWaitResult::Refused
    } else {
        match (who, ticket, &waiter.seat) {
            (Waiter::Green { hub, deadline, shield }, Some(ticket), _) => {
                match hub.park_on_futex(ticket, deadline, WaitReason::Futex(word), shield) {
                    ParkResult::Notified => FutexWaitResult::Woken,
                    ParkResult::Expired => FutexWaitResult::Expired,
                    ParkResult::Interrupted => FutexWaitResult::Interrupted,
                    ParkResult::Deadlocked => FutexWaitResult::Deadlocked,
                }
            }
            (Waiter::OsThread { until }, _, WakeTarget::OsThread(woken)) => in_kernel(woken, 0, until),
            _ => unreachable!("a seat is of the kind that waits"),
        }
    };
    match take_out(&waiter) {
        true => ended,
        // Then it is a wake-up, whatever else happened.
        false => FutexWaitResult::Woken,
    }
}

/// Blocks the OS thread in the kernel, as long as `word` is `value`, until an absolute time of a clock.
pub(crate) fn in_kernel(
    word: &AtomicU32,
    value: u32,
    until: Option<(libc::clockid_t, libc::timespec)>,
) -> FutexWaitResult {
    // The kernel refuses a time before the clock's own beginning, which has passed.
    if until.is_some_and(|(_, time)| time.tv_sec < 0) {
        return FutexWaitResult::Expired;
    }
    let realtime = until.is_some_and(|(clock, _)| clock == libc::CLOCK_REALTIME);
    let operation = libc::FUTEX_WAIT_BITSET
        | libc::FUTEX_PRIVATE_FLAG
        | if realtime { libc::FUTEX_CLOCK_REALTIME } else { 0 };
    let time = until.as_ref().map_or(null(), |(_, time)| &raw const *time);
    let word = word.as_ptr() as usize;
    let args = [word, operation as usize, value as usize, time as usize, 0, u32::MAX as usize];
    // SAFETY: a word that lives, and a time of ours.
    let answer = unsafe { syscall(libc::SYS_futex, args) };
    if answer == -libc::ETIMEDOUT as isize { FutexWaitResult::Expired } else { FutexWaitResult::Woken }
}

/// Takes a waiter out of the table. `false`: somebody has, to wake it.
fn take_out(waiter: &QueuedWaiter) -> bool {
    loop {
        let word = waiter.word.load(Relaxed);
        let bucket = &TABLE[index(word)];
        let mut queue = bucket.queue.lock();
        if waiter.word.load(Relaxed) != word {
            // Requeued since we looked.
            continue;
        }
        if !waiter.queued.get() {
            return false;
        }
        queue.remove(waiter);
        bucket.count.fetch_sub(1, Relaxed);
        return true;
    }
}

/// Wakes up to `most` green threads that wait for `word` with bits among `bits`, the longest waiting first.
/// Answers how many.
pub(crate) fn wake(word: usize, most: usize, bits: u32) -> usize {
    fence(SeqCst);
    let bucket = &TABLE[index(word)];
    if bucket.count.load(Relaxed) == 0 {
        return 0;
    }
    let mut woken = 0;
    while woken < most {
        let Some(found) = take_first(bucket, word, bits) else { break };
        woken += usize::from(found.wake());
    }
    woken
}

/// Who is to be woken, out of the table: on this OS thread's hub, or another's.
enum Found {
    Here(&'static Hub, Ticket),
    There(Arc<Inbox>, Ticket),
    /// It waits in the kernel, if at all, at this address, where by now there may be something else.
    OsThread(usize),
}

fn take_first(bucket: &Bucket, word: usize, bits: u32) -> Option<Found> {
    let mut queue = bucket.queue.lock();
    let waiter: *const QueuedWaiter = queue.find(word, bits)?;
    bucket.count.fetch_sub(1, Relaxed);
    // SAFETY: in the queue until now. With the lock gone, it may be no more.
    let waiter = unsafe { &*waiter };
    queue.remove(waiter);
    let (hub, shared, ticket) = match &waiter.seat {
        WakeTarget::Green { hub, shared, id, epoch } => (*hub, *shared, Ticket::new(*id, *epoch)),
        WakeTarget::OsThread(woken) => {
            woken.store(1, SeqCst);
            return Some(Found::OsThread(woken.as_ptr() as usize));
        }
    };
    match try_current().filter(|current| std::ptr::eq(*current, hub)) {
        Some(hub) => Some(Found::Here(hub, ticket)),
        // SAFETY: it points into an Arc that the waiter's hub has; and while the waiter is in the queue, its hub
        // has not ended. Once it is out, it may go on by itself (by its deadline), end, and its hub with it.
        None => Some(Found::There(
            unsafe {
                Arc::increment_strong_count(shared);
                Arc::from_raw(shared)
            },
            ticket,
        )),
    }
}

impl Found {
    /// `false`: its hub is gone, and it with it.
    fn wake(self) -> bool {
        match self {
            Found::Here(hub, ticket) => {
                hub.try_wake(ticket) || hub.inbox().is_ok_and(|shared| shared.wake(ticket))
            }
            Found::There(shared, ticket) => shared.wake(ticket),
            Found::OsThread(word) => {
                let operation = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
                // SAFETY: an address is all that it takes; whoever waits there may wake for no reason.
                unsafe { syscall(libc::SYS_futex, [word, operation, 1, 0, 0, 0]) };
                true
            }
        }
    }
}

/// Nobody waits any more: for the child of a fork, to whom all that wait are another process's.
pub(crate) fn reset_after_fork() {
    for bucket in &TABLE {
        if bucket.count.swap(0, Relaxed) > 0 || bucket.queue.is_taken() {
            // SAFETY: the one OS thread of the child, which is not in here otherwise.
            unsafe { bucket.queue.reset_after_fork(WaitQueue::new()) };
        }
    }
}

/// Has up to `most` green threads that wait for `from` wait for `to` instead. Answers how many. If that is the
/// same, they stay as they are, and are counted, as the kernel does.
pub(crate) fn requeue(from: usize, to: usize, most: usize) -> usize {
    if from == to {
        return TABLE[index(from)].queue.lock().count(from).min(most);
    }
    let (source, sink) = (index(from), index(to));
    // Both locks, the lower first; the sink's is the source's, where they are one.
    let mut low = TABLE[source.min(sink)].queue.lock();
    let mut high = (source != sink).then(|| TABLE[source.max(sink)].queue.lock());
    let mut moved = 0;
    while moved < most {
        let out_of = if source <= sink { &mut *low } else { high.as_deref_mut().unwrap_or(&mut *low) };
        let Some(waiter) = out_of.find(from, u32::MAX).map(|waiter| &raw const *waiter) else { break };
        // SAFETY: in the queue, whose lock we hold.
        let waiter = unsafe { &*waiter };
        out_of.remove(waiter);
        waiter.word.store(to, Relaxed);
        let into = if source >= sink { &mut *low } else { high.as_deref_mut().unwrap_or(&mut *low) };
        into.push(waiter);
        moved += 1;
    }
    TABLE[sink].count.fetch_add(moved as u32, SeqCst);
    TABLE[source].count.fetch_sub(moved as u32, Relaxed);
    moved
}
