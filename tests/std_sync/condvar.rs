//! `Condvar`.

use crate::placement::*;
use crate::support::threads::{ms, until};
use greenline::patch;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn condvar_wait_while_and_notify_all_pass_a_turn_around() {
    in_each_placement(|placement| {
        const N: usize = 4;
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let end = shared.clone();
        placement.run(N, move |number| {
            let (turn, changed) = &*shared;
            for round in 0..50 {
                let mine = |turn: &mut usize| *turn != round * N + number;
                let mut turn = changed.wait_while(turn.lock().unwrap(), mine).unwrap();
                *turn += 1;
                drop(turn);
                changed.notify_all();
            }
        });
        assert_eq!(*end.0.lock().unwrap(), 50 * N, "{placement:?}");
    });
}

#[test]
fn condvar_notify_one_wakes_a_taker_for_each_item() {
    in_each_placement(|placement| {
        let shared = Arc::new((Mutex::new((0, 0)), Condvar::new()));
        placement.run(6, move |number| {
            let (store, put) = &*shared;
            if number < 2 {
                for _ in 0..200 {
                    store.lock().unwrap().0 += 1;
                    put.notify_one();
                    if number == 0 {
                        thread::yield_now();
                    }
                }
            } else {
                // Four threads take 100 items each.
                for _ in 0..100 {
                    let mut store = store.lock().unwrap();
                    while store.0 == 0 {
                        store = put.wait(store).unwrap();
                    }
                    store.0 -= 1;
                    store.1 += 1;
                }
            }
        });
    });
}

#[test]
fn condvar_wait_timeout_returns_whether_it_timed_out() {
    in_each_placement(|placement| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let (done, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        placement.run(3, move |number| {
            let (flag, changed) = &*shared;
            match number {
                0 => {
                    // No thread notifies. The wait times out, and returns with the mutex.
                    let start = Instant::now();
                    let guard = flag.lock().unwrap();
                    let (guard, result) = changed.wait_timeout_while(guard, ms(30), |flag| !*flag).unwrap();
                    assert!(result.timed_out(), "{placement:?}");
                    assert!(start.elapsed() >= ms(30), "{placement:?}");
                    assert!(matches!(flag.try_lock(), Err(TryLockError::WouldBlock)));
                    drop(guard);
                    // Then thread 1 notifies.
                    let mut guard = flag.lock().unwrap();
                    waits.store(true, SeqCst);
                    while !*guard {
                        let (again, result) = changed.wait_timeout(guard, Duration::from_secs(3600)).unwrap();
                        assert!(!result.timed_out(), "{placement:?}");
                        guard = again;
                    }
                    done.store(true, SeqCst);
                }
                1 => {
                    until(|| waits.load(SeqCst));
                    *flag.lock().unwrap() = true;
                    changed.notify_all();
                }
                _ => {
                    // Much shorter waits beside it.
                    let (mine, never) = (Mutex::new(()), Condvar::new());
                    while !done.load(SeqCst) {
                        drop(never.wait_timeout(mine.lock().unwrap(), ms(1)).unwrap());
                    }
                }
            }
        });
    });
}

#[test]
fn condvar_notify_one_is_not_lost_on_a_waiter_that_timed_out() {
    in_each_placement(|placement| {
        const EACH: usize = 1000;
        let (store, put) = (Mutex::new(0), Condvar::new());
        placement.run(8, move |number| {
            let mut random = number as u64;
            match number / 2 {
                0 => (0..2 * EACH).for_each(|n| {
                    *store.lock().unwrap() += 1;
                    put.notify_one();
                    match n % 97 {
                        0 => thread::sleep(Duration::from_micros(50)),
                        _ if n % 5 == 0 => thread::yield_now(),
                        _ => {}
                    }
                }),
                1 => (0..EACH).for_each(|_| {
                    *put.wait_while(store.lock().unwrap(), |store| *store == 0).unwrap() -= 1;
                }),
                _ => {
                    // These time out again and again. The one that finds more items notifies the next.
                    let mut got = 0;
                    while got < EACH / 2 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let soon = Duration::from_micros(random >> 56);
                        let (mut store, _) = put.wait_timeout(store.lock().unwrap(), soon).unwrap();
                        if *store > 0 {
                            *store -= 1;
                            got += 1;
                        }
                        if *store > 0 {
                            put.notify_one();
                        }
                    }
                }
            }
        });
    });
}

#[test]
fn condvar_wait_timeout_of_duration_max_never_times_out() {
    patch::all();
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let inside = shared.clone();
    let (tx, rx) = mpsc::channel::<()>();
    let waits = thread::spawn(move || {
        let go = inside.0.lock().unwrap();
        inside.1.wait_timeout_while(go, Duration::MAX, |go| !*go).unwrap().1.timed_out()
    });
    let receives = thread::spawn(move || rx.recv_timeout(Duration::MAX));
    let parks = thread::spawn(|| thread::park_timeout(Duration::MAX));
    let sleeps = thread::spawn(|| thread::sleep(Duration::from_secs(u64::MAX)));
    thread::sleep(ms(5));
    assert!(!waits.is_finished() && !receives.is_finished() && !parks.is_finished());
    *shared.0.lock().unwrap() = true;
    shared.1.notify_all();
    drop(tx);
    parks.thread().unpark();
    assert!(!waits.join().unwrap());
    assert_eq!(receives.join().unwrap(), Err(RecvTimeoutError::Disconnected));
    parks.join().unwrap();
    assert!(!sleeps.is_finished());
}
