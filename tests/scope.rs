//! Scopes: borrowed data, and that nothing of it is touched afterwards, whatever happens.

use greenline::*;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn green_threads_borrow_and_change_the_owners_data() {
    let mut numbers = vec![1, 2, 3];
    let words = String::from("seen by all");
    let lengths: Vec<usize> = scope(|s| {
        for n in &mut numbers {
            s.spawn(|| {
                sleep(ms(1));
                *n *= 10;
            });
        }
        let handles: Vec<_> = (0..3)
            .map(|n| {
                s.spawn({
                    let words = &words;
                    move || words.len() + n
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    assert_eq!(numbers, [10, 20, 30]);
    assert_eq!(lengths, [11, 12, 13]);
}

#[test]
fn the_scope_waits_for_those_whose_handles_were_dropped_or_leaked() {
    let done = Cell::new(0);
    scope(|s| {
        let count = || {
            sleep(ms(5));
            done.set(done.get() + 1);
        };
        drop(s.spawn(count));
        std::mem::forget(s.spawn(count));
    });
    assert_eq!(done.get(), 2);
}

#[test]
fn a_panic_in_the_body_waits_for_the_green_threads_first() {
    let done = Cell::new(false);
    let thrown = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            s.spawn(|| {
                sleep(ms(5));
                done.set(true);
            });
            std::panic::panic_any("body");
        })
    }));
    assert_eq!(*thrown.unwrap_err().downcast::<&str>().unwrap(), "body");
    assert!(done.get());
}

#[test]
fn a_panic_of_one_that_nobody_joined_is_the_scopes() {
    let thrown = catch_unwind(|| scope(|s| drop(s.spawn(|| panic!("inside")))));
    assert_eq!(*thrown.unwrap_err().downcast::<&str>().unwrap(), "a scoped green thread panicked");
    let handled = scope(|s| s.spawn(|| panic!("joined")).join().is_err());
    assert!(handled, "who joins has it, and the scope does not panic");
}

#[test]
fn killing_the_owner_kills_its_own_and_unwinds_after_them() {
    let log: Rc<RefCell<Vec<&str>>> = Rc::default();
    struct Say<'a>(&'a RefCell<Vec<&'static str>>, &'static str);
    impl Drop for Say<'_> {
        fn drop(&mut self) {
            sleep(ms(2));
            self.0.borrow_mut().push(self.1);
        }
    }
    let inside = log.clone();
    let owner = spawn(move || {
        let _last = Say(&inside, "owner");
        let borrowed = inside.clone();
        scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    let _first = Say(&borrowed, "child");
                    sleep(LONG);
                });
            }
        });
        unreachable!("killed in the scope");
    });
    yield_now();
    yield_now();
    owner.kill();
    assert!(matches!(owner.join(), Err(JoinError::Killed)));
    assert_eq!(*log.borrow(), ["child", "child", "child", "owner"]);
}

#[test]
fn a_timeout_around_a_scope_ends_its_green_threads() {
    let (began, ended) = (Cell::new(0), Cell::new(0));
    struct Count<'a>(&'a Cell<u32>);
    impl Drop for Count<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let result = timeout(ms(100), || {
        scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    began.set(began.get() + 1);
                    let _count = Count(&ended);
                    sleep(LONG);
                });
            }
        })
    });
    assert!(result.is_err());
    assert_eq!(
        ended.get(),
        began.get(),
        "on a machine too slow to begin them in time there are fewer than three"
    );
}

#[test]
fn killed_before_they_begin_they_are_counted_out_all_the_same() {
    let ran = Cell::new(0);
    scope(|s| {
        for _ in 0..10 {
            let handle = s.spawn(|| ran.set(ran.get() + 1));
            handle.kill();
        }
    });
    assert_eq!(ran.get(), 0);
}

#[test]
fn one_spawns_others_in_the_same_scope() {
    let sum = Cell::new(0);
    scope(|s| {
        s.spawn(|| {
            for n in 1..=3 {
                s.spawn({
                    let sum = &sum;
                    move || {
                        sleep(ms(n));
                        sum.set(sum.get() + n);
                    }
                });
            }
        });
    });
    assert_eq!(sum.get(), 6);
}

#[test]
fn a_deadlock_inside_is_reported_after_the_green_threads_have_ended() {
    let unwound = Cell::new(false);
    struct Set<'a>(&'a Cell<bool>);
    impl Drop for Set<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let thrown = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            s.spawn(|| {
                let _set = Set(&unwound);
                wait::park(wait::ticket(), None, "what never comes");
            });
        })
    }));
    let report = *thrown.unwrap_err().downcast::<String>().unwrap();
    assert!(report.contains("what never comes") && report.contains("tests/scope.rs"), "{report}");
    assert!(unwound.get());
}

#[test]
fn a_value_with_a_destructor_that_panics_does_not_stop_the_count() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("in a destructor");
            }
        }
    }
    scope(|s| drop(s.spawn(|| Bad)));
}

#[test]
fn ten_thousand_in_one_scope() {
    let sum = Cell::new(0u64);
    scope(|s| {
        for n in 0..10_000 {
            s.spawn({
                let sum = &sum;
                move || sum.set(sum.get() + n)
            });
            if n % 100 == 0 {
                yield_now();
            }
        }
    });
    assert_eq!(sum.get(), 9_999 * 5_000);
}

#[test]
fn an_owner_that_is_interrupted_inside_takes_its_own_along() {
    let loops = || {
        loop {
            sleep(ms(1));
        }
    };
    let timed = timeout(ms(20), || {
        scope(|s| {
            s.spawn(loops);
            sleep(LONG);
        })
    });
    assert!(timed.is_err());
    let owner = spawn(move || {
        scope(|s| {
            s.spawn(loops);
            sleep(LONG);
        })
    });
    yield_now();
    yield_now();
    owner.kill();
    assert!(matches!(owner.join(), Err(JoinError::Killed)));
}

#[test]
fn who_joins_a_scope_that_is_being_killed_is_killed_too() {
    struct SpawnsMore<'scope, 'env>(&'scope Scope<'scope, 'env>);
    impl Drop for SpawnsMore<'_, '_> {
        fn drop(&mut self) {
            self.0.spawn(|| sleep(LONG));
        }
    }
    let owner = spawn(|| {
        scope(|s| {
            s.spawn(|| {
                let _more = SpawnsMore(s);
                sleep(LONG);
            });
        })
    });
    yield_now();
    yield_now();
    owner.kill();
    assert!(matches!(owner.join(), Err(JoinError::Killed)));
}

#[test]
fn one_that_swallows_a_kill_is_killed_again() {
    // By a second interrupt of the owner.
    let owner = spawn(|| {
        scope(|s| {
            s.spawn(|| {
                let _ = catch_unwind(|| sleep(LONG));
                sleep(LONG);
            });
        })
    });
    yield_now();
    yield_now();
    owner.kill();
    yield_now();
    yield_now();
    owner.kill();
    assert!(matches!(owner.join(), Err(JoinError::Killed)));
    // By the next deadlock.
    let never = || {
        wait::park(wait::ticket(), None, "what never comes");
    };
    let thrown = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            s.spawn(|| {
                let _ = catch_unwind(never);
                never();
            });
        })
    }));
    assert!(thrown.unwrap_err().downcast::<String>().unwrap().starts_with("deadlock"));
}
