//! Scopes: borrowed data, which no green thread touches after the end of the scope, whatever happens.

use crate::support::time::{HOUR, ms};
use greenline::*;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// Lets the owner of a scope and its green threads run into their waits, and kills the owner, that many times.
fn kill_inside(owner: JoinHandle<()>, times: u32) {
    for _ in 0..times {
        yield_now();
        yield_now();
        owner.kill();
    }
    assert!(matches!(owner.join(), Err(JoinError::Killed)));
}

#[test]
fn scope_spawn_borrows_and_changes_the_owners_data() {
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
fn scope_waits_though_handles_were_dropped_or_leaked() {
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
fn scope_whose_body_panics_waits_for_its_green_threads_first() {
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
fn scope_panics_after_a_panic_that_was_not_joined() {
    let thrown = catch_unwind(|| scope(|s| drop(s.spawn(|| panic!("inside")))));
    assert_eq!(*thrown.unwrap_err().downcast::<&str>().unwrap(), "a scoped green thread panicked");
    let handled = scope(|s| s.spawn(|| panic!("joined")).join().is_err());
    assert!(handled, "join returns the panic, and the scope does not panic");
}

#[test]
fn scope_of_a_killed_owner_kills_its_green_threads_and_then_unwinds() {
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
                    sleep(HOUR);
                });
            }
        });
        unreachable!("killed in the scope");
    });
    kill_inside(owner, 1);
    assert_eq!(*log.borrow(), ["child", "child", "child", "owner"]);
}

#[test]
fn scope_inside_an_expired_timeout_ends_its_green_threads() {
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
                    sleep(HOUR);
                });
            }
        })
    });
    assert!(result.is_err());
    assert_eq!(ended.get(), began.get(), "a slow machine may start fewer than three in time");
}

#[test]
fn scope_spawn_killed_before_its_start_is_counted_out() {
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
fn scope_spawn_inside_a_scoped_green_thread_joins_the_same_scope() {
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
fn scope_in_a_deadlock_reports_it_after_its_green_threads_have_ended() {
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
    assert!(report.contains("what never comes") && report.contains("tests/core/scope.rs"), "{report}");
    assert!(unwound.get());
}

#[test]
fn scope_spawn_whose_value_panics_when_dropped_is_counted_out() {
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
fn scope_runs_ten_thousand_green_threads() {
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
fn scope_whose_body_is_interrupted_kills_its_green_threads() {
    let loops = || {
        loop {
            sleep(ms(1));
        }
    };
    let timed = timeout(ms(20), || {
        scope(|s| {
            s.spawn(loops);
            sleep(HOUR);
        })
    });
    assert!(timed.is_err());
    let owner = spawn(move || {
        scope(|s| {
            s.spawn(loops);
            sleep(HOUR);
        })
    });
    kill_inside(owner, 1);
}

#[test]
fn scope_spawn_while_the_scope_is_killed_is_killed_too() {
    struct SpawnsMore<'scope, 'env>(&'scope Scope<'scope, 'env>);
    impl Drop for SpawnsMore<'_, '_> {
        fn drop(&mut self) {
            self.0.spawn(|| sleep(HOUR));
        }
    }
    let owner = spawn(|| {
        scope(|s| {
            s.spawn(|| {
                let _more = SpawnsMore(s);
                sleep(HOUR);
            });
        })
    });
    kill_inside(owner, 1);
}

#[test]
fn scope_kills_a_green_thread_again_that_has_caught_a_kill() {
    // A second interrupt of the owner kills it again.
    let owner = spawn(|| {
        scope(|s| {
            s.spawn(|| {
                let _ = catch_unwind(|| sleep(HOUR));
                sleep(HOUR);
            });
        })
    });
    kill_inside(owner, 2);
    // So does the next deadlock.
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
