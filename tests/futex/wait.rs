//! `FUTEX_WAIT` and `FUTEX_WAIT_BITSET`: errors, deadlines and kills.

use crate::call::*;
use crate::support::threads::*;
use greenline::thread::Thread;
use greenline::{JoinError, join_all, patch, sleep, spawn, timeout, yield_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn now(clock: libc::clockid_t) -> Duration {
    let mut now = timespec(Duration::ZERO);
    // SAFETY: the time is written to this frame.
    unsafe { libc::clock_gettime(clock, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Makes waits that end at once or by their timeout. Returns their results, and whether each took its least time.
fn wait_results() -> Vec<(&'static str, FutexResult, bool)> {
    let word = AtomicU32::new(7);
    let mut results = Vec::new();
    let mut record = |what, least, wait: &dyn Fn() -> FutexResult| {
        let start = Instant::now();
        let result = wait();
        let took = start.elapsed();
        assert!(took < LONG, "{what}: {took:?}");
        results.push((what, result, took >= least));
    };
    let zero = Duration::ZERO;
    let raw = |tv_sec, tv_nsec| libc::timespec { tv_sec, tv_nsec };
    let at = |clock, ahead| timespec(now(clock) + ahead);
    let realtime = libc::FUTEX_CLOCK_REALTIME;
    let any = u32::MAX;

    record("changed", zero, &|| wait(&word, 6));
    record("changed, with bits", zero, &|| wait_until(&word, WAIT_BITSET, 6, None, any));
    record("changed, and a time", zero, &|| wait_until(&word, WAIT, 6, Some(&timespec(ms(1))), 0));
    record("changed, shared", zero, &|| wait_until(&word, libc::FUTEX_WAIT, 6, None, 0));
    record("relative", ms(30), &|| wait_until(&word, WAIT, 7, Some(&timespec(ms(30))), 0));
    record("relative, shared", ms(30), &|| {
        wait_until(&word, libc::FUTEX_WAIT, 7, Some(&timespec(ms(30))), 0)
    });
    record("relative, zero", zero, &|| wait_until(&word, WAIT, 7, Some(&raw(0, 0)), 0));
    record("monotonic", ms(30), &|| {
        wait_until(&word, WAIT_BITSET, 7, Some(&at(libc::CLOCK_MONOTONIC, ms(31))), any)
    });
    record("realtime", ms(30), &|| {
        wait_until(&word, WAIT_BITSET | realtime, 7, Some(&at(libc::CLOCK_REALTIME, ms(31))), any)
    });
    record("monotonic, past", zero, &|| {
        wait_until(&word, WAIT_BITSET, 7, Some(&at(libc::CLOCK_MONOTONIC, zero)), any)
    });
    record("monotonic, time zero", zero, &|| wait_until(&word, WAIT_BITSET, 7, Some(&raw(0, 0)), any));
    record("realtime, past", zero, &|| {
        wait_until(&word, WAIT_BITSET | realtime, 7, Some(&at(libc::CLOCK_MONOTONIC, zero)), any)
    });
    record("past, and changed", zero, &|| wait_until(&word, WAIT_BITSET, 6, Some(&raw(1, 0)), any));
    let times = [(0, 1_000_000_000), (0, -1), (-1, 0), (1, i64::MAX), (i64::MIN, 0)];
    for time in times {
        let time = raw(time.0, time.1);
        record("invalid, relative", zero, &|| wait_until(&word, WAIT, 7, Some(&time), 0));
        record("invalid, absolute", zero, &|| wait_until(&word, WAIT_BITSET, 7, Some(&time), any));
        record("invalid, realtime", zero, &|| wait_until(&word, WAIT_BITSET | realtime, 7, Some(&time), any));
        record("invalid, and changed", zero, &|| wait_until(&word, WAIT, 6, Some(&time), 0));
    }
    record("no bits", zero, &|| wait_until(&word, WAIT_BITSET, 7, None, 0));
    record("no bits, and changed", zero, &|| wait_until(&word, WAIT_BITSET, 6, None, 0));
    record("not aligned", zero, &|| call_at(word.as_ptr() as usize + 2, WAIT, 7, 0, &word, 0));
    record("null", zero, &|| call_at(0, WAIT, 7, 0, &word, 0));
    record("no such operation", zero, &|| call(&word, 99, 7, 0, &word, 0));
    results
}

#[test]
fn futex_wait_returns_the_kernels_errors_and_timeouts() {
    patch::all();
    let kernel = Thread::new(wait_results).start().unwrap().join().unwrap();
    assert_eq!(spawn(wait_results).join().unwrap(), kernel, "on a green thread");
    assert_eq!(wait_results(), kernel, "on the root");
    let result =
        |what| kernel.iter().find(|(name, ..)| *name == what).map(|(_, result, long)| (*result, *long));
    for what in ["relative", "monotonic", "realtime"] {
        assert_eq!(result(what), Some((Err(libc::ETIMEDOUT), true)), "{what}");
    }
    assert_eq!(result("changed").unwrap().0, Err(libc::EAGAIN));
    assert_eq!(result("invalid, relative").unwrap().0, Err(libc::EINVAL));
    assert_eq!(result("no bits").unwrap().0, Err(libc::EINVAL));
}

#[test]
fn futex_wait_with_a_timeout_lets_other_green_threads_run() {
    patch::all();
    let start = Instant::now();
    let waits = (0..20).map(|n| {
        spawn(move || {
            let word = AtomicU32::new(0);
            let operation = if n % 2 == 0 { WAIT } else { libc::FUTEX_WAIT };
            wait_until(&word, operation, 0, Some(&timespec(ms(100))), 0)
        })
    });
    for result in join_all(waits) {
        assert_eq!(result.unwrap(), Err(libc::ETIMEDOUT));
    }
    let took = start.elapsed();
    assert!(took >= ms(100) && took < ms(1500), "{took:?}");
}

#[test]
fn futex_wait_when_killed_returns_early_once() {
    patch::all();
    for operation in [WAIT, WAIT_BITSET] {
        let (word, returns) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicUsize::new(0)));
        let (inside, count) = (word.clone(), returns.clone());
        let waiter = spawn(move || {
            for _ in 0..3 {
                assert_eq!(wait_until(&inside, operation, 0, None, u32::MAX), Ok(0));
                count.fetch_add(1, SeqCst);
            }
            yield_now();
            unreachable!("the kill is delivered");
        });
        until(|| waiting(&word) == 1);
        waiter.kill();
        // One wait ends early. The next one waits until it is woken.
        until(|| returns.load(SeqCst) == 1 && waiting(&word) == 1);
        yield_100_times();
        assert_eq!((returns.load(SeqCst), waiting(&word)), (1, 1));
        for n in 2..=3 {
            assert_eq!(wake(&word, 1), Ok(1));
            until(|| returns.load(SeqCst) == n);
        }
        assert!(matches!(waiter.join(), Err(JoinError::Killed)));
    }
    // A `timeout` that expires ends one wait, too.
    let word = AtomicU32::new(0);
    let result = std::cell::Cell::new(None);
    let limited = timeout(ms(5), || {
        result.set(Some(wait(&word, 0)));
        yield_now();
    });
    assert!(limited.is_err());
    assert_eq!(result.get(), Some(Ok(0)));
    assert_eq!(waiting(&word), 0);
}

/// A waiter whose deadline has passed stays in the table until it runs. If a wakeup is spent on it meanwhile, its wait
/// returns 0.
#[test]
fn futex_wake_at_the_deadline_of_a_wait_counts_as_its_wakeup() {
    patch::all();
    static WORD: AtomicU32 = AtomicU32::new(0);
    for _ in 0..100 {
        let waker = spawn(|| {
            sleep(ms(1));
            wake(&WORD, 1)
        });
        let waiter = spawn(|| wait_until(&WORD, WAIT, 0, Some(&timespec(ms(2))), 0));
        yield_now();
        let start = Instant::now();
        // Both timers have expired when the hub looks next. The waker runs first.
        while start.elapsed() < ms(5) {
            std::hint::spin_loop();
        }
        let (woken, result) = (waker.join().unwrap(), waiter.join().unwrap());
        assert_eq!(result, if woken == Ok(1) { Ok(0) } else { Err(libc::ETIMEDOUT) });
        if woken == Ok(1) {
            return;
        }
    }
    panic!("the waiter was never in the table when the waker came");
}
