//! Scheduling policies from outside the crate, trace events, and statistics.

mod support;

use greenline::policy::{self, Policy, ReadyReason};
use greenline::trace::{self, Event};
use greenline::*;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use support::random::Random;

type Log<T> = Rc<RefCell<Vec<T>>>;

/// Policy that picks at random. The same seed gives the same run.
struct Shuffle(Vec<GreenId>, Random);

impl Policy for Shuffle {
    fn ready(&mut self, green: GreenId, _: ReadyReason) {
        self.0.push(green);
    }
    fn pick(&mut self) -> Option<GreenId> {
        if self.0.is_empty() {
            return None;
        }
        let n = self.1.below(self.0.len() as u64);
        Some(self.0.swap_remove(n as usize))
    }
}

fn order_under(seed: Option<u64>) -> Vec<(u32, u32)> {
    std::thread::spawn(move || {
        if let Some(seed) = seed {
            policy::install(Shuffle(Vec::new(), Random::new(seed)));
        }
        let log: Log<(u32, u32)> = Rc::default();
        let all: Vec<_> = (0..5)
            .map(|who| {
                let log = log.clone();
                spawn(move || {
                    for turn in 0..5 {
                        log.borrow_mut().push((who, turn));
                        yield_now();
                    }
                })
            })
            .collect();
        join_all(all);
        log.take()
    })
    .join()
    .unwrap()
}

#[test]
fn policy_shuffle_replays_the_run_of_the_same_seed() {
    assert_eq!(order_under(Some(1)), order_under(Some(1)));
    assert_ne!(order_under(Some(1)), order_under(Some(2)));
    assert_ne!(order_under(Some(1)), order_under(None));
}

#[test]
fn policy_install_hands_the_ready_green_threads_over() {
    let log: Log<u32> = Rc::default();
    for n in 0..4 {
        let log = log.clone();
        spawn(move || log.borrow_mut().push(n));
    }
    policy::install(Shuffle(Vec::new(), Random::new(3)));
    join_everything();
    log.borrow_mut().sort_unstable();
    assert_eq!(*log.borrow(), [0, 1, 2, 3]);
}

/// Policy that picks each green thread twice, and one that has ended long ago.
#[derive(Default)]
struct Stutter(std::collections::VecDeque<GreenId>, Option<GreenId>);

impl Policy for Stutter {
    fn ready(&mut self, green: GreenId, _: ReadyReason) {
        self.1.get_or_insert(green);
        self.0.push_back(green);
        self.0.push_back(green);
        self.0.extend(self.1);
    }
    fn pick(&mut self) -> Option<GreenId> {
        self.0.pop_front()
    }
}

#[test]
fn policy_pick_of_wrong_ids_does_no_harm() {
    policy::install(Stutter::default());
    let all = join_all((0..50).map(|n| {
        spawn(move || {
            yield_now();
            sleep(Duration::from_micros(n * 10));
            n
        })
    }));
    assert_eq!(all.into_iter().map(Result::unwrap).sum::<u64>(), 1225);
}

#[test]
fn policy_ready_gets_the_reason() {
    struct Notes(policy::Fifo, Log<ReadyReason>);
    impl Policy for Notes {
        fn ready(&mut self, green: GreenId, why: ReadyReason) {
            self.1.borrow_mut().push(why);
            self.0.ready(green, why);
        }
        fn pick(&mut self) -> Option<GreenId> {
            self.0.pick()
        }
    }
    let log: Log<ReadyReason> = Rc::default();
    policy::install(Notes(policy::Fifo::default(), log.clone()));
    let handle = spawn(|| {
        yield_now();
        sleep(Duration::from_millis(1));
    });
    handle.join().unwrap();
    assert_eq!(
        *log.borrow(),
        [ReadyReason::New, ReadyReason::Yielded, ReadyReason::Expired, ReadyReason::Woken]
    );
}

#[test]
fn trace_observe_sees_the_events_of_a_green_thread_in_order() {
    let log: Log<Event> = Rc::default();
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
fn stats_count_switches_alive_and_stacks() {
    let before = stats();
    let all: Vec<_> = (0..10).map(|_| spawn(yield_now)).collect();
    assert_eq!(stats().alive, before.alive + 10);
    join_all(all);
    let after = stats();
    assert_eq!(after.alive, before.alive);
    assert!(after.switches - before.switches >= 20, "{after}");
    assert!(after.stacks <= 11, "ten were in their bodies at once: {after}");
    join_all((0..1000).map(|_| spawn(|| ())));
    assert_eq!(stats().stacks, after.stacks, "green threads that do not block reuse one stack");
}

#[test]
fn trace_observe_may_sleep_spawn_drop_and_panic() {
    // The observer sleeps, yields, and drops the handle of the green thread that has just ended.
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
fn trace_observe_that_kills_at_the_run_event_prevents_the_first_run() {
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

#[test]
fn policy_install_and_stop_observing_drop_the_old_one_where_it_may_use_the_hub() {
    struct Holds(policy::Fifo, #[allow(dead_code)] JoinHandle<()>);
    impl Policy for Holds {
        fn ready(&mut self, green: GreenId, why: ReadyReason) {
            self.0.ready(green, why);
        }
        fn pick(&mut self) -> Option<GreenId> {
            self.0.pick()
        }
    }
    policy::install(Holds(policy::Fifo::default(), spawn(|| ())));
    policy::install(policy::Fifo::default());
    let handle = spawn(|| ());
    trace::observe(move |_| {
        let _kept = &handle;
    });
    trace::stop_observing();
    join_everything();
}
