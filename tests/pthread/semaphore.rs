//! `sem_*`.

use crate::c::*;
use crate::support::threads::*;
use greenline::{JoinError, patch, spawn, yield_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

#[test]
fn sem_calls_of_one_thread_return_what_c_returns() {
    patch::all();
    assert_same_on_all_kinds(|| {
        let mut results = Vec::new();
        let mut record = |what, result| results.push((what, errno(result)));
        let sem = &*sem(2);
        record("wait", wait_sem(sem));
        record("try", try_sem(sem));
        record("try again", try_sem(sem));
        record("past time", timed_sem(sem, &PAST));
        record("negative time", timed_sem(sem, &NEGATIVE));
        record("soon", timed_sem(sem, &at(REALTIME, ms(10))));
        record("soon, monotonic", clock_sem(sem, MONOTONIC, &at(MONOTONIC, ms(10))));
        record("invalid time", timed_sem(sem, &INVALID));
        record("post", post(sem));
        record("wait for a posted one, invalid time", timed_sem(sem, &INVALID));
        record("wait for a posted one, no such clock", clock_sem(sem, 99, &PAST));
        record("wait", wait_sem(sem));
        record("no such clock", clock_sem(sem, 99, &PAST));
        record("unsupported clock", clock_sem(sem, libc::CLOCK_PROCESS_CPUTIME_ID, &PAST));
        (0..3).for_each(|_| record("post", post(sem)));
        record("wait for a posted one, past time", timed_sem(sem, &PAST));
        record("wait for a posted one, negative time", clock_sem(sem, MONOTONIC, &NEGATIVE));
        record("wait", wait_sem(sem));
        record("try", try_sem(sem));
        results
    });
}

#[test]
fn sem_post_releases_one_waiter_of_either_kind() {
    patch::all();
    let (sem, back) = (sem(0), sem(0));
    let released = Arc::new(AtomicU32::new(0));
    let body = |n: u32| {
        let (sem, back, released) = (sem.clone(), back.clone(), released.clone());
        move || {
            for round in 0..100 {
                let result = match (round + n) % 3 {
                    0 => wait_sem(&sem),
                    1 => timed_sem(&sem, &far(REALTIME)),
                    _ => clock_sem(&sem, MONOTONIC, &far(MONOTONIC)),
                };
                assert_eq!(errno(result), 0);
                released.fetch_add(1, SeqCst);
                assert_eq!(post(&back), 0);
            }
        }
    };
    let mut joins = vec![start_hub([body(0), body(1)])];
    joins.extend((0..6).map(|n| start(Kind::os_if(n % 2 == 0), body(n))));
    // First the root posts one at a time. Then the root and an OS thread post many at once.
    for n in 0..200 {
        assert_eq!(post(&sem), 0);
        assert_eq!(errno(wait_sem(&back)), 0);
        assert_eq!(released.load(SeqCst), n + 1);
    }
    yield_100_times();
    assert_eq!(released.load(SeqCst), 200);
    let inside = sem.clone();
    joins.push(start(Os, move || (0..300).for_each(|_| assert_eq!(post(&inside), 0))));
    (0..300).for_each(|_| assert_eq!(post(&sem), 0));
    join_each(joins);
    assert_eq!(released.load(SeqCst), 800);
    assert_eq!(errno(try_sem(&sem)), libc::EAGAIN);
}

#[test]
fn sem_wait_when_killed_returns_eintr_once() {
    patch::all();
    let (sem, returns) = (sem(0), Arc::new(AtomicU32::new(0)));
    let (inside, stage) = (sem.clone(), returns.clone());
    let green = spawn(move || {
        assert_eq!(errno(wait_sem(&inside)), libc::EINTR);
        stage.store(1, SeqCst);
        assert_eq!(errno(wait_sem(&inside)), 0);
        stage.store(2, SeqCst);
        yield_now();
        unreachable!("the kill is delivered");
    });
    yield_now();
    green.kill();
    until(|| returns.load(SeqCst) == 1);
    yield_100_times();
    assert_eq!(returns.load(SeqCst), 1, "the second wait was interrupted, too");
    assert_eq!(post(&sem), 0);
    assert!(matches!(green.join(), Err(JoinError::Killed)));
    assert_eq!(returns.load(SeqCst), 2);
}
