//! `park` and `unpark`.

use crate::support::threads::ms;
use greenline::thread::Thread;
use greenline::{patch, yield_now};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn unpark_before_park_is_kept_and_two_count_as_one() {
    patch::all();
    let (tx, rx) = mpsc::channel::<()>();
    let one = thread::spawn(move || {
        assert!(rx.recv().is_err());
        thread::park();
        let start = Instant::now();
        thread::park_timeout(ms(20));
        start.elapsed()
    });
    one.thread().unpark();
    one.thread().unpark();
    drop(tx);
    assert!(one.join().unwrap() >= ms(20));

    thread::current().unpark();
    thread::park();
}

#[test]
fn park_returns_on_unpark_by_green_thread_os_thread_or_other_hub() {
    patch::all();
    let go = Arc::new(AtomicBool::new(false));
    let parked = || {
        let go = go.clone();
        thread::spawn(move || {
            while !go.load(SeqCst) {
                thread::park();
            }
        })
    };
    let (by_green, by_os_thread, by_hub) = (parked(), parked(), parked());
    (0..10).for_each(|_| thread::yield_now());
    assert!(!by_green.is_finished());
    go.store(true, SeqCst);
    let target = by_green.thread().clone();
    thread::spawn(move || target.unpark()).join().unwrap();
    by_green.join().unwrap();
    let target = by_os_thread.thread().clone();
    Thread::new(move || target.unpark()).start().unwrap();
    by_os_thread.join().unwrap();
    let target = by_hub.thread().clone();
    let other = Thread::new(move || {
        patch::all();
        thread::spawn(move || target.unpark()).join().unwrap();
    });
    other.start().unwrap();
    by_hub.join().unwrap();
    // An unpark ends a `park_timeout` early.
    let sleeper = thread::spawn(|| thread::park_timeout(Duration::from_secs(3600)));
    yield_now();
    sleeper.thread().unpark();
    sleeper.join().unwrap();
}

#[test]
fn park_on_the_root_returns_on_unpark() {
    patch::all();
    let root = thread::current();
    let seen = Arc::new(AtomicBool::new(false));
    let inside = seen.clone();
    let one = thread::spawn(move || {
        thread::sleep(ms(1));
        inside.store(true, SeqCst);
        root.unpark();
    });
    while !seen.load(SeqCst) {
        thread::park();
    }
    one.join().unwrap();
}
