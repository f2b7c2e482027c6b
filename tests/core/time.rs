//! Sleeping, yielding, and time limits.

use crate::support::time::{HOUR, ms};
use greenline::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

#[test]
fn sleep_overlaps_and_wakes_in_the_order_of_deadlines() {
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
fn sleep_until_equal_deadlines_wakes_in_call_order() {
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
fn sleep_shorter_than_a_millisecond_is_not_rounded_up() {
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
fn sleep_of_zero_or_until_the_past_yields() {
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
fn sleep_beside_a_loop_of_yield_now_is_not_starved() {
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
    assert!(spinner.join().unwrap() > 100, "the loop ran meanwhile");
    // A starved sleeper would never wake. On a busy machine it may wake late.
    assert!(late < Duration::from_secs(5), "{late:?}");
}

#[test]
fn sleep_that_expires_does_not_wait_behind_a_long_run_queue() {
    // A thousand green threads yield for ever, and the root sleeps. When its deadline has passed, it runs next or after
    // the next: it does not wait until all the others have run.
    let stop = Rc::new(Cell::new(false));
    let turns = Rc::new(Cell::new(0u64));
    for _ in 0..1000 {
        let (stop, turns) = (stop.clone(), turns.clone());
        spawn(move || {
            while !stop.get() {
                turns.set(turns.get() + 1);
                // The turn takes so long that the hub reads the clock after each.
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
    // 20 ms are 200 turns. At the end of the run queue, the root would wait for 1,000 more.
    assert!(turns_until_due < 800, "{turns_until_due}");
}

#[test]
fn timeout_returns_the_value_or_elapsed() {
    assert_eq!(timeout(Duration::from_secs(60), || 42), Ok(42));
    let start = Instant::now();
    let error = timeout(ms(10), || sleep(Duration::from_secs(60))).unwrap_err();
    assert!(start.elapsed() >= ms(10) && start.elapsed() < Duration::from_secs(30));
    assert_eq!(error.limit(), ms(10));
    assert_eq!(error.to_string(), "not done within 10ms");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::TimedOut);
    // In a green thread as in the root; around a join.
    let inside = spawn(|| timeout(ms(5), || spawn(|| sleep(Duration::from_secs(60))).join()));
    assert!(inside.join().unwrap().is_err());
    assert_eq!(timeout(Duration::MAX, || spawn(|| 1).join().unwrap()), Ok(1));
}

#[test]
fn timeout_of_zero_fires_at_the_next_blocking_call_and_not_before() {
    let reached = Cell::new(0);
    let result = timeout(Duration::ZERO, || {
        reached.set(1);
        sleep(ms(50));
        reached.set(2);
    });
    assert!(result.is_err());
    assert_eq!(reached.get(), 1);
    assert!(timeout(Duration::ZERO, yield_now).is_err());
    assert_eq!(timeout(Duration::ZERO, || 5), Ok(5), "code that does not block is not interrupted");
}

#[test]
fn timeout_that_fires_runs_destructors() {
    struct OnDrop<'a>(&'a Cell<bool>);
    impl Drop for OnDrop<'_> {
        fn drop(&mut self) {
            sleep(ms(1)); // a destructor may block
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
fn timeout_nested_fires_by_deadline_and_each_returns_its_own_elapsed() {
    // The inner deadline is earlier.
    let inner = timeout(Duration::from_secs(60), || timeout(ms(5), || sleep(Duration::from_secs(60))));
    assert!(matches!(inner, Ok(Err(e)) if e.limit() == ms(5)));
    // The outer deadline is earlier: its unwind passes the inner timeout.
    let outer = timeout(ms(5), || timeout(Duration::from_secs(60), || sleep(Duration::from_secs(60))));
    assert!(matches!(outer, Err(e) if e.limit() == ms(5)));
    // The outer timeout is still armed after the inner one has fired.
    let both = timeout(ms(30), || {
        assert!(timeout(ms(5), || sleep(Duration::from_secs(60))).is_err());
        sleep(Duration::from_secs(60));
    });
    assert!(matches!(both, Err(e) if e.limit() == ms(30)));
}

#[test]
fn timeout_that_has_ended_does_not_fire_later() {
    assert!(timeout(ms(1), || ()).is_ok());
    sleep(ms(10));
    let mut fired = false;
    let result = timeout(ms(1), || {
        // The unwind is caught. A timeout fires only once.
        fired = std::panic::catch_unwind(|| sleep(Duration::from_secs(60))).is_err();
        sleep(ms(10));
        "went on"
    });
    assert!(fired);
    assert_eq!(result, Ok("went on"));
}

#[test]
fn timeout_passes_a_panic_on() {
    let thrown = std::panic::catch_unwind(|| timeout(Duration::from_secs(60), || std::panic::panic_any(3i8)));
    assert_eq!(*thrown.unwrap_err().downcast::<i8>().unwrap(), 3);
}

#[test]
fn timeout_of_two_that_have_expired_delivers_the_earlier_deadline() {
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
    assert!(matches!(outer, Err(e) if e.limit() == ms(2)), "the outer deadline was earlier: {outer:?}");
    let inner = timeout(ms(5), || {
        timeout(ms(2), || {
            compute(ms(10));
            sleep(Duration::from_secs(60));
        })
    });
    assert!(matches!(inner, Ok(Err(e)) if e.limit() == ms(2)), "the inner deadline was earlier: {inner:?}");
}

#[test]
fn timeout_that_has_expired_ends_the_next_park_before_a_wake_that_comes_later() {
    // After many short turns the hub reads the clock seldom.
    spawn(|| (0..1000).for_each(|_| yield_now())).join().unwrap();
    let over = ms(2);
    let ended = timeout(over, || {
        timeout(HOUR, || ()).unwrap(); // its end does not cancel the outer timeout
        let ticket = wait::ticket();
        drop(spawn(move || ticket.wake()));
        let start = Instant::now();
        while start.elapsed() <= over {
            std::hint::spin_loop();
        }
        wait::park(ticket, None, "a wake that comes too late")
    });
    assert!(ended.is_err(), "{ended:?}");
}
