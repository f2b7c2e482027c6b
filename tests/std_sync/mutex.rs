//! `Mutex`.

use crate::placement::*;
use crate::support::threads::until;
use greenline::patch;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread;
use std::time::Duration;

#[test]
fn mutex_lock_held_across_a_sleep_excludes_all_others() {
    in_each_placement(|placement| {
        let (mutex, inside) = (Arc::new(Mutex::new(0)), Arc::new(AtomicU32::new(0)));
        let total = mutex.clone();
        placement.run(6, move |number| {
            for round in 0..100 {
                let mut count = mutex.lock().unwrap();
                assert_eq!(inside.fetch_add(1, SeqCst), 0, "{placement:?}");
                let read = *count;
                match (round + number) % 10 {
                    0 => thread::sleep(Duration::from_micros(200)),
                    1 | 2 => thread::yield_now(),
                    _ => {}
                }
                *count = read + 1;
                inside.fetch_sub(1, SeqCst);
            }
        });
        assert_eq!(*total.lock().unwrap(), 600, "{placement:?}");
    });
}

#[test]
fn mutex_try_lock_of_a_held_mutex_would_block() {
    in_each_placement(|placement| {
        let mutex = Arc::new(Mutex::new(()));
        let (held, tried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        placement.run(2, move |number| {
            if number == 0 {
                let guard = mutex.lock().unwrap();
                held.store(true, SeqCst);
                until(|| tried.load(SeqCst));
                drop(guard);
            } else {
                until(|| held.load(SeqCst));
                assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)), "{placement:?}");
                tried.store(true, SeqCst);
                drop(mutex.lock().unwrap());
                assert!(mutex.try_lock().is_ok());
            }
        });
    });
}

#[test]
fn mutex_lock_that_waits_lets_other_green_threads_run() {
    patch::all();
    let mutex = Arc::new(Mutex::new(0));
    let mut guard = mutex.lock().unwrap();
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let mutex = mutex.clone();
            thread::spawn(move || *mutex.lock().unwrap() += 1)
        })
        .collect();
    let ran = Arc::new(AtomicBool::new(false));
    let inside = ran.clone();
    thread::spawn(move || inside.store(true, SeqCst)).join().unwrap();
    assert!(ran.load(SeqCst));
    assert!(waiters.iter().all(|one| !one.is_finished()));
    *guard += 1;
    drop(guard);
    waiters.into_iter().for_each(|one| one.join().unwrap());
    assert_eq!(*mutex.lock().unwrap(), 11);
}
