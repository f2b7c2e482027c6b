//! `scope`.

use crate::support::threads::ms;
use greenline::{JoinError, patch, yield_now};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::{self, Builder};

#[test]
fn scope_lends_and_waits() {
    patch::all();
    let (mut numbers, sum) = (vec![1, 2, 3, 4], AtomicUsize::new(0));
    let longest = thread::scope(|s| {
        let (left, right) = numbers.split_at_mut(2);
        for half in [left, right] {
            let sum = &sum;
            s.spawn(move || {
                for number in half {
                    thread::sleep(ms(1));
                    *number *= 10;
                    sum.fetch_add(*number, SeqCst);
                }
            });
        }
        let named = Builder::new().name("scoped".into());
        named.spawn_scoped(s, || thread::current().name().map(str::len)).unwrap().join().unwrap()
    });
    assert_eq!((numbers, sum.into_inner(), longest), (vec![10, 20, 30, 40], 100, Some(6)));
}

#[test]
fn scope_panics_after_a_panic_of_a_thread_unless_that_was_joined() {
    patch::all();
    let after = AtomicUsize::new(0);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        thread::scope(|s| {
            s.spawn(|| panic!("scoped"));
            s.spawn(|| {
                thread::sleep(ms(3));
                after.fetch_add(1, SeqCst);
            });
        });
    }));
    assert_eq!(*ended.unwrap_err().downcast::<&str>().unwrap(), "a scoped thread panicked");
    assert_eq!(after.load(SeqCst), 1, "the scope waited for the other thread");

    thread::scope(|s| {
        let bad = s.spawn(|| {
            thread::yield_now();
            panic_any(5u8)
        });
        let payload: Box<dyn std::any::Any + Send> = bad.join().map(|(): ()| ()).unwrap_err();
        assert_eq!(*payload.downcast::<u8>().unwrap(), 5);
        s.spawn(|| after.fetch_add(1, SeqCst));
    });
    assert_eq!(after.load(SeqCst), 2);
}

#[test]
fn scope_when_killed_waits_for_its_threads() {
    patch::all();
    let (go, gone) = mpsc::channel::<()>();
    let touched = Arc::new(AtomicUsize::new(0));
    let count = touched.clone();
    let victim = greenline::spawn(move || {
        let borrowed = Box::new(AtomicUsize::new(1));
        let (borrowed, count) = (&borrowed, &count);
        thread::scope(|s| {
            s.spawn(move || {
                assert!(gone.recv().is_err());
                count.fetch_add(borrowed.fetch_add(1, SeqCst), SeqCst);
            });
        });
        count.fetch_add(borrowed.load(SeqCst), SeqCst);
        yield_now();
        unreachable!("the kill is delivered");
    });
    (0..5).for_each(|_| yield_now());
    victim.kill();
    (0..10).for_each(|_| yield_now());
    assert!(!victim.is_finished());
    drop(go);
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    assert_eq!(touched.load(SeqCst), 3);
}
