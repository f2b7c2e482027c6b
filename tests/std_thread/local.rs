//! `thread_local!` and `errno`.

use crate::support::threads::ms;
use greenline::{JoinError, patch, yield_now};
use std::cell::{Cell, RefCell};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(7) };
    static LIST: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn thread_local_values_are_per_thread() {
    patch::all();
    NUMBER.set(100);
    LIST.with_borrow_mut(|list| list.push(100));
    let work = |n: u32| {
        move || {
            assert_eq!(NUMBER.get(), 7);
            for round in 0..5 {
                NUMBER.set(NUMBER.get() + n);
                LIST.with_borrow_mut(|list| list.push(n));
                // The list is borrowed while its thread sleeps. No other thread sees it.
                LIST.with_borrow_mut(|list| {
                    thread::sleep(Duration::from_micros(u64::from(n + round) % 5 * 100));
                    assert_eq!(*list, vec![n; round as usize + 1]);
                });
                thread::yield_now();
            }
            NUMBER.get()
        }
    };
    let std: Vec<_> = (0..20).map(|n| thread::spawn(work(n))).collect();
    let green: Vec<_> = (0..20).map(|n| greenline::spawn(work(n))).collect();
    for (n, (std, green)) in std.into_iter().zip(green).enumerate() {
        assert_eq!(std.join().unwrap(), 7 + 5 * n as u32);
        assert_eq!(green.join().unwrap(), 7 + 5 * n as u32);
    }
    assert_eq!(NUMBER.get(), 100);
    LIST.with_borrow(|list| assert_eq!(*list, [100]));
}

/// A value whose destructor sleeps and then sends its name.
struct Reports(RefCell<Option<mpsc::Sender<&'static str>>>, &'static str);

impl Reports {
    const fn new(name: &'static str) -> Reports {
        Reports(RefCell::new(None), name)
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        thread::sleep(ms(1));
        if let Some(tx) = self.0.take() {
            tx.send(self.1).unwrap();
        }
    }
}

#[test]
fn thread_local_destructors_run_last_first_before_join_returns() {
    thread_local! {
        static FIRST: Reports = const { Reports::new("first") };
        static SECOND: Reports = const { Reports::new("second") };
        static THIRD: Reports = const { Reports::new("third") };
        static UNUSED: Reports = const { Reports::new("unused") };
    }
    patch::all();
    let body = |tx: mpsc::Sender<_>| {
        move || {
            for local in [&FIRST, &SECOND, &THIRD] {
                local.with(|reports| reports.0.replace(Some(tx.clone())));
                thread::yield_now();
            }
            tx.send("body").unwrap();
        }
    };
    let expected = ["body", "third", "second", "first"];
    let (tx, rx) = mpsc::channel();
    thread::spawn(body(tx)).join().unwrap();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), expected);
    let (tx, rx) = mpsc::channel();
    greenline::spawn(body(tx)).join().unwrap();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), expected);
    // A thread that panics and a thread that is detached run their destructors, too.
    let (tx, rx) = mpsc::channel();
    let body_of_bad = body(tx);
    let bad = thread::spawn(move || {
        body_of_bad();
        panic!("after all that");
    });
    assert!(bad.join().is_err());
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), expected);
    let (tx, rx) = mpsc::channel();
    drop(thread::spawn(body(tx)));
    assert_eq!(rx.iter().collect::<Vec<_>>(), expected);
    UNUSED.with(|_| ());
}

#[test]
fn thread_local_destructors_run_in_a_killed_green_thread() {
    thread_local! {
        static KEPT: Reports = const { Reports::new("kept") };
    }
    patch::all();
    let (tx, rx) = mpsc::channel();
    let all: Vec<_> = (0..10)
        .map(|_| {
            let tx = tx.clone();
            greenline::spawn(move || {
                KEPT.with(|reports| reports.0.replace(Some(tx)));
                greenline::sleep(Duration::MAX);
            })
        })
        .collect();
    drop(tx);
    yield_now();
    for end in greenline::kill_all(all) {
        assert!(matches!(end, Err(JoinError::Killed)));
    }
    assert_eq!(rx.iter().count(), 10);
}

#[test]
fn thread_local_destructor_may_use_others_and_spawn() {
    thread_local! {
        static LATE: Reports = const { Reports::new("late") };
        static BUSY: RefCell<Option<Busy>> = const { RefCell::new(None) };
    }
    struct Busy(mpsc::Sender<&'static str>);
    impl Drop for Busy {
        fn drop(&mut self) {
            assert!(BUSY.try_with(|_| ()).is_err(), "the value is being destroyed");
            // This is the first use of `LATE`. Therefore `LATE` is destroyed after `BUSY`.
            LATE.with(|late| late.0.replace(Some(self.0.clone())));
            let tx = self.0.clone();
            thread::spawn(move || {
                thread::sleep(ms(1));
                tx.send("a thread").unwrap();
            })
            .join()
            .unwrap();
            self.0.send("busy").unwrap();
        }
    }
    patch::all();
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || BUSY.set(Some(Busy(tx)))).join().unwrap();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["a thread", "busy", "late"]);
}

fn errno() -> &'static Cell<i32> {
    // SAFETY: the address is the calling thread's own, and the tests do not use it after that thread's end.
    unsafe { Cell::from_mut(&mut *libc::__errno_location()) }
}

#[test]
fn errno_is_per_thread() {
    patch::all();
    let all: Vec<_> = (0..20)
        .map(|n| {
            thread::spawn(move || {
                errno().set(n);
                for _ in 0..5 {
                    thread::yield_now();
                    assert_eq!(errno().get(), n);
                }
            })
        })
        .collect();
    errno().set(1000);
    (0..5).for_each(|_| thread::yield_now());
    assert_eq!(errno().get(), 1000);
    all.into_iter().for_each(|one| one.join().unwrap());
}

#[test]
fn errno_is_unchanged_by_a_wait_during_which_the_hub_calls_the_kernel() {
    patch::all();
    let work = |size| {
        move || {
            let (tx, rx) = mpsc::channel();
            // The hub makes the stack of this thread while `recv` waits, and then waits for the sleep to end.
            let other = greenline::Builder::new().stack_size(size).spawn(move || {
                thread::sleep(ms(1));
                tx.send(()).unwrap();
            });
            errno().set(1000);
            rx.recv().unwrap();
            let after = errno().get();
            other.unwrap().join().unwrap();
            after
        }
    };
    assert_eq!(work(1 << 20)(), 1000, "the root's");
    assert_eq!(thread::spawn(work(2 << 20)).join().unwrap(), 1000, "a green thread's");
}
