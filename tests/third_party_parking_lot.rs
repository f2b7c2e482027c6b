//! parking_lot, unchanged, under the patch: its locks under contention, with sleeps while they are held, among
//! green threads of one hub, between two, and with OS threads.

#![cfg(feature = "patch")]

use greenline::{patch, thread::Thread};
use parking_lot::{Condvar, FairMutex, Mutex, Once, OnceState, ReentrantMutex, RwLock};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs `body(0)` to `body(n - 1)` to their ends: four times, with all of them green threads here; with every
/// second one on another hub; with every second one an OS thread; and with every one of these.
fn everywhere<B>(n: usize, body: impl Fn() -> B)
where
    B: Fn(usize) + Send + Sync + 'static,
{
    patch::all();
    for (hubs, real) in [(false, false), (true, false), (false, true), (true, true)] {
        let body = Arc::new(body());
        let places: Vec<Vec<usize>> =
            (0..3).map(|place| (0..n).filter(|who| who % 3 == place).collect()).collect();
        let green = {
            let body = body.clone();
            move |which: &[usize]| -> Vec<thread::JoinHandle<()>> {
                let start = |&who: &usize| {
                    let body = body.clone();
                    thread::spawn(move || body(who))
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
            os_threads.extend(places[2].iter().map(|&who| {
                let body = body.clone();
                Thread::new(move || body(who)).start().unwrap()
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
fn mutex() {
    everywhere(6, || {
        let (mutex, fair) = (Mutex::new(0), FairMutex::new(0));
        let done = AtomicUsize::new(0);
        move |who| {
            for round in 0..100 {
                let mut count = mutex.lock();
                let read = *count;
                sometimes_sleep(round + who);
                *count = read + 1;
                drop(count);
                let mut count = fair.lock();
                let read = *count;
                sometimes_sleep(round + who + 4);
                *count = read + 1;
            }
            if done.fetch_add(1, SeqCst) == 5 {
                assert_eq!((*mutex.lock(), *fair.lock()), (600, 600));
            }
        }
    });
}

#[test]
fn a_mutex_that_is_held_can_be_waited_for_for_a_time() {
    everywhere(2, || {
        let (mutex, held, done) = (Mutex::new(()), AtomicBool::new(false), AtomicBool::new(false));
        move |who| {
            if who == 0 {
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
fn a_mutex_is_not_poisoned() {
    everywhere(4, || {
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
fn rwlock() {
    everywhere(8, || {
        let lock = RwLock::new((0, 0));
        let done = AtomicUsize::new(0);
        move |who| {
            for round in 0..60 {
                if who < 2 {
                    let mut pair = lock.write();
                    pair.0 += 1;
                    sometimes_sleep(round);
                    pair.1 += 1;
                } else if who == 2 {
                    // Read first, and then turned into a writer.
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
                    sometimes_sleep(round + who);
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
fn condvar() {
    everywhere(6, || {
        let (turn, changed) = (Mutex::new(0), Condvar::new());
        move |who| {
            for round in 0..40 {
                let mut turn = turn.lock();
                changed.wait_while(&mut turn, |turn| *turn != round * 6 + who);
                *turn += 1;
                sometimes_sleep(round + who);
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
fn notify_one_hands_out_each_of_what_was_put() {
    everywhere(6, || {
        let (store, put) = (Mutex::new(0), Condvar::new());
        move |who| {
            for round in 0..100 {
                if who % 2 == 0 {
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
fn once() {
    everywhere(6, || {
        let (once, poisoned) = (Once::new(), Once::new());
        let (runs, tries) = (AtomicUsize::new(0), AtomicUsize::new(0));
        move |_| {
            once.call_once(|| {
                thread::sleep(ms(3));
                runs.fetch_add(1, SeqCst);
            });
            assert_eq!(runs.load(SeqCst), 1);
            // The first one's unwinds; another's, by force, does it.
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
fn a_reentrant_mutex_knows_the_green_thread_that_has_it() {
    everywhere(6, || {
        let mutex = ReentrantMutex::new(Cell::new(0));
        let done = AtomicUsize::new(0);
        move |who| {
            for round in 0..60 {
                let outer = mutex.lock();
                let read = outer.get();
                sometimes_sleep(round + who);
                let inner = mutex.lock();
                sometimes_sleep(round + who + 4);
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
