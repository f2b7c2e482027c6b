//! `pthread_mutex_*`.

use crate::c::*;
use crate::support::threads::*;
use greenline::thread::Thread;
use greenline::{JoinError, patch, sleep, spawn, trace, yield_now};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Instant;

#[test]
fn pthread_mutex_calls_of_one_thread_return_what_c_returns() {
    patch::all();
    assert_same_on_all_kinds(|| {
        let mut results = Vec::new();
        let kinds =
            [libc::PTHREAD_MUTEX_NORMAL, libc::PTHREAD_MUTEX_RECURSIVE, libc::PTHREAD_MUTEX_ERRORCHECK];
        for kind in kinds {
            let mutex = &*mutex(kind);
            let mut record = |what, result| results.push((what, result));
            record("lock of a free mutex, invalid time", timed_lock(mutex, &INVALID));
            record("unlock", unlock(mutex));
            record("lock of a free mutex, negative time", timed_lock(mutex, &NEGATIVE));
            record("unlock", unlock(mutex));
            if kind != libc::PTHREAD_MUTEX_NORMAL {
                record("unlock without lock", unlock(mutex));
                record("lock", lock(mutex));
                record("lock again", lock(mutex));
                record("unlock", unlock(mutex));
                record("unlock", unlock(mutex));
            }
            record("try", try_lock(mutex));
            record("try again", try_lock(mutex));
            record("past time", timed_lock(mutex, &PAST));
            record("negative time", timed_lock(mutex, &NEGATIVE));
            record("invalid time", timed_lock(mutex, &INVALID));
            record("soon", timed_lock(mutex, &at(REALTIME, ms(10))));
            record("soon, monotonic", clock_lock(mutex, MONOTONIC, &at(MONOTONIC, ms(10))));
            record("soon, realtime", clock_lock(mutex, REALTIME, &at(REALTIME, ms(10))));
            record("no such clock", clock_lock(mutex, 99, &PAST));
            record("unsupported clock", clock_lock(mutex, libc::CLOCK_PROCESS_CPUTIME_ID, &PAST));
            let times = if kind == libc::PTHREAD_MUTEX_RECURSIVE { 9 } else { 1 };
            (0..times).for_each(|_| record("unlock", unlock(mutex)));
            record("lock of a free mutex, no such clock", clock_lock(mutex, 99, &PAST));
            if kind != libc::PTHREAD_MUTEX_NORMAL {
                record("unlock without lock", unlock(mutex));
            }
            record("destroy", destroy_mutex(mutex));
        }
        results
    });
}

#[test]
fn pthread_mutex_lock_makes_the_green_thread_the_owner() {
    patch::all();
    for kind in [libc::PTHREAD_MUTEX_RECURSIVE, libc::PTHREAD_MUTEX_ERRORCHECK, libc::PTHREAD_MUTEX_NORMAL] {
        let mutex = mutex(kind);
        assert_eq!(lock(&mutex), 0);
        // Neither another green thread of this OS thread nor another OS thread is the owner.
        for thread_kind in KINDS {
            let (inside, had) = (mutex.clone(), Arc::new(AtomicU32::new(0)));
            let counts = had.clone();
            let join = start(thread_kind, move || {
                assert_eq!(try_lock(&inside), libc::EBUSY);
                assert_eq!(timed_lock(&inside, &PAST), libc::ETIMEDOUT);
                if kind != libc::PTHREAD_MUTEX_NORMAL {
                    assert_eq!(unlock(&inside), libc::EPERM);
                }
                counts.store(1, SeqCst);
                assert_eq!(lock(&inside), 0);
                counts.store(2, SeqCst);
                // The owner may park while it holds the mutex.
                std::thread::sleep(ms(2));
                if kind == libc::PTHREAD_MUTEX_ERRORCHECK {
                    assert_eq!(lock(&inside), libc::EDEADLK);
                }
                assert_eq!(unlock(&inside), 0);
            });
            until(|| had.load(SeqCst) == 1);
            yield_100_times();
            assert_eq!(had.load(SeqCst), 1, "it went on without the mutex");
            assert_eq!(unlock(&mutex), 0);
            until(|| had.load(SeqCst) == 2);
            assert_eq!(lock(&mutex), 0);
            join();
        }
        assert_eq!(unlock(&mutex), 0);
        assert_eq!(destroy_mutex(&mutex), 0);
    }
}

#[test]
fn pthread_mutex_lock_held_across_a_sleep_excludes_all_others() {
    patch::all();
    let (mutex, inside) = (normal_mutex(), Arc::new(AtomicU32::new(0)));
    let started = Instant::now();
    let joins: Vec<_> = (0..9)
        .map(|n| {
            let (mutex, inside) = (mutex.clone(), inside.clone());
            start(Kind::os_if(n % 3 == 0), move || {
                for _ in 0..4 {
                    assert_eq!(lock(&mutex), 0);
                    assert_eq!(inside.fetch_add(1, SeqCst), 0);
                    std::thread::sleep(ms(1));
                    inside.fetch_sub(1, SeqCst);
                    assert_eq!(unlock(&mutex), 0);
                }
            })
        })
        .collect();
    join_each(joins);
    assert!(started.elapsed() >= ms(36));
}

#[test]
fn pthread_mutex_lock_under_contention_loses_no_update() {
    patch::all();
    for kind in [libc::PTHREAD_MUTEX_NORMAL, libc::PTHREAD_MUTEX_RECURSIVE, 3 /* adaptive */] {
        let (mutex, count) = (mutex(kind), Shared::new(0u64));
        let body = || {
            let (mutex, count) = (mutex.clone(), count.clone());
            move || {
                for round in 0..300 {
                    let had = match round % 3 {
                        0 => lock(&mutex),
                        1 => timed_lock(&mutex, &far(REALTIME)),
                        _ => clock_lock(&mutex, MONOTONIC, &far(MONOTONIC)),
                    };
                    assert_eq!(had, 0);
                    // SAFETY: this thread holds the mutex.
                    unsafe {
                        let before = count.get().read();
                        if round % 8 == 0 {
                            std::thread::yield_now();
                        }
                        count.get().write(before + 1);
                    }
                    assert_eq!(unlock(&mutex), 0);
                }
            }
        };
        let mut joins = vec![start_hub([body(), body()])];
        joins.extend([Os, Os, Green, Green, Green].map(|kind| start(kind, body())));
        join_each(joins);
        // SAFETY: all threads have ended.
        assert_eq!(unsafe { *count.get() }, 7 * 300);
        assert_eq!(destroy_mutex(&mutex), 0);
    }
}

#[test]
fn pthread_mutex_lock_in_an_observer_has_the_green_thread_as_owner() {
    patch::all();
    // An observer cannot park. There the calls go to the C library, with the green thread as the owner.
    let (mutex, recursive, rw) =
        (mutex(libc::PTHREAD_MUTEX_ERRORCHECK), mutex(libc::PTHREAD_MUTEX_RECURSIVE), rwlock());
    let (observed, failures) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (count, failed) = (observed.clone(), failures.clone());
    let locks = (mutex.clone(), recursive.clone(), rw.clone());
    trace::observe(move |event| {
        if !matches!(event, trace::Event::Park(_) | trace::Event::Spawn(_)) {
            return;
        }
        let (mutex, recursive, rw) = &locks;
        let results = [
            [lock(mutex), lock(mutex) - libc::EDEADLK, unlock(mutex)],
            [lock(recursive), unlock(recursive), timed_lock(mutex, &PAST)],
            [unlock(mutex), write(rw), unlock_rw(rw)],
            [read(rw), unlock_rw(rw), try_write(rw)],
            [unlock_rw(rw), timed_write(rw, &PAST), unlock_rw(rw)],
        ];
        count.fetch_add(1, SeqCst);
        failed.fetch_add(results.iter().flatten().filter(|&&result| result != 0).count() as u32, SeqCst);
    });
    spawn(|| {
        for _ in 0..3 {
            std::thread::sleep(ms(1));
            spawn(|| ()).join().unwrap();
        }
    })
    .join()
    .unwrap();
    trace::stop_observing();
    assert!(observed.load(SeqCst) >= 7, "{observed:?}");
    assert_eq!(failures.load(SeqCst), 0);
    assert_eq!((destroy_mutex(&mutex), destroy_mutex(&recursive), try_write(&rw)), (0, 0, 0));
}

/// Uses locks on a hub that cannot open the eventfd by which other OS threads would wake it.
fn locks_without_file_descriptors() {
    patch::all();
    let kinds = [libc::PTHREAD_MUTEX_ERRORCHECK, libc::PTHREAD_MUTEX_RECURSIVE, libc::PTHREAD_MUTEX_NORMAL];
    let (mutexes, rw) = (kinds.map(mutex), rwlock());
    mutexes.iter().for_each(|mutex| assert_eq!(lock(mutex), 0));
    assert_eq!(write(&rw), 0);
    let (theirs, other) = (mutexes.clone(), rw.clone());
    let (cond, stage) = (cond(REALTIME), Arc::new(AtomicU32::new(0)));
    let (their_cond, their_stage) = (cond.clone(), stage.clone());
    let thread = Thread::new(move || {
        spawn(|| sleep(ms(1))).join().unwrap(); // makes the hub and its epoll descriptor
        let limit = libc::rlimit { rlim_cur: 0, rlim_max: 4096 };
        // SAFETY: the limit is read from this frame.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        spawn(move || {
            for mutex in &theirs {
                assert_eq!(lock(mutex), 0); // blocks the OS thread
                assert_eq!(unlock(mutex), 0);
                assert_eq!((try_lock(mutex), unlock(mutex)), (0, 0));
            }
            assert_eq!((write(&other), unlock_rw(&other)), (0, 0));
            assert_eq!((try_write(&other), unlock_rw(&other)), (0, 0));
            // The wait releases the mutex to green threads of other hubs, too.
            assert_eq!(lock(&theirs[0]), 0);
            their_stage.store(1, SeqCst);
            while their_stage.load(SeqCst) == 1 {
                assert_eq!(wait(&their_cond, &theirs[0]), 0);
            }
            assert_eq!(timed_wait(&their_cond, &theirs[0], &at(REALTIME, ms(5))), libc::ETIMEDOUT);
            assert_eq!(unlock(&theirs[0]), 0);
        })
        .join()
        .unwrap();
    });
    let thread = thread.start().unwrap();
    for mutex in &mutexes {
        // The value 2 says that a thread waits in the kernel.
        // SAFETY: this is the first word of a mutex, which all change atomically.
        until(|| unsafe { (*mutex.get().cast::<AtomicU32>()).load(SeqCst) == 2 });
        assert_eq!(unlock(mutex), 0);
    }
    yield_100_times();
    assert_eq!(unlock_rw(&rw), 0);
    until(|| stage.load(SeqCst) == 1);
    assert_eq!(lock(&mutexes[0]), 0);
    stage.store(2, SeqCst);
    assert_eq!(signal(&cond), 0);
    assert_eq!(unlock(&mutexes[0]), 0);
    thread.join().unwrap();
}

#[test]
fn pthread_mutex_lock_without_file_descriptors_blocks_the_os_thread() {
    // In a process of its own, because the limit is the whole process's.
    const CHILD: &str = "GREENLINE_TEST_WITHOUT_DESCRIPTORS";
    const NAME: &str = "mutex::pthread_mutex_lock_without_file_descriptors_blocks_the_os_thread";
    if std::env::var_os(CHILD).is_some() {
        return locks_without_file_descriptors();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", NAME]).env(CHILD, "").output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains(" 1 passed"), "{stdout}");
}

#[test]
fn pthread_mutex_lock_and_rwlock_rdlock_when_killed_still_get_the_lock() {
    patch::all();
    let (mutex, rw, got) = (normal_mutex(), rwlock(), Arc::new(AtomicU32::new(0)));
    assert_eq!((lock(&mutex), write(&rw)), (0, 0));
    let (their_mutex, their_rw, stage) = (mutex.clone(), rw.clone(), got.clone());
    let green = spawn(move || {
        assert_eq!(lock(&their_mutex), 0);
        assert_eq!(unlock(&their_mutex), 0);
        stage.store(1, SeqCst);
        assert_eq!(read(&their_rw), 0);
        assert_eq!(unlock_rw(&their_rw), 0);
        stage.store(2, SeqCst);
        yield_now();
        unreachable!("the kill is delivered");
    });
    yield_now();
    green.kill();
    yield_100_times();
    assert_eq!(got.load(SeqCst), 0);
    assert_eq!(unlock(&mutex), 0);
    until(|| got.load(SeqCst) == 1);
    yield_100_times();
    assert_eq!(got.load(SeqCst), 1);
    assert_eq!(unlock_rw(&rw), 0);
    assert!(matches!(green.join(), Err(JoinError::Killed)));
    assert_eq!(got.load(SeqCst), 2);
}
