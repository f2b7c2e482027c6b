//! The seams: policies that choose otherwise, and watching what happens.

use greenline::policy::{self, Policy, ReadyReason};
use greenline::trace::{self, Event};
use greenline::*;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

type Log<T> = Rc<RefCell<Vec<T>>>;

/// Picks by a generator of random numbers: the same seed, the same run.
struct Shuffle(Vec<GreenId>, u64);

impl Policy for Shuffle {
    fn ready(&mut self, green: GreenId, _: ReadyReason) {
        self.0.push(green);
    }
    fn pick(&mut self) -> Option<GreenId> {
        if self.0.is_empty() {
            return None;
        }
        self.1 = self.1.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let n = (self.1 >> 33) as usize % self.0.len();
        Some(self.0.swap_remove(n))
    }
}

fn order_under(seed: Option<u64>) -> Vec<(u32, u32)> {
    std::thread::spawn(move || {
        if let Some(seed) = seed {
            policy::install(Shuffle(Vec::new(), seed));
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
fn a_seed_replays_the_run_and_another_gives_another() {
    assert_eq!(order_under(Some(1)), order_under(Some(1)));
    assert_ne!(order_under(Some(1)), order_under(Some(2)));
    assert_ne!(order_under(Some(1)), order_under(None));
}

#[test]
fn those_that_were_ready_are_handed_over_to_a_new_policy() {
    let log: Log<u32> = Rc::default();
    for n in 0..4 {
        let log = log.clone();
        spawn(move || log.borrow_mut().push(n));
    }
    policy::install(Shuffle(Vec::new(), 3));
    join_everything();
    log.borrow_mut().sort_unstable();
    assert_eq!(*log.borrow(), [0, 1, 2, 3]);
}

/// Answers everybody twice, and somebody who has long ended.
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
fn a_policy_that_answers_wrongly_does_no_harm() {
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
fn the_reasons_are_told() {
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
fn an_observer_sees_the_life_of_a_green_thread_in_order() {
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
fn switches_alive_and_stacks_are_counted() {
    let before = stats();
    let all: Vec<_> = (0..10).map(|_| spawn(yield_now)).collect();
    assert_eq!(stats().alive, before.alive + 10);
    join_all(all);
    let after = stats();
    assert_eq!(after.alive, before.alive);
    assert!(after.switches - before.switches >= 20, "{after}");
    assert!(after.stacks <= 11, "ten yielded at once: {after}");
    join_all((0..1000).map(|_| spawn(|| ())));
    assert_eq!(stats().stacks, after.stacks, "those that do not block run on one stack, one after the other");
}

#[test]
fn an_observer_may_do_what_it_likes_without_harm() {
    // It sleeps, yields, spawns, and drops the handle of who has just ended.
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
    // It panics: it is called no more.
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
fn who_is_killed_by_an_observer_before_it_runs_never_does() {
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
fn a_policy_or_observer_that_is_replaced_is_dropped_where_it_may_use_the_hub() {
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
