//! Tickets and parking, on which every blocking call is built.

use greenline::wait::{self, Ticket, WaitResult};
use greenline::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(5))
}

#[test]
fn ticket_is_good_for_one_park_however_the_park_ended() {
    let tickets: Rc<RefCell<Vec<Ticket>>> = Rc::default();
    let kept = tickets.clone();
    let sleeper = spawn(move || {
        let mut ends = Vec::new();
        for deadline in [soon(), None, soon()] {
            let ticket = wait::ticket();
            kept.borrow_mut().push(ticket);
            ends.push(wait::park(ticket, deadline, "a test"));
        }
        ends
    });
    while tickets.borrow().len() < 2 {
        sleep(Duration::from_millis(1));
    }
    let [expired, waiting] = tickets.borrow()[..] else { panic!("the second park has not begun") };
    assert!(!expired.wake(), "its park has ended");
    yield_now();
    assert_eq!(tickets.borrow().len(), 2, "the late wake has woken nobody");
    assert!(waiting.wake());
    assert!(!waiting.wake(), "a ticket is good for one wake");
    assert_eq!(sleeper.join().unwrap(), [WaitResult::Expired, WaitResult::Notified, WaitResult::Expired]);
    assert!(!waiting.wake(), "its green thread has ended");
}

#[test]
fn wake_before_the_park_is_not_lost() {
    let ticket = wait::ticket();
    assert!(ticket.wake());
    assert_eq!(wait::park(ticket, None, "nothing more"), WaitResult::Notified);
    let next = wait::ticket();
    assert_ne!(ticket, next);
    assert_eq!(wait::park(next, soon(), "a time"), WaitResult::Expired);
}

#[test]
fn wake_with_the_ticket_of_a_finished_green_thread_returns_false_though_its_record_is_reused() {
    let slot = Rc::new(Cell::new(None));
    let inside = slot.clone();
    spawn(move || inside.set(Some(wait::ticket()))).join().unwrap();
    let of_the_dead: Ticket = slot.get().unwrap();
    // The new green thread reuses the record of the finished one.
    let heir = spawn(|| wait::park(wait::ticket(), soon(), "a test"));
    yield_now();
    assert!(!of_the_dead.wake());
    assert_eq!(heir.join().unwrap(), WaitResult::Expired);
}

#[test]
fn park_in_a_destructor_is_not_ended_by_a_second_kill() {
    struct Waits(Rc<Cell<Option<WaitResult>>>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.set(Some(wait::park(wait::ticket(), soon(), "a test")));
        }
    }
    let end = Rc::new(Cell::new(None));
    let guard = Waits(end.clone());
    let victim = spawn(move || {
        let _guard = guard;
        sleep(Duration::from_secs(3600));
    });
    yield_now();
    victim.kill();
    yield_now();
    victim.kill();
    assert!(victim.join().is_err());
    assert_eq!(end.get(), Some(WaitResult::Expired));
}

#[test]
fn park_with_the_ticket_of_another_green_thread_panics() {
    let ticket = wait::ticket();
    let thief = spawn(move || wait::park(ticket, None, "a test"));
    assert!(thief.join().unwrap_err().to_string().contains("only for the green thread that took it"));
}

#[test]
fn park_with_an_older_ticket_returns_at_once() {
    let old = wait::ticket();
    sleep(Duration::from_millis(1)); // a blocking call takes a newer ticket
    assert_eq!(
        wait::park(old, None, "a test"),
        WaitResult::Notified,
        "the caller checks its condition again, and takes a new ticket"
    );
}
