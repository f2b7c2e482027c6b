//! The system call with its operations, and the threads that wait in the tests.

use crate::support::threads::*;
use std::iter::repeat_n;
use std::ptr::null;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PRIVATE: i32 = libc::FUTEX_PRIVATE_FLAG;
pub(crate) const WAIT: i32 = libc::FUTEX_WAIT | PRIVATE;
pub(crate) const WAIT_BITSET: i32 = libc::FUTEX_WAIT_BITSET | PRIVATE;
const WAKE: i32 = libc::FUTEX_WAKE | PRIVATE;
pub(crate) const WAKE_BITSET: i32 = libc::FUTEX_WAKE_BITSET | PRIVATE;
pub(crate) const REQUEUE: i32 = libc::FUTEX_REQUEUE | PRIVATE;
pub(crate) const CMP_REQUEUE: i32 = libc::FUTEX_CMP_REQUEUE | PRIVATE;
pub(crate) const ALL: u32 = i32::MAX as u32;

/// The system call's result, or `errno`.
pub(crate) type FutexResult = Result<u32, i32>;

/// Makes the system call. `fourth` is the number or the address of a time that the operation takes.
pub(crate) fn call(
    word: &AtomicU32,
    operation: i32,
    value: u32,
    fourth: usize,
    other: &AtomicU32,
    bits: u32,
) -> FutexResult {
    call_at(word.as_ptr() as usize, operation, value, fourth, other, bits)
}

pub(crate) fn call_at(
    address: usize,
    operation: i32,
    value: u32,
    fourth: usize,
    other: &AtomicU32,
    bits: u32,
) -> FutexResult {
    // SAFETY: the kernel checks the addresses. Each caller passes a word that lives, or an address that the kernel refuses.
    let result =
        unsafe { libc::syscall(libc::SYS_futex, address, operation, value, fourth, other.as_ptr(), bits) };
    // SAFETY: the address is the calling thread's own.
    if result < 0 { Err(unsafe { *libc::__errno_location() }) } else { Ok(result as u32) }
}

pub(crate) fn wait_until(
    word: &AtomicU32,
    operation: i32,
    value: u32,
    time: Option<&libc::timespec>,
    bits: u32,
) -> FutexResult {
    call(word, operation, value, time.map_or(null(), |time| &raw const *time) as usize, word, bits)
}

pub(crate) fn wait(word: &AtomicU32, value: u32) -> FutexResult {
    wait_until(word, WAIT, value, None, 0)
}

pub(crate) fn wake(word: &AtomicU32, most: u32) -> FutexResult {
    call(word, WAKE, most, 0, word, 0)
}

/// Returns how many threads of all kinds wait for `word`. A requeue to the same word counts them and moves none.
pub(crate) fn waiting(word: &AtomicU32) -> u32 {
    call(word, REQUEUE, 0, ALL as usize, word, 0).unwrap()
}

/// The same for a word that processes share.
pub(crate) fn waiting_shared(word: &AtomicU32) -> u32 {
    call(word, libc::FUTEX_REQUEUE, 0, ALL as usize, word, 0).unwrap()
}

pub(crate) fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec { tv_sec: duration.as_secs() as _, tv_nsec: duration.subsec_nanos() as _ }
}

/// Threads of one kind that wait for words, in the order in which they started to wait.
pub(crate) struct Waiters {
    kind: Kind,
    joins: Vec<Join>,
    /// The numbers of the woken threads, in the order in which they went on.
    order: Arc<Mutex<Vec<usize>>>,
}

impl Waiters {
    pub(crate) fn new(kind: Kind) -> Waiters {
        Waiters { kind, joins: Vec::new(), order: Arc::default() }
    }

    /// Starts another thread that waits for `word`, which is 0. Returns once the thread waits.
    pub(crate) fn wait(&mut self, word: &Arc<AtomicU32>, bits: u32) {
        let before = waiting(word);
        let (inside, order, number) = (word.clone(), self.order.clone(), self.joins.len());
        self.joins.push(start(self.kind, move || {
            assert_eq!(wait_until(&inside, WAIT_BITSET, 0, None, bits), Ok(0));
            order.lock().unwrap().push(number);
        }));
        until(|| waiting(word) == before + 1);
    }

    /// Returns the order, once `len` threads have gone on.
    pub(crate) fn order(&self, len: usize) -> Vec<usize> {
        until(|| self.order.lock().unwrap().len() >= len);
        self.order.lock().unwrap().clone()
    }

    /// Returns when all threads have gone on.
    pub(crate) fn join(self) {
        join_each(self.joins);
    }
}

/// Starts nine threads that wait for `word` as long as it is 0: three green threads of this hub, three of another hub,
/// and three OS threads without a hub. Returns the number of them that have gone on, too.
pub(crate) fn start_nine(word: &Arc<AtomicU32>, operation: i32) -> (Vec<Join>, Arc<AtomicUsize>) {
    let released = Arc::new(AtomicUsize::new(0));
    let (inside, count) = (word.clone(), released.clone());
    let body = move || {
        assert_eq!(wait_until(&inside, operation, 0, None, u32::MAX), Ok(0));
        count.fetch_add(1, SeqCst);
    };
    let mut joins = vec![start_hub(repeat_n(body.clone(), 3))];
    for _ in 0..3 {
        joins.extend(KINDS.map(|kind| start(kind, body.clone())));
    }
    (joins, released)
}
