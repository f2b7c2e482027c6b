//! parking_lot, unmodified, under the patch: its locks under contention, with sleeps while they are held, among green
//! threads of one hub, between two hubs, and with OS threads.

#![cfg(feature = "patch")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use greenline::{patch, thread::Thread};
use parking_lot::{Condvar, FairMutex, Mutex, Once, OnceState, ReentrantMutex, RwLock};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::time::ms;

/// Runs `body(0)` to `body(n - 1)` to their ends, in a thread each, four times: as green threads of this hub; with a third
/// of them on another hub; with a third of them as OS threads; and with both.
fn in_each_placement<B>(n: usize, body: impl Fn() -> B)
where
    B: Fn(usize) + Send + Sync + 'static,
{
    patch::all();
    for (hubs, real) in [(false, false), (true, false), (false, true), (true, true)] {
        let body = Arc::new(body());
        let places: Vec<Vec<usize>> =
            (0..3).map(|place| (0..n).filter(|number| number % 3 == place).collect()).collect();
        let green = {
            let body = body.clone();
            move |which: &[usize]| -> Vec<thread::JoinHandle<()>> {
                let start = |&number: &usize| {
                    let body = body.clone();
                    thread::spawn(move || body(number))
                };
                which.iter().map(start).collect()
            }
        };
        let mut os_threads = Vec::new();
        let mut here = green(&places[0]);
        if hubs {
            let (green, which) = (green.clone(), places[1].clone());
            let hub = Thread::new(move || {
                patch::all();
                green(&which).into_iter().for_each(|one| one.join().unwrap());
            });
            os_threads.push(hub.start().unwrap());
        } else {
            here.extend(green(&places[1]));
        }
        if real {
            os_threads.extend(places[2].iter().map(|&number| {
                let body = body.clone();
                Thread::new(move || body(number)).start().unwrap()
            }));
        } else {
            here.extend(green(&places[2]));
        }
        here.into_iter().for_each(|one| one.join().unwrap());
        os_threads.into_iter().for_each(|one| one.join().unwrap());
    }
}

fn sometimes_sleep(round: usize) {
    match round % 8 {
        0 => thread::sleep(Duration::from_micros(200)),
        1 | 2 => thread::yield_now(),
        _ => {}
    }
}

#[test]
fn parking_lot_mutex_and_fair_mutex_lose_no_update() {
    in_each_placement(6, || {
        let (mutex, fair) = (Mutex::new(0), FairMutex::new(0));
        let done = AtomicUsize::new(0);
        move |number| {
            for round in 0..100 {
                let mut count = mutex.lock();
                let read = *count;
                sometimes_sleep(round + number);
                *count = read + 1;
                drop(count);
                let mut count = fair.lock();
                let read = *count;
                sometimes_sleep(round + number + 4);
                *count = read + 1;
            }
            if done.fetch_add(1, SeqCst) == 5 {
                assert_eq!((*mutex.lock(), *fair.lock()), (600, 600));
            }
        }
    });
}

#[test]
fn parking_lot_try_lock_for_waits_until_its_timeout() {
    in_each_placement(2, || {
        let (mutex, held, done) = (Mutex::new(()), AtomicBool::new(false), AtomicBool::new(false));
        move |number| {
            if number == 0 {
                let guard = mutex.lock();
                held.store(true, SeqCst);
                while !done.load(SeqCst) {
                    thread::yield_now();
                }
                drop(guard);
            } else {
                while !held.load(SeqCst) {
                    thread::yield_now();
                }
                assert!(mutex.try_lock().is_none());
                let start = Instant::now();
                assert!(mutex.try_lock_for(ms(10)).is_none());
                assert!(start.elapsed() >= ms(10));
                done.store(true, SeqCst);
                assert!(mutex.try_lock_for(Duration::from_secs(3600)).is_some());
            }
        }
    });
}

#[test]
fn parking_lot_mutex_is_not_poisoned_by_a_panic() {
    in_each_placement(4, || {
        let mutex = Mutex::new(0);
        move |_| {
            let panics = catch_unwind(AssertUnwindSafe(|| {
                let mut guard = mutex.lock();
                *guard += 1;
                thread::sleep(ms(1));
                std::panic::resume_unwind(Box::new(*guard));
            }));
            let payload: Box<dyn std::any::Any + Send> = panics.map(|(): ()| ()).unwrap_err();
            assert!((1..=4).contains(payload.downcast_ref::<i32>().unwrap()));
            assert!(*mutex.lock() >= 1);
        }
    });
}

#[test]
fn parking_lot_rwlock_upgrade_and_downgrade_lose_no_update() {
    in_each_placement(8, || {
        let lock = RwLock::new((0, 0));
        let done = AtomicUsize::new(0);
        move |number| {
            for round in 0..60 {
                if number < 2 {
                    let mut pair = lock.write();
                    pair.0 += 1;
                    sometimes_sleep(round);
                    pair.1 += 1;
                } else if number == 2 {
                    // The reader is upgraded to a writer, and downgraded again.
                    let read = lock.upgradable_read();
                    let first = read.0;
                    sometimes_sleep(round);
                    let mut pair = parking_lot::RwLockUpgradableReadGuard::upgrade(read);
                    assert_eq!(pair.0, first);
                    pair.0 += 1;
                    thread::yield_now();
                    pair.1 += 1;
                    let read = parking_lot::RwLockWriteGuard::downgrade(pair);
                    assert_eq!(*read, (first + 1, first + 1));
                } else {
                    let pair = lock.read();
                    let first = pair.0;
                    sometimes_sleep(round + number);
                    assert_eq!(*pair, (first, first));
                }
            }
            if done.fetch_add(1, SeqCst) == 7 {
                assert_eq!(*lock.read(), (180, 180));
            }
        }
    });
}

#[test]
fn parking_lot_condvar_wait_while_and_wait_for_keep_turns_and_timeouts() {
    in_each_placement(6, || {
        let (turn, changed) = (Mutex::new(0), Condvar::new());
        move |number| {
            for round in 0..40 {
                let mut turn = turn.lock();
                changed.wait_while(&mut turn, |turn| *turn != round * 6 + number);
                *turn += 1;
                sometimes_sleep(round + number);
                drop(turn);
                changed.notify_all();
            }
            let (mutex, nobody) = (Mutex::new(()), Condvar::new());
            let mut guard = mutex.lock();
            assert!(nobody.wait_for(&mut guard, ms(5)).timed_out());
            assert!(mutex.is_locked());
            assert!(!nobody.notify_one());
        }
    });
}

#[test]
fn parking_lot_notify_one_wakes_a_taker_for_each_item() {
    in_each_placement(6, || {
        let (store, put) = (Mutex::new(0), Condvar::new());
        move |number| {
            for round in 0..100 {
                if number % 2 == 0 {
                    *store.lock() += 1;
                    put.notify_one();
                    sometimes_sleep(round);
                } else {
                    let mut store = store.lock();
                    while *store == 0 {
                        put.wait(&mut store);
                    }
                    *store -= 1;
                }
            }
        }
    });
}

#[test]
fn parking_lot_once_runs_once_and_again_after_a_panic() {
    in_each_placement(6, || {
        let (once, poisoned) = (Once::new(), Once::new());
        let (runs, tries) = (AtomicUsize::new(0), AtomicUsize::new(0));
        move |_| {
            once.call_once(|| {
                thread::sleep(ms(3));
                runs.fetch_add(1, SeqCst);
            });
            assert_eq!(runs.load(SeqCst), 1);
            // The first initialiser unwinds. Another thread's runs, because it is forced.
            let ended = catch_unwind(AssertUnwindSafe(|| {
                poisoned.call_once_force(|_| {
                    thread::sleep(ms(1));
                    if tries.fetch_add(1, SeqCst) == 0 {
                        std::panic::resume_unwind(Box::new(()));
                    }
                });
            }));
            if ended.is_err() {
                poisoned.call_once_force(|_| ());
            }
            assert_eq!(poisoned.state(), OnceState::Done);
            assert!(tries.load(SeqCst) <= 2);
        }
    });
}

#[test]
fn parking_lot_reentrant_mutex_owner_is_the_green_thread() {
    in_each_placement(6, || {
        let mutex = ReentrantMutex::new(Cell::new(0));
        let done = AtomicUsize::new(0);
        move |number| {
            for round in 0..60 {
                let outer = mutex.lock();
                let read = outer.get();
                sometimes_sleep(round + number);
                let inner = mutex.lock();
                sometimes_sleep(round + number + 4);
                inner.set(read + 1);
                drop(inner);
                thread::yield_now();
                assert_eq!(outer.get(), read + 1);
                assert!(mutex.is_owned_by_current_thread());
            }
            if done.fetch_add(1, SeqCst) == 5 {
                assert_eq!(mutex.lock().get(), 360);
            }
        }
    });
}
