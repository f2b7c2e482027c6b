//! `Once`, `OnceLock`, `LazyLock` and initialisers of `thread_local!`.

use crate::placement::*;
use crate::support::threads::ms;
use greenline::{patch, yield_now};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Once, OnceLock};
use std::thread;

#[test]
fn once_call_once_with_sleeping_initialiser_runs_it_once() {
    in_each_placement(|placement| {
        let lazy_runs = Arc::new(AtomicU32::new(0));
        let (once, cell, lazy) = (Once::new(), OnceLock::new(), {
            let runs = lazy_runs.clone();
            LazyLock::new(move || {
                thread::sleep(ms(5));
                runs.fetch_add(1, SeqCst) + 30
            })
        });
        let runs = Arc::new([const { AtomicU32::new(0) }; 2]);
        let count = runs.clone();
        placement.run(6, move |_| {
            once.call_once(|| {
                thread::sleep(ms(5));
                runs[0].fetch_add(1, SeqCst);
            });
            assert_eq!(runs[0].load(SeqCst), 1, "{placement:?}");
            assert!(once.is_completed());
            let value = cell.get_or_init(|| {
                thread::sleep(ms(5));
                runs[1].fetch_add(1, SeqCst) + 20
            });
            assert_eq!(*value, 20, "{placement:?}");
            assert_eq!(*lazy, 30, "{placement:?}");
        });
        assert_eq!(count.each_ref().map(|n| n.load(SeqCst)), [1, 1]);
        assert_eq!(lazy_runs.load(SeqCst), 1);
    });
}

#[test]
fn once_lock_stays_empty_and_lazy_lock_is_poisoned_by_a_panic() {
    in_each_placement(|placement| {
        let panics = || -> u32 {
            thread::sleep(ms(2));
            panic!("the initialiser")
        };
        let (once, cell, lazy) = (Arc::new(Once::new()), Arc::new(OnceLock::new()), LazyLock::new(panics));
        let (tried, lazy) = (Arc::new(AtomicU32::new(0)), Arc::new(lazy));
        placement.run(4, move |_| {
            // The first initialiser panics. Another thread's initialises the cell.
            let value = catch_unwind(AssertUnwindSafe(|| {
                *cell.get_or_init(|| if tried.fetch_add(1, SeqCst) == 0 { panics() } else { 7 })
            }));
            assert_eq!(value.unwrap_or_else(|_| *cell.get_or_init(|| 7)), 7, "{placement:?}");
            assert!(catch_unwind(AssertUnwindSafe(|| **lazy)).is_err(), "{placement:?}");
            assert!(
                catch_unwind(AssertUnwindSafe(|| once.call_once(|| {
                    panics();
                })))
                .is_err()
            );
            assert!(catch_unwind(AssertUnwindSafe(|| once.call_once(|| ()))).is_err(), "{placement:?}");
            assert!(!once.is_completed());
        });
    });
}

#[test]
fn once_call_once_force_runs_a_poisoned_once() {
    in_each_placement(|placement| {
        let once = Arc::new(Once::new());
        let poisoned = once.clone();
        placement.run(1, move |_| {
            assert!(catch_unwind(AssertUnwindSafe(|| poisoned.call_once(|| panic!("first")))).is_err());
        });
        let runs = Arc::new(AtomicU32::new(0));
        let count = runs.clone();
        placement.run(4, move |_| {
            once.call_once_force(|state| {
                assert!(state.is_poisoned());
                thread::sleep(ms(2));
                runs.fetch_add(1, SeqCst);
            });
            once.call_once(|| unreachable!());
        });
        assert_eq!(count.load(SeqCst), 1, "{placement:?}");
    });
}

#[test]
fn thread_local_initialiser_may_sleep() {
    thread_local! {
        static SLOW: Cell<u64> = {
            thread::sleep(ms(5));
            yield_now();
            Cell::new(1)
        };
        static SLOW_TO_GO: RefCell<Vec<u64>> = {
            thread::sleep(ms(5));
            RefCell::default()
        };
    }
    patch::all();
    let all: Vec<_> = (0..20)
        .map(|n| {
            thread::spawn(move || {
                SLOW.set(SLOW.get() + n);
                SLOW_TO_GO.with_borrow_mut(|list| list.push(n));
                thread::sleep(ms(1));
                SLOW_TO_GO.with_borrow(|list| assert_eq!(*list, [n]));
                SLOW.get()
            })
        })
        .collect();
    let values: Vec<u64> = all.into_iter().map(|one| one.join().unwrap()).collect();
    assert_eq!(values, (1..=20).collect::<Vec<_>>());
}
