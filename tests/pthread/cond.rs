//! `pthread_cond_*`.

use crate::c::*;
use crate::support::threads::*;
use greenline::{JoinError, patch, spawn, yield_now};
use libc::{c_int, clockid_t, timespec};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Instant;

#[test]
fn pthread_cond_calls_of_one_thread_return_what_c_returns() {
    patch::all();
    assert_same_on_all_kinds(|| {
        let mut results = Vec::new();
        for clock in [REALTIME, MONOTONIC] {
            let mut record = |what, result| results.push((what, result));
            let (cond, mutex) = (&*cond(clock), &*mutex(libc::PTHREAD_MUTEX_ERRORCHECK));
            record("signal without waiters", signal(cond));
            record("broadcast without waiters", broadcast(cond));
            record("wait without the mutex", wait(cond, mutex));
            record("timed wait without the mutex", timed_wait(cond, mutex, &PAST));
            lock(mutex);
            let started = Instant::now();
            record("soon", timed_wait(cond, mutex, &at(clock, ms(20))));
            record("not too soon", (started.elapsed() >= ms(19)) as c_int);
            record("past time", timed_wait(cond, mutex, &PAST));
            record("negative time", timed_wait(cond, mutex, &NEGATIVE));
            record("invalid time", timed_wait(cond, mutex, &INVALID));
            record("negative nanoseconds", timed_wait(cond, mutex, &timespec { tv_sec: 1, tv_nsec: -1 }));
            record("soon, realtime", clock_wait(cond, mutex, REALTIME, &at(REALTIME, ms(5))));
            record("soon, monotonic", clock_wait(cond, mutex, MONOTONIC, &at(MONOTONIC, ms(5))));
            record("invalid time, monotonic", clock_wait(cond, mutex, MONOTONIC, &INVALID));
            record("no such clock", clock_wait(cond, mutex, 99, &PAST));
            record("unsupported clock", clock_wait(cond, mutex, libc::CLOCK_PROCESS_CPUTIME_ID, &PAST));
            record("unlock after all waits", unlock(mutex));
            record("destroy", destroy_cond(cond));
        }
        results
    });
}

/// A bounded queue as C programs write it, reduced to its length.
struct Queue {
    mutex: Arc<Mutex>,
    not_empty: Arc<Cond>,
    not_full: Arc<Cond>,
    len: Cell<u32>,
}

// SAFETY: only the thread that holds the mutex uses the length.
unsafe impl Sync for Queue {}
// SAFETY: as above.
unsafe impl Send for Queue {}

impl Queue {
    fn new(clock: clockid_t) -> Arc<Queue> {
        let len = Cell::new(0);
        Arc::new(Queue { mutex: normal_mutex(), not_empty: cond(clock), not_full: cond(clock), len })
    }

    /// Waits until the length is not `not`, changes it by `by`, and wakes one or all waiters of the other condition.
    fn change(&self, not: u32, by: i32, wait_on: &Cond, wake: &Cond, all: bool) {
        assert_eq!(lock(&self.mutex), 0);
        while self.len.get() == not {
            assert_eq!(wait(wait_on, &self.mutex), 0);
        }
        self.len.set(self.len.get().checked_add_signed(by).unwrap());
        assert_eq!(if all { broadcast(wake) } else { signal(wake) }, 0);
        assert_eq!(unlock(&self.mutex), 0);
    }

    fn put(&self, all: bool) {
        self.change(3, 1, &self.not_full, &self.not_empty, all);
    }

    fn take(&self, all: bool) {
        self.change(0, -1, &self.not_empty, &self.not_full, all);
    }
}

#[test]
fn pthread_cond_signal_under_contention_loses_no_wakeup() {
    patch::all();
    for (clock, all) in [(REALTIME, false), (MONOTONIC, true)] {
        let queue = Queue::new(clock);
        const EACH: u32 = 400;
        let side = |puts: bool| {
            let queue = queue.clone();
            move || (0..EACH).for_each(|_| if puts { queue.put(all) } else { queue.take(all) })
        };
        let mut joins = vec![start_hub([side(true), side(false)])];
        for kind in KINDS {
            joins.extend([true, false, true, false].map(|puts| start(kind, side(puts))));
        }
        join_each(joins);
        assert_eq!(queue.len.get(), 0);
        assert_eq!(destroy_cond(&queue.not_empty), 0);
    }
}

#[test]
fn pthread_cond_signal_wakes_one_and_broadcast_wakes_all() {
    patch::all();
    let (mutex, cond) = (normal_mutex(), cond(REALTIME));
    let (waiting, woken) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (go, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let joins: Vec<_> = (0..6)
        .map(|n| {
            let (mutex, cond, waiting, woken) = (mutex.clone(), cond.clone(), waiting.clone(), woken.clone());
            let (go, stop) = (go.clone(), stop.clone());
            start(Kind::os_if(n % 2 == 0), move || {
                assert_eq!(lock(&mutex), 0);
                waiting.fetch_add(1, SeqCst);
                // Each woken thread takes one of `go`.
                while !stop.load(SeqCst) && go.load(SeqCst) == 0 {
                    assert_eq!(wait(&cond, &mutex), 0);
                }
                if !stop.load(SeqCst) {
                    go.fetch_sub(1, SeqCst);
                }
                woken.fetch_add(1, SeqCst);
                assert_eq!(unlock(&mutex), 0);
            })
        })
        .collect();
    // A waiter has released the mutex. A thread that gets the mutex after the sixth counted itself finds six waiters.
    until(|| waiting.load(SeqCst) == 6);
    for (n, kind) in [(1, Green), (2, Os)] {
        let (mutex, cond, go) = (mutex.clone(), cond.clone(), go.clone());
        start(kind, move || {
            assert_eq!(lock(&mutex), 0);
            go.fetch_add(1, SeqCst);
            assert_eq!(signal(&cond), 0);
            assert_eq!(unlock(&mutex), 0);
        })();
        until(|| woken.load(SeqCst) == n);
        yield_100_times();
        assert_eq!(woken.load(SeqCst), n, "one signal wakes one waiter");
    }
    assert_eq!(lock(&mutex), 0);
    stop.store(true, SeqCst);
    assert_eq!(broadcast(&cond), 0);
    assert_eq!(woken.load(SeqCst), 2, "the root still holds the mutex");
    assert_eq!(unlock(&mutex), 0);
    join_each(joins);
    assert_eq!(woken.load(SeqCst), 6);
}

#[test]
fn pthread_cond_wait_on_os_thread_releases_mutex_to_green_thread() {
    patch::all();
    let (mutex, cond, state) = (normal_mutex(), cond(MONOTONIC), Arc::new(AtomicU32::new(0)));
    for timed in [false, true] {
        state.store(0, SeqCst);
        let (inside, there, stage) = (mutex.clone(), cond.clone(), state.clone());
        let os_thread = start(Os, move || {
            assert_eq!(lock(&inside), 0);
            stage.store(1, SeqCst);
            until(|| stage.load(SeqCst) == 2);
            while stage.load(SeqCst) != 3 {
                let result = match timed {
                    true => timed_wait(&there, &inside, &far(MONOTONIC)),
                    false => wait(&there, &inside),
                };
                assert_eq!(result, 0);
            }
            assert_eq!(unlock(&inside), 0);
        });
        until(|| state.load(SeqCst) == 1);
        let (inside, there, stage) = (mutex.clone(), cond.clone(), state.clone());
        let green = start(Green, move || {
            stage.store(2, SeqCst);
            assert_eq!(lock(&inside), 0); // parks until the OS thread waits for the condition
            stage.store(3, SeqCst);
            assert_eq!(signal(&there), 0);
            assert_eq!(unlock(&inside), 0);
        });
        green();
        os_thread();
    }
}

#[test]
fn pthread_cond_wait_when_killed_returns_early_with_the_mutex() {
    patch::all();
    let (mutex, cond) = (mutex(libc::PTHREAD_MUTEX_ERRORCHECK), cond(REALTIME));
    let (inside, there) = (mutex.clone(), cond.clone());
    let green = spawn(move || {
        assert_eq!(lock(&inside), 0);
        assert_eq!(wait(&there, &inside), 0); // a spurious wakeup
        assert_eq!(unlock(&inside), 0, "the wait returned without the mutex");
        yield_now();
        unreachable!("the kill is delivered");
    });
    yield_now();
    assert_eq!(try_lock(&mutex), 0, "the waiter kept the mutex");
    assert_eq!(unlock(&mutex), 0);
    green.kill();
    assert!(matches!(green.join(), Err(JoinError::Killed)));
    assert_eq!((try_lock(&mutex), unlock(&mutex)), (0, 0));
}
