//! Kill: where it is delivered, which code it runs, and what it cannot break.

use crate::support::time::{HOUR, ms};
use greenline::*;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

type Log = Rc<RefCell<Vec<&'static str>>>;

struct Say(Log, &'static str);
impl Drop for Say {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

#[test]
fn kill_unwinds_at_the_blocking_call_and_runs_destructors() {
    let log: Log = Rc::default();
    let inside = log.clone();
    let victim = spawn(move || {
        let _outer = Say(inside.clone(), "outer");
        let _inner = Say(inside.clone(), "inner");
        sleep(HOUR);
        inside.borrow_mut().push("not reached");
    });
    yield_now();
    assert!(victim.kill());
    assert!(log.borrow().is_empty(), "kill does not wait for the end");
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    assert_eq!(*log.borrow(), ["inner", "outer"]);
}

#[test]
fn kill_before_the_first_run_drops_the_captures_and_never_runs_the_body() {
    let log: Log = Rc::default();
    let captured = Say(log.clone(), "captured");
    let inside = log.clone();
    let victim = spawn(move || {
        inside.borrow_mut().push("ran");
        drop(captured);
    });
    let linked = log.clone();
    victim.link(move |_| linked.borrow_mut().push("link"));
    victim.kill();
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    join_everything();
    assert_eq!(*log.borrow(), ["captured", "link"]);
}

#[test]
fn kill_of_a_spawn_after_ends_it_at_once() {
    let victim = spawn_after(HOUR, || unreachable!("the kill comes before the start"));
    victim.kill();
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
}

#[test]
fn kill_of_a_finished_green_thread_returns_false() {
    let ended = spawn(|| 5);
    yield_now();
    assert!(!ended.kill());
    assert_eq!(ended.join().unwrap(), 5);
}

#[test]
fn kill_during_the_unwind_of_a_kill_lets_destructors_finish() {
    struct Slow(Log);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.borrow_mut().push("cleaning");
            sleep(ms(10));
            yield_now();
            self.0.borrow_mut().push("clean");
        }
    }
    let log: Log = Rc::default();
    let guard = Slow(log.clone());
    let victim = spawn(move || {
        let _guard = guard;
        sleep(HOUR);
    });
    yield_now();
    victim.kill();
    yield_now();
    assert_eq!(*log.borrow(), ["cleaning"]);
    assert!(!std::thread::panicking(), "another green thread unwinds, not this one");
    assert!(victim.kill());
    victim.kill();
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    assert_eq!(*log.borrow(), ["cleaning", "clean"]);
}

#[test]
fn panicking_poisons_only_the_mutex_of_the_green_thread_that_panics() {
    struct SleepOnDrop;
    impl Drop for SleepOnDrop {
        fn drop(&mut self) {
            sleep(ms(20));
        }
    }
    let innocent = Rc::new(std::sync::Mutex::new(()));
    let guilty = Rc::new(std::sync::Mutex::new(()));
    let unwinding = spawn(|| {
        let _guard = SleepOnDrop;
        panic!("unwinds for 20 ms");
    });
    let lock = innocent.clone();
    let holder = spawn(move || {
        let _held = lock.lock().unwrap();
        sleep(ms(5)); // released while the other unwinds
    });
    let lock = guilty.clone();
    let panicker = spawn(move || {
        sleep(ms(5));
        let _held = lock.lock().unwrap(); // taken while the other unwinds
        panic!("poisons");
    });
    join_all([unwinding, holder, panicker]);
    assert!(!innocent.is_poisoned());
    assert!(guilty.is_poisoned());
}

#[test]
fn kill_caught_by_catch_unwind_lets_it_run_on_and_be_killed_again() {
    let survived = Rc::new(Cell::new(0));
    let count = survived.clone();
    let victim = spawn(move || {
        loop {
            let killed = catch_unwind(AssertUnwindSafe(|| sleep(HOUR))).is_err();
            assert!(killed);
            count.set(count.get() + 1);
            if count.get() == 3 {
                return "had enough";
            }
        }
    });
    for n in 1..=3 {
        yield_now();
        assert!(victim.kill());
        yield_now();
        assert_eq!(survived.get(), n);
    }
    assert_eq!(victim.join().unwrap(), "had enough");
}

#[test]
fn kill_of_oneself_is_delivered_at_the_next_blocking_call() {
    let slot: Rc<Cell<Option<JoinHandle<()>>>> = Rc::default();
    let steps = Rc::new(Cell::new(0));
    let (inside, count) = (slot.clone(), steps.clone());
    let handle = spawn(move || {
        let own = inside.take().unwrap();
        own.kill();
        inside.set(Some(own));
        count.set(1);
        yield_now();
        count.set(2);
    });
    slot.set(Some(handle));
    yield_now();
    yield_now();
    assert!(matches!(slot.take().unwrap().join(), Err(JoinError::Killed)));
    assert_eq!(steps.get(), 1);
}

#[test]
fn kill_unwinds_from_every_blocking_call() {
    let never = || spawn(|| sleep(HOUR));
    let blockers: Vec<(&str, Box<dyn FnOnce()>)> = vec![
        ("sleep", Box::new(|| sleep(HOUR))),
        (
            "yield_now",
            Box::new(|| {
                loop {
                    yield_now()
                }
            }),
        ),
        ("join", Box::new(move || never().join().unwrap())),
        ("join_timeout", Box::new(move || drop(never().join_timeout(HOUR)))),
        ("join_all", Box::new(move || drop(join_all([never(), never()])))),
        ("as_completed", Box::new(move || drop(as_completed([never()]).next()))),
        ("scope", Box::new(|| scope(|s| drop(s.spawn(|| sleep(HOUR)))))),
        ("timeout", Box::new(|| timeout(HOUR, || sleep(HOUR)).unwrap())),
        (
            "park",
            Box::new(|| assert!(wait::park(wait::ticket(), None, "nothing") == wait::WaitResult::Notified)),
        ),
        ("generator", Box::new(|| assert!(Generator::<()>::new(|_| sleep(HOUR)).next().is_none()))),
    ];
    for (what, block) in blockers {
        let victim = spawn(block);
        yield_now();
        yield_now();
        assert!(!victim.is_finished(), "{what}");
        victim.kill();
        assert!(matches!(victim.join(), Err(JoinError::Killed)), "{what}");
    }
    shutdown();
}

#[test]
fn kill_after_an_accepted_wake_does_not_lose_the_wake() {
    let ticket = Rc::new(Cell::new(None));
    let got = Rc::new(Cell::new(false));
    let (slot, seen) = (ticket.clone(), got.clone());
    let victim = spawn(move || {
        let ticket = wait::ticket();
        slot.set(Some(ticket));
        wait::park(ticket, None, "a token");
        seen.set(true); // the wake is delivered; the kill comes at the next blocking call
        sleep(HOUR);
    });
    yield_now();
    assert!(ticket.get().unwrap().wake());
    victim.kill();
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    assert!(got.get());
    assert!(!ticket.get().unwrap().wake(), "a ticket is good for one wake");
}

#[test]
fn kill_before_a_wake_makes_the_wake_return_false() {
    let ticket = Rc::new(Cell::new(None));
    let slot = ticket.clone();
    let victim = spawn(move || {
        let ticket = wait::ticket();
        slot.set(Some(ticket));
        wait::park(ticket, None, "a token");
        unreachable!("it was killed");
    });
    yield_now();
    victim.kill();
    assert!(!ticket.get().unwrap().wake(), "the caller can then wake another");
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
}

#[test]
fn kill_all_ends_started_and_unstarted_green_threads() {
    let log: Log = Rc::default();
    let make = |n: usize| {
        let guard = Say(log.clone(), "dropped");
        spawn(move || {
            let _guard = guard;
            sleep(HOUR);
            n
        })
    };
    let begun: Vec<_> = (0..3).map(make).collect();
    yield_now();
    let not_begun: Vec<_> = (3..6).map(make).collect();
    let ended = kill_all(begun.into_iter().chain(not_begun));
    assert!(ended.iter().all(|end| matches!(end, Err(JoinError::Killed))));
    assert_eq!(log.borrow().len(), 6);
}

#[test]
fn kill_whose_destructor_catches_a_panic_does_not_abort() {
    struct Contains;
    impl Drop for Contains {
        fn drop(&mut self) {
            assert!(catch_unwind(|| panic!("in cleanup")).is_err());
        }
    }
    let victim = spawn(|| {
        let _guard = Contains;
        sleep(HOUR);
    });
    yield_now();
    victim.kill();
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
}

#[test]
fn shutdown_unwinds_all_even_those_that_catch_a_kill() {
    let log: Log = Rc::default();
    for _ in 0..100 {
        let guard = Say(log.clone(), "dropped");
        drop(spawn(move || {
            let _guard = guard;
            sleep(HOUR);
        }));
    }
    let stubborn = spawn(|| {
        for _ in 0..5 {
            let _ = catch_unwind(|| sleep(HOUR));
        }
        "gave in"
    });
    yield_now();
    shutdown();
    assert_eq!(log.borrow().len(), 100);
    assert_eq!(stubborn.join().unwrap(), "gave in");
    // The hub still works.
    assert_eq!(spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn shutdown_returns_though_one_catches_every_kill() {
    for how in [(|| sleep(HOUR)) as fn(), yield_now] {
        let immortal = spawn(move || {
            loop {
                let _ = catch_unwind(how);
            }
        });
        yield_now();
        shutdown();
        std::mem::forget(immortal);
        if how as usize == yield_now as fn() as usize {
            return;
        }
    }
}

#[test]
fn shutdown_unwinds_what_the_end_of_the_os_thread_abandons() {
    struct Send(std::sync::mpsc::Sender<&'static str>);
    impl Drop for Send {
        fn drop(&mut self) {
            sleep(ms(1));
            self.0.send("dropped").unwrap();
        }
    }
    for shut_down in [true, false] {
        let (say, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for _ in 0..10 {
                let guard = Send(say.clone());
                drop(spawn(move || {
                    let _guard = guard;
                    sleep(HOUR);
                }));
            }
            yield_now();
            if shut_down {
                shutdown();
            }
        })
        .join()
        .unwrap();
        assert_eq!(heard.try_iter().count(), if shut_down { 10 } else { 0 });
    }
}
