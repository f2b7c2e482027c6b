//! Sleeping, yielding, and time limits.

use greenline::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn sleepers_sleep_together_and_wake_in_order_of_their_times() {
    let order: Rc<RefCell<Vec<u64>>> = Rc::default();
    let start = Instant::now();
    let all: Vec<_> = [50, 10, 40, 20, 30]
        .into_iter()
        .map(|nap| {
            let order = order.clone();
            spawn(move || {
                sleep(ms(nap));
                order.borrow_mut().push(nap);
            })
        })
        .collect();
    join_all(all);
    assert_eq!(*order.borrow(), [10, 20, 30, 40, 50]);
    let took = start.elapsed();
    assert!(took >= ms(50), "{took:?}");
}

#[test]
fn equal_deadlines_fire_in_creation_order() {
    let order: Rc<RefCell<Vec<u32>>> = Rc::default();
    let deadline = Instant::now() + ms(20);
    let all: Vec<_> = (0..50)
        .map(|n| {
            let order = order.clone();
            spawn(move || {
                sleep_until(deadline);
                order.borrow_mut().push(n);
            })
        })
        .collect();
    join_all(all);
    assert_eq!(*order.borrow(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_short_sleep_is_not_rounded_up_to_a_millisecond() {
    let best = (0..50).map(|_| {
        let start = Instant::now();
        sleep(Duration::from_micros(100));
        start.elapsed()
    });
    let best = best.min().unwrap();
    assert!(best >= Duration::from_micros(100), "{best:?}");
    assert!(best < Duration::from_micros(900), "{best:?}: none of fifty was shorter than a millisecond");
}

#[test]
fn zero_and_past_times_yield() {
    let ran = Rc::new(Cell::new(0));
    for _ in 0..2 {
        let ran = ran.clone();
        spawn(move || ran.set(ran.get() + 1));
    }
    sleep(Duration::ZERO);
    assert_eq!(ran.get(), 2);
    let ran2 = ran.clone();
    spawn(move || ran2.set(3));
    sleep_until(Instant::now() - ms(5));
    assert_eq!(ran.get(), 3);
}

#[test]
fn a_spinning_loop_does_not_starve_timers() {
    let done = Rc::new(Cell::new(false));
    let watch = done.clone();
    let spinner = spawn(move || {
        let mut turns = 0u64;
        while !watch.get() {
            yield_now();
            turns += 1;
        }
        turns
    });
    let start = Instant::now();
    sleep(ms(5));
    let late = start.elapsed();
    done.set(true);
    assert!(spinner.join().unwrap() > 100, "it ran meanwhile");
    // Starved, it would never come; on a busy machine it may come late.
    assert!(late < Duration::from_secs(5), "{late:?}");
}

#[test]
fn who_is_due_does_not_wait_behind_a_long_line() {
    // A thousand that yield for ever; one that sleeps. Between two turns of any of the thousand the sleeper
    // can run, once it is due: it need not wait for all the others.
    let stop = Rc::new(Cell::new(false));
    let turns = Rc::new(Cell::new(0u64));
    for _ in 0..1000 {
        let (stop, turns) = (stop.clone(), turns.clone());
        spawn(move || {
            while !stop.get() {
                turns.set(turns.get() + 1);
                // A turn that takes so long that the clock is read at each.
                let start = Instant::now();
                while start.elapsed() < Duration::from_micros(100) {}
                yield_now();
            }
        });
    }
    let turns_until_due = {
        sleep(ms(20));
        turns.get()
    };
    stop.set(true);
    join_everything();
    // 20 ms are 200 turns; in line it would be behind 1,000 of them.
    assert!(turns_until_due < 800, "{turns_until_due}");
}

#[test]
fn timeout_answers_the_value_or_elapsed() {
    assert_eq!(timeout(Duration::from_secs(60), || 42), Ok(42));
    let start = Instant::now();
    let error = timeout(ms(10), || sleep(Duration::from_secs(60))).unwrap_err();
    assert!(start.elapsed() >= ms(10) && start.elapsed() < Duration::from_secs(30));
    assert_eq!(error.limit(), ms(10));
    assert_eq!(error.to_string(), "not done within 10ms");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::TimedOut);
    // In a green thread as well as in the root; around a join.
    let inside = spawn(|| timeout(ms(5), || spawn(|| sleep(Duration::from_secs(60))).join()));
    assert!(inside.join().unwrap().is_err());
    assert_eq!(timeout(Duration::MAX, || spawn(|| 1).join().unwrap()), Ok(1));
}

#[test]
fn zero_fires_at_the_next_blocking_call_and_not_before() {
    let reached = Cell::new(0);
    let result = timeout(Duration::ZERO, || {
        reached.set(1);
        sleep(ms(50));
        reached.set(2);
    });
    assert!(result.is_err());
    assert_eq!(reached.get(), 1);
    assert!(timeout(Duration::ZERO, yield_now).is_err());
    assert_eq!(timeout(Duration::ZERO, || 5), Ok(5), "what does not block is not interrupted");
}

#[test]
fn what_timed_out_runs_its_destructors() {
    struct OnDrop<'a>(&'a Cell<bool>);
    impl Drop for OnDrop<'_> {
        fn drop(&mut self) {
            sleep(ms(1)); // may block
            self.0.set(true);
        }
    }
    let dropped = Cell::new(false);
    let result = timeout(ms(1), || {
        let _guard = OnDrop(&dropped);
        sleep(Duration::from_secs(60));
    });
    assert!(result.is_err() && dropped.get());
}

#[test]
fn nested_timeouts_fire_by_deadline_and_each_answers_its_own() {
    // The inner is nearer.
    let inner = timeout(Duration::from_secs(60), || timeout(ms(5), || sleep(Duration::from_secs(60))));
    assert!(matches!(inner, Ok(Err(e)) if e.limit() == ms(5)));
    // The outer is nearer: it goes through the inner.
    let outer = timeout(ms(5), || timeout(Duration::from_secs(60), || sleep(Duration::from_secs(60))));
    assert!(matches!(outer, Err(e) if e.limit() == ms(5)));
    // The outer is still armed after the inner has fired.
    let both = timeout(ms(30), || {
        assert!(timeout(ms(5), || sleep(Duration::from_secs(60))).is_err());
        sleep(Duration::from_secs(60));
    });
    assert!(matches!(both, Err(e) if e.limit() == ms(30)));
}

#[test]
fn a_timeout_that_is_over_does_not_fire_later() {
    assert!(timeout(ms(1), || ()).is_ok());
    sleep(ms(10));
    let mut fired = false;
    let result = timeout(ms(1), || {
        // Swallowed: one shot only.
        fired = std::panic::catch_unwind(|| sleep(Duration::from_secs(60))).is_err();
        sleep(ms(10));
        "went on"
    });
    assert!(fired);
    assert_eq!(result, Ok("went on"));
}

#[test]
fn a_panic_goes_through_a_timeout() {
    let thrown = std::panic::catch_unwind(|| timeout(Duration::from_secs(60), || std::panic::panic_any(3i8)));
    assert_eq!(*thrown.unwrap_err().downcast::<i8>().unwrap(), 3);
}

#[test]
fn of_two_that_are_over_at_once_the_nearest_deadline_is_delivered() {
    let compute = |time: Duration| {
        let start = Instant::now();
        while start.elapsed() < time {}
    };
    let outer = timeout(ms(2), || {
        timeout(ms(5), || {
            compute(ms(10));
            sleep(Duration::from_secs(60));
        })
    });
    assert!(matches!(outer, Err(e) if e.limit() == ms(2)), "the outer one was over first: {outer:?}");
    let inner = timeout(ms(5), || {
        timeout(ms(2), || {
            compute(ms(10));
            sleep(Duration::from_secs(60));
        })
    });
    assert!(matches!(inner, Ok(Err(e)) if e.limit() == ms(2)), "the inner one was over first: {inner:?}");
}

#[test]
fn a_timeout_that_is_over_ends_the_next_park_though_its_ticket_is_about_to_be_used() {
    // So that the hub reads the clock seldom.
    spawn(|| (0..1000).for_each(|_| yield_now())).join().unwrap();
    let over = ms(2);
    let ended = timeout(over, || {
        timeout(ms(3_600_000), || ()).unwrap(); // that this one is left does not make the outer one forgotten
        let ticket = wait::ticket();
        drop(spawn(move || ticket.wake()));
        let start = Instant::now();
        while start.elapsed() <= over {
            std::hint::spin_loop();
        }
        wait::park(ticket, None, "what comes too late")
    });
    assert!(ended.is_err(), "{ended:?}");
}
