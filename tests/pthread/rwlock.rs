//! `pthread_rwlock_*`.

use crate::c::*;
use crate::support::threads::*;
use greenline::patch;
use libc::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

#[test]
fn pthread_rwlock_calls_of_one_thread_return_what_c_returns() {
    patch::all();
    assert_same_on_all_kinds(|| {
        let mut results = Vec::new();
        let mut record = |what, result| results.push((what, result));
        let lock = &*rwlock();
        record("read", read(lock));
        record("read again", try_read(lock));
        record("timed read again", timed_read(lock, &far(REALTIME)));
        record("try write", try_write(lock));
        record("write, past", timed_write(lock, &PAST));
        record("write, soon", timed_write(lock, &at(REALTIME, ms(10))));
        record("write, soon, monotonic", clock_write(lock, MONOTONIC, &at(MONOTONIC, ms(10))));
        record("write, invalid time", timed_write(lock, &INVALID));
        record("write, negative time", timed_write(lock, &NEGATIVE));
        record("write, no such clock", clock_write(lock, 99, &PAST));
        (0..3).for_each(|_| record("unlock", unlock_rw(lock)));
        for how in [write, try_write] {
            record("write", how(lock));
            record("try write by the writer", try_write(lock));
            record("try read by the writer", try_read(lock));
            record("read by the writer", read(lock));
            record("write by the writer", write(lock));
            record("timed read by the writer", timed_read(lock, &at(REALTIME, ms(10))));
            record("clock write by the writer", clock_write(lock, MONOTONIC, &at(MONOTONIC, ms(10))));
            record("unlock", unlock_rw(lock));
        }
        record("read of a free lock, negative time", timed_read(lock, &NEGATIVE));
        record("unlock", unlock_rw(lock));
        record("write of a free lock, past time", clock_write(lock, REALTIME, &PAST));
        record("unlock", unlock_rw(lock));
        record("read of a free lock, no such clock", clock_read(lock, 99, &PAST));
        record("read of a free lock, invalid time", clock_read(lock, MONOTONIC, &INVALID));
        record("write of a free lock", try_write(lock));
        record("unlock", unlock_rw(lock));
        record("destroy", destroy_rw(lock));
        results
    });
}

#[test]
fn pthread_rwlock_rdlock_admits_many_and_wrlock_one() {
    patch::all();
    let lock = rwlock();
    // Readers of both kinds hold the lock at once.
    let (met, leave) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = (0..6)
        .map(|n| {
            let (lock, met, leave) = (lock.clone(), met.clone(), leave.clone());
            start(Kind::os_if(n % 2 == 0), move || {
                assert_eq!(read(&lock), 0);
                met.fetch_add(1, SeqCst);
                until(|| leave.load(SeqCst));
                assert_eq!(unlock_rw(&lock), 0);
            })
        })
        .collect();
    until(|| met.load(SeqCst) == 6);
    assert_eq!(timed_write(&lock, &at(REALTIME, ms(10))), libc::ETIMEDOUT);
    let written = Arc::new(AtomicU32::new(0));
    let writers: Vec<_> = KINDS
        .map(|kind| {
            let (lock, met, written) = (lock.clone(), met.clone(), written.clone());
            start(kind, move || {
                assert_eq!(write(&lock), 0);
                assert_eq!(met.load(SeqCst), 6);
                assert_eq!(written.fetch_add(1, SeqCst) % 2, 0);
                std::thread::sleep(ms(5));
                written.fetch_add(1, SeqCst);
                assert_eq!(unlock_rw(&lock), 0);
            })
        })
        .into();
    yield_100_times();
    assert_eq!(written.load(SeqCst), 0);
    leave.store(true, SeqCst);
    join_each(readers.into_iter().chain(writers));
    assert_eq!(written.load(SeqCst), 4);
    assert_eq!((try_write(&lock), unlock_rw(&lock)), (0, 0));
}

#[test]
fn pthread_rwlock_timedwrlock_timeout_readmits_readers() {
    patch::all();
    const PREFER_WRITER_NONRECURSIVE: c_int = 2;
    let lock = RwLock::zeroed();
    // SAFETY: `init_with` has initialised the attributes.
    let set = |attr| unsafe { ffi::pthread_rwlockattr_setkind_np(attr, PREFER_WRITER_NONRECURSIVE) };
    init_with(&lock, libc::pthread_rwlock_init, RWLOCK_ATTR, set);
    assert_eq!(read(&lock), 0);
    let inside = lock.clone();
    let writer = start(Os, move || {
        assert_eq!(timed_write(&inside, &at(REALTIME, ms(200))), libc::ETIMEDOUT);
    });
    // Bit 1 says that a writer waits.
    // SAFETY: this is the first word of a rwlock, which all change atomically.
    until(|| unsafe { (*lock.get().cast::<AtomicU32>()).load(SeqCst) & 2 != 0 });
    let (inside, got) = (lock.clone(), Arc::new(AtomicBool::new(false)));
    let has_read = got.clone();
    let reader = start(Green, move || {
        assert_eq!(read(&inside), 0);
        has_read.store(true, SeqCst);
        assert_eq!(unlock_rw(&inside), 0);
    });
    writer();
    until(|| got.load(SeqCst)); // while the root still holds the lock as a reader
    reader();
    assert_eq!((unlock_rw(&lock), destroy_rw(&lock)), (0, 0));
}

#[test]
fn pthread_rwlock_wrlock_under_contention_loses_no_update() {
    patch::all();
    let (lock, pair) = (rwlock(), Shared::new((0u64, 0u64)));
    let side = |writes: bool| {
        let (lock, pair) = (lock.clone(), pair.clone());
        move || {
            for round in 0..200 {
                let far = at(if round % 2 == 0 { MONOTONIC } else { REALTIME }, LONG);
                // SAFETY: this thread holds the lock when it uses the pair.
                unsafe {
                    if writes {
                        let had = match round % 4 {
                            0 => clock_write(&lock, MONOTONIC, &far),
                            1 => timed_write(&lock, &far),
                            2 if try_write(&lock) == 0 => 0,
                            _ => write(&lock),
                        };
                        assert_eq!(had, 0);
                        (*pair.get()).0 += 1;
                        if round % 4 == 0 {
                            std::thread::yield_now();
                        }
                        (*pair.get()).1 += 1;
                    } else {
                        let had = match round % 4 {
                            0 => clock_read(&lock, MONOTONIC, &far),
                            1 => timed_read(&lock, &far),
                            2 if try_read(&lock) == 0 => 0,
                            _ => read(&lock),
                        };
                        assert_eq!(had, 0);
                        let (one, other) = *pair.get();
                        assert_eq!(one, other);
                        if round % 4 == 0 {
                            std::thread::yield_now();
                        }
                    }
                }
                assert_eq!(unlock_rw(&lock), 0);
                std::thread::yield_now();
            }
        }
    };
    let mut joins = vec![start_hub([side(false), side(true)])];
    for kind in KINDS {
        joins.extend([false, true, false].map(|writes| start(kind, side(writes))));
    }
    join_each(joins);
    // SAFETY: all threads have ended.
    assert_eq!(unsafe { *pair.get() }, (600, 600));
}
