//! Tickets and parking: what everything that blocks is built on.

use greenline::wait::{self, Ticket, WaitResult};
use greenline::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(5))
}

#[test]
fn a_ticket_is_good_for_one_park_however_that_ended() {
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
    let [expired, waiting] = tickets.borrow()[..] else { panic!("it waits by its second ticket") };
    assert!(!expired.wake(), "its park is over");
    yield_now();
    assert_eq!(tickets.borrow().len(), 2, "and nobody was woken by it");
    assert!(waiting.wake());
    assert!(!waiting.wake(), "once");
    assert_eq!(sleeper.join().unwrap(), [WaitResult::Expired, WaitResult::Notified, WaitResult::Expired]);
    assert!(!waiting.wake(), "its green thread is gone");
}

#[test]
fn a_wake_up_before_the_park_is_not_lost() {
    let ticket = wait::ticket();
    assert!(ticket.wake());
    assert_eq!(wait::park(ticket, None, "nothing more"), WaitResult::Notified);
    let next = wait::ticket();
    assert_ne!(ticket, next);
    assert_eq!(wait::park(next, soon(), "a time"), WaitResult::Expired);
}

#[test]
fn the_record_of_another_that_took_the_place_is_not_mistaken_for_it() {
    let slot = Rc::new(Cell::new(None));
    let inside = slot.clone();
    spawn(move || inside.set(Some(wait::ticket()))).join().unwrap();
    let of_the_dead: Ticket = slot.get().unwrap();
    // Takes the record that the other had.
    let heir = spawn(|| wait::park(wait::ticket(), soon(), "a test"));
    yield_now();
    assert!(!of_the_dead.wake());
    assert_eq!(heir.join().unwrap(), WaitResult::Expired);
}

#[test]
fn a_wait_in_a_destructor_is_not_cut_short_by_a_second_kill() {
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
fn anothers_ticket_is_refused() {
    let ticket = wait::ticket();
    let thief = spawn(move || wait::park(ticket, None, "a test"));
    assert!(thief.join().unwrap_err().to_string().contains("only for the green thread that took it"));
}

#[test]
fn an_older_ticket_does_not_park_for_ever() {
    let old = wait::ticket();
    sleep(Duration::from_millis(1)); // any blocking call in between
    assert_eq!(wait::park(old, None, "a test"), WaitResult::Notified, "look again, and take another");
}
