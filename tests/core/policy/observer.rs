//! `trace::observe`: the events, and what an observer may do.

use greenline::trace::{self, Event};
use greenline::*;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn observe_reports_spawn_run_park_ready_finish_in_order() {
    let log: Rc<RefCell<Vec<Event>>> = Rc::default();
    let inside = log.clone();
    trace::observe(move |event| inside.borrow_mut().push(event));
    let handle = spawn(|| sleep(Duration::from_millis(1)));
    let id = handle.id();
    handle.join().unwrap();
    trace::stop_observing();
    spawn(|| ()).join().unwrap();
    let of_it: Vec<Event> = log
        .borrow()
        .iter()
        .filter(|event| match **event {
            Event::Spawn(of) | Event::Ready(of) | Event::Run(of) | Event::Park(of) | Event::Finish(of) => {
                of == id
            }
            _ => false,
        })
        .copied()
        .collect();
    assert_eq!(
        of_it,
        [
            Event::Spawn(id),
            Event::Run(id),
            Event::Park(id),
            Event::Ready(id),
            Event::Run(id),
            Event::Finish(id)
        ]
    );
}

#[test]
fn observe_survives_an_observer_that_blocks_spawns_or_panics() {
    // It sleeps, yields, spawns, and drops the handle of the green thread that has just finished.
    let slot: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
    let inside = slot.clone();
    trace::observe(move |event| {
        sleep(Duration::from_micros(10));
        std::thread::sleep(Duration::from_micros(10));
        yield_now();
        assert_eq!(&*current().name(), "hub");
        if let Event::Finish(_) = event {
            inside.borrow_mut().take();
        }
    });
    let handle = spawn(|| sleep(Duration::from_millis(1)));
    *slot.borrow_mut() = Some(handle);
    join_everything();
    assert_eq!(spawn(|| 5).join().unwrap(), 5);
    assert!(slot.borrow().is_none());
    // An observer that panics is not called again.
    let calls = Rc::new(std::cell::Cell::new(0));
    let count = calls.clone();
    trace::observe(move |_| {
        count.set(count.get() + 1);
        panic!("an observer");
    });
    assert_eq!(spawn(|| 5).join().unwrap(), 5);
    assert_eq!(calls.get(), 1);
}

#[test]
fn kill_by_an_observer_before_the_first_run_keeps_the_body_from_running() {
    let (ran, killed) = (Rc::new(std::cell::Cell::new(false)), Rc::new(RefCell::new(None::<JoinHandle<()>>)));
    let (inside, victim) = (ran.clone(), killed.clone());
    trace::observe(move |event| {
        let victim = victim.borrow();
        if let Some(victim) = victim.as_ref().filter(|victim| event == Event::Run(victim.id())) {
            assert!(victim.kill());
        }
    });
    *killed.borrow_mut() = Some(spawn(move || inside.set(true)));
    yield_now();
    trace::stop_observing();
    assert!(matches!(killed.take().unwrap().join(), Err(JoinError::Killed)));
    assert!(!ran.get());
}
