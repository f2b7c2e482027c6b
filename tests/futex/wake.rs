//! `FUTEX_WAKE`, `FUTEX_WAKE_BITSET`, `FUTEX_REQUEUE` and `FUTEX_CMP_REQUEUE`: how many waiters they wake or move, and which.

use crate::call::*;
use crate::support::threads::*;
use greenline::{patch, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Wakes and requeues waiters of one kind in every way, and returns all results.
fn wake_results(kind: Kind) -> Vec<(&'static str, FutexResult)> {
    let mut results = Vec::new();
    let words: [Arc<AtomicU32>; 2] = Default::default();
    let [a, b] = &words;
    let mut record = |what, result| results.push((what, result));

    let mut waiters = Waiters::new(kind);
    (0..4).for_each(|_| waiters.wait(a, u32::MAX));
    record("wake 2 of 4", wake(a, 2));
    record("2 are left", Ok(waiting(a)));
    record("wake 0", wake(a, 0));
    record("wake 10", wake(a, 10));
    record("wake 1 of none", wake(a, 1));
    waiters.wait(a, u32::MAX);
    waiters.wait(a, u32::MAX);
    record("wake -1", wake(a, u32::MAX));
    record("wake all", wake(a, ALL));
    waiters.join();

    let mut waiters = Waiters::new(kind);
    [1, 2, 4, 3, 1 << 31].into_iter().for_each(|bits| waiters.wait(a, bits));
    record("bits of no waiter", call(a, WAKE_BITSET, ALL, 0, a, 8));
    record("no bits", call(a, WAKE_BITSET, ALL, 0, a, 0));
    record("one with 2", call(a, WAKE_BITSET, 1, 0, a, 2));
    waiters.order(1);
    record("all with 1", call(a, WAKE_BITSET, ALL, 0, a, 1));
    record("all with 1 again", call(a, WAKE_BITSET, ALL, 0, a, 1));
    record("the highest", call(a, WAKE_BITSET, ALL, 0, a, 1 << 31));
    waiters.order(4);
    record("any", wake(a, ALL));
    let order = waiters.order(5);
    assert_eq!(order[0], 1, "the first that has the bit");
    assert_eq!(order[4], 2, "the waiter with none of the bits goes last");
    waiters.join();

    let mut waiters = Waiters::new(kind);
    (0..6).for_each(|_| waiters.wait(a, u32::MAX));
    record("requeue: wake 1, move 2", call(a, REQUEUE, 1, 2, b, 0));
    waiters.order(1);
    record("left at the first word", Ok(waiting(a)));
    record("moved to the second word", Ok(waiting(b)));
    record("requeue: wake 0, move 1", call(a, REQUEUE, 0, 1, b, 0));
    record("requeue: wake 0, move 0", call(a, REQUEUE, 0, 0, b, 0));
    record("requeue: wake 1, move 0", call(a, REQUEUE, 1, 0, b, 0));
    record("changed", call(a, CMP_REQUEUE, 1, ALL as usize, b, 1));
    record("not changed", call(a, CMP_REQUEUE, 0, ALL as usize, b, 0));
    record("no waiter is left", call(a, CMP_REQUEUE, 1, ALL as usize, b, 0));
    record("a negative count", call(a, REQUEUE, u32::MAX, 1, b, 0));
    record("a negative count to move", call(a, CMP_REQUEUE, 1, u32::MAX as usize, b, 0));
    record("wake all at the first word", wake(a, ALL));
    waiters.order(2);
    record("wake 1 at the second word", wake(b, 1));
    waiters.order(3);
    record("requeue to the same word: wake 1, count 2", call(b, REQUEUE, 1, 2, b, 0));
    waiters.order(4);
    record("wake all at the second word", wake(b, ALL));
    assert_eq!(waiters.order(6)[..4], [0, 4, 1, 2]);
    waiters.join();
    results
}

#[test]
fn futex_wake_and_requeue_return_the_kernels_counts() {
    patch::all();
    let kernel = wake_results(Os);
    assert_eq!(wake_results(Green), kernel, "on the root");
    assert_eq!(spawn(|| wake_results(Green)).join().unwrap(), kernel, "on a green thread");
    let expected = ["wake 2 of 4", "wake 10", "all with 1", "requeue: wake 1, move 2", "not changed"];
    let results = expected.map(|what| kernel.iter().find(|(name, _)| *name == what).unwrap().1);
    assert_eq!(results, [Ok(2), Ok(1), Ok(2), Ok(3), Ok(1)]);
}

#[test]
fn futex_wake_wakes_the_longest_waiting_first() {
    patch::all();
    for kind in KINDS {
        let word = Arc::new(AtomicU32::new(0));
        let mut waiters = Waiters::new(kind);
        (0..8).for_each(|_| waiters.wait(&word, u32::MAX));
        for n in 1..=8 {
            assert_eq!(wake(&word, 1), Ok(1));
            assert_eq!(waiters.order(n), Vec::from_iter(0..n), "{kind:?}");
        }
        waiters.join();
    }
    // Green threads that are woken together go on in the same order.
    let word = Arc::new(AtomicU32::new(0));
    let mut waiters = Waiters::new(Green);
    (0..8).for_each(|_| waiters.wait(&word, u32::MAX));
    assert_eq!(wake(&word, ALL), Ok(8));
    assert_eq!(waiters.order(8), Vec::from_iter(0..8));
    waiters.join();
}

#[test]
fn futex_wake_of_all_reaches_all_hubs_and_os_threads() {
    patch::all();
    for waker in KINDS {
        let word = Arc::new(AtomicU32::new(0));
        let (joins, released) = start_nine(&word, WAIT);
        until(|| waiting(&word) == 9);
        assert_eq!(released.load(SeqCst), 0);
        let inside = word.clone();
        start(waker, move || assert_eq!(wake(&inside, ALL), Ok(9)))();
        join_each(joins);
        assert_eq!(released.load(SeqCst), 9);
    }
}

#[test]
fn futex_wake_of_some_wakes_exactly_as_many() {
    patch::all();
    let word = Arc::new(AtomicU32::new(0));
    let (joins, released) = start_nine(&word, WAIT_BITSET);
    until(|| waiting(&word) == 9);
    let mut woken = 0;
    for most in [1, 4, 2] {
        assert_eq!(wake(&word, most), Ok(most));
        woken += most;
        assert_eq!(waiting(&word), 9 - woken);
        until(|| released.load(SeqCst) == woken as usize);
    }
    yield_100_times();
    assert_eq!((released.load(SeqCst), waiting(&word)), (7, 2));
    assert_eq!(wake(&word, 100), Ok(2));
    join_each(joins);
}

#[test]
fn futex_cmp_requeue_moves_waiters_of_all_kinds() {
    patch::all();
    let (word, other) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(0));
    let (joins, released) = start_nine(&word, WAIT);
    until(|| waiting(&word) == 9);
    assert_eq!(call(&word, CMP_REQUEUE, 1, ALL as usize, &other, 0), Ok(9));
    assert_eq!((waiting(&word), waiting(&other)), (0, 8));
    until(|| released.load(SeqCst) == 1);
    assert_eq!(wake(&word, ALL), Ok(0));
    assert_eq!(wake(&other, ALL), Ok(8));
    join_each(joins);
}

#[test]
fn futex_wake_reaches_an_idle_hub() {
    patch::all();
    // Two hubs take turns, so that each is idle in turn: its only green thread waits for the word.
    let word = Arc::new(AtomicU32::new(0));
    let side = |me: u32| {
        let word = word.clone();
        move || {
            for round in 0..200 {
                let turn = 2 * round + me;
                loop {
                    let seen = word.load(SeqCst);
                    if seen == turn {
                        break;
                    }
                    assert!(matches!(wait(&word, seen), Ok(0) | Err(libc::EAGAIN)));
                }
                word.store(turn + 1, SeqCst);
                wake(&word, ALL).unwrap();
            }
        }
    };
    join_each([start_hub([side(0)]), start_hub([side(1)])]);
    assert_eq!(word.load(SeqCst), 400);

    // The root waits on a hub without green threads, and an OS thread wakes it.
    let word = Arc::new(AtomicU32::new(0));
    let inside = word.clone();
    let waker = start(Os, move || {
        until(|| waiting(&inside) == 1);
        inside.store(1, SeqCst);
        assert_eq!(wake(&inside, 1), Ok(1));
    });
    assert_eq!(wait(&word, 0), Ok(0));
    assert_eq!(word.load(SeqCst), 1);
    waker();
}
