//! Deadlock: if nothing can ever wake the hub, it reports every green thread by name. It never reports a false one.

use greenline::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

fn never() {
    wait::park(wait::ticket(), None, "a letter from nobody");
}

fn report(block: impl FnOnce()) -> String {
    let thrown = catch_unwind(AssertUnwindSafe(block)).expect_err("it should not return");
    *thrown.downcast::<String>().expect("the report is text")
}

#[test]
fn deadlock_report_names_every_green_thread_its_wait_and_its_origin() {
    let reader = Builder::new().name("reader").spawn(never).unwrap();
    let line = line!() - 1;
    let joiner = Builder::new().name("joiner").spawn(move || reader.join().unwrap()).unwrap();
    let said = report(|| joiner.join().unwrap());
    let at = line!() - 1;
    assert!(said.starts_with("deadlock: "), "{said}");
    assert!(said.contains("green thread 'reader' waits for a letter from nobody"), "{said}");
    assert!(said.contains("green thread 'joiner' waits for green thread 'reader' to end"), "{said}");
    assert!(said.contains(&format!("spawned at tests/core/deadlock.rs:{line}")), "{said}");
    assert!(said.contains("waits for green thread 'joiner' to end"), "{said}");
    assert!(said.contains(&format!("at tests/core/deadlock.rs:{at}")), "{said}");
}

#[test]
fn deadlock_leaves_the_hub_usable() {
    let stuck = spawn(never);
    for _ in 0..3 {
        report(never);
        assert_eq!(spawn(|| 3).join().unwrap(), 3);
    }
    assert!(!stuck.is_finished());
    shutdown();
    assert!(matches!(stuck.join(), Err(JoinError::Killed)));
}

#[test]
fn deadlock_is_reported_for_every_wait_of_the_root() {
    let stuck = || spawn(never);
    report(|| drop(join_all([stuck(), stuck()])));
    report(|| drop(as_completed([stuck()]).next()));
    report(|| join_everything());
    report(|| timeout(Duration::MAX, never).unwrap());
    shutdown();
}

#[test]
fn deadlock_is_reported_though_a_killed_green_thread_had_a_timer() {
    let sleeper = spawn(|| sleep(Duration::from_secs(3600)));
    let later = spawn_after(Duration::from_secs(3600), || ());
    yield_now();
    kill_all([sleeper, later]);
    timeout(Duration::from_secs(3600), || ()).unwrap();
    report(never);
}

#[test]
fn deadlock_is_not_reported_while_a_timer_runs() {
    let slow = spawn(|| sleep(Duration::from_millis(20)));
    slow.join().unwrap();
    spawn_after(Duration::from_millis(20), || ()).join().unwrap();
    let stuck = spawn(never);
    assert!(stuck.join_timeout(Duration::from_millis(20)).is_err());
}

#[test]
fn deadlock_is_not_reported_while_another_os_thread_has_a_handle() {
    let handle = Handle::current().unwrap();
    let ticket = std::rc::Rc::new(std::cell::Cell::new(None));
    let slot = ticket.clone();
    let waits = spawn(move || {
        let ticket = wait::ticket();
        slot.set(Some(ticket));
        wait::park(ticket, None, "the other OS thread");
    });
    yield_now();
    thread_local! {
        static TICKET: std::cell::Cell<Option<wait::Ticket>> = const { std::cell::Cell::new(None) };
    }
    TICKET.set(ticket.get());
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        handle.spawn(|| TICKET.take().unwrap().wake()).unwrap().join().unwrap()
    });
    waits.join().unwrap();
    assert!(other.join().unwrap());
    // All handles are gone now. A hub that sleeps notices that, too.
    let handle = Handle::current().unwrap();
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        drop(handle);
    });
    report(never);
    other.join().unwrap();
}

#[test]
fn deadlock_is_reported_though_a_wait_was_refused_before() {
    let (mut here, _there) = net::UnixStream::pair().unwrap();
    // An observer must not block: the call panics, and the observer is not called again.
    trace::observe(move |_| {
        let _ = std::io::Read::read(&mut here, &mut [0]);
    });
    spawn(yield_now).join().unwrap();
    report(never);
}
