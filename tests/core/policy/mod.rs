//! Policies from outside the crate: each of the modules is one policy of the textbooks in one file, with its property as
//! the test.

mod deadline;
mod lottery;
mod multilevel;
mod observer;
mod priority;
mod stride;

use crate::support::random::Random;
use greenline::policy::{self, Attributes, Policy, ReadyReason, StopReason};
use greenline::trace;
use greenline::*;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

type Log<T> = Rc<RefCell<Vec<T>>>;

/// Picks by pseudorandom numbers. The same seed gives the same run.
struct Shuffle(Vec<GreenId>, Random);

impl Policy for Shuffle {
    fn ready(&mut self, green: GreenId, _: ReadyReason) {
        self.0.push(green);
    }
    fn pick(&mut self) -> Option<GreenId> {
        if self.0.is_empty() {
            return None;
        }
        let n = self.1.below(self.0.len() as u64) as usize;
        Some(self.0.swap_remove(n))
    }
}

fn order_under(seed: Option<u64>) -> Vec<(u32, u32)> {
    std::thread::spawn(move || {
        if let Some(seed) = seed {
            install_policy(Shuffle(Vec::new(), Random::new(seed)));
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
fn policy_with_a_seed_replays_the_run() {
    assert_eq!(order_under(Some(1)), order_under(Some(1)));
    assert_ne!(order_under(Some(1)), order_under(Some(2)));
    assert_ne!(order_under(Some(1)), order_under(None));
}

#[test]
fn install_policy_hands_over_the_ready() {
    let log: Log<u32> = Rc::default();
    for n in 0..4 {
        let log = log.clone();
        spawn(move || log.borrow_mut().push(n));
    }
    install_policy(Shuffle(Vec::new(), Random::new(3)));
    join_everything();
    log.borrow_mut().sort_unstable();
    assert_eq!(*log.borrow(), [0, 1, 2, 3]);
}

/// Returns every green thread twice, and one that finished long ago.
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
fn pick_of_a_wrong_green_thread_is_skipped() {
    install_policy(Stutter::default());
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
fn ready_gets_the_reason() {
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
    install_policy(Notes(policy::Fifo::default(), log.clone()));
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
fn stats_counts_switches_alive_and_stacks() {
    let before = stats();
    let all: Vec<_> = (0..10).map(|_| spawn(yield_now)).collect();
    assert_eq!(stats().alive, before.alive + 10);
    join_all(all);
    let after = stats();
    assert_eq!(after.alive, before.alive);
    assert!(after.switches - before.switches >= 20, "{after}");
    assert!(after.stacks <= 11, "ten yielded at once: {after}");
    join_all((0..1000).map(|_| spawn(|| ())));
    assert_eq!(
        stats().stacks,
        after.stacks,
        "green threads that do not block run on one stack, one after the other"
    );
}

#[test]
fn install_policy_and_observe_drop_the_former_where_it_may_use_the_hub() {
    struct Holds(policy::Fifo, #[allow(dead_code)] JoinHandle<()>);
    impl Policy for Holds {
        fn ready(&mut self, green: GreenId, why: ReadyReason) {
            self.0.ready(green, why);
        }
        fn pick(&mut self) -> Option<GreenId> {
            self.0.pick()
        }
    }
    install_policy(Holds(policy::Fifo::default(), spawn(|| ())));
    install_policy(policy::Fifo::default());
    let handle = spawn(|| ());
    trace::observe(move |_| {
        let _kept = &handle;
    });
    trace::stop_observing();
    join_everything();
}

/// Writes down what the hub reports, and picks in FIFO order.
struct Journal(policy::Fifo, Log<String>);

impl Policy for Journal {
    fn ready(&mut self, green: GreenId, why: ReadyReason) {
        self.0.ready(green, why);
    }
    fn pick(&mut self) -> Option<GreenId> {
        self.0.pick()
    }
    fn spawned(&mut self, green: GreenId, attributes: &Attributes) {
        self.1.borrow_mut().push(format!("{green} spawned with {} tickets", attributes.tickets));
    }
    fn ran(&mut self, green: GreenId, elapsed: Duration, why: StopReason) {
        assert_eq!(elapsed, Duration::ZERO, "the policy does not want the time");
        self.1.borrow_mut().push(format!("{green} ran: {why:?}"));
    }
    fn gone(&mut self, green: GreenId) {
        self.1.borrow_mut().push(format!("{green} gone"));
    }
}

#[test]
fn spawned_ran_and_gone_report_each_green_thread_in_order() {
    let log: Log<String> = Rc::default();
    let before = Builder::new().attributes(Attributes { tickets: 7, ..Attributes::default() }).spawn(|| ());
    install_policy(Journal(policy::Fifo::default(), log.clone()));
    let during = spawn(|| {
        yield_now();
        sleep(Duration::from_micros(1));
    });
    before.unwrap().join().unwrap();
    during.join().unwrap();
    yield_now();
    let seen: Vec<String> = log.take().into_iter().filter(|line| !line.starts_with('0')).collect();
    assert_eq!(
        seen,
        [
            "1 spawned with 7 tickets",
            "2 spawned with 1 tickets",
            "1 ran: Finished",
            "1 gone",
            "2 ran: Yielded",
            "2 ran: Parked",
            "2 ran: Finished",
            "2 gone"
        ]
    );
}

#[test]
fn ran_reports_the_root_too() {
    let log: Log<String> = Rc::default();
    install_policy(Journal(policy::Fifo::default(), log.clone()));
    yield_now();
    sleep(Duration::from_micros(1));
    yield_now();
    assert_eq!(
        *log.borrow(),
        ["0 spawned with 1 tickets", "0 ran: Yielded", "0 ran: Parked", "0 ran: Yielded"]
    );
}
