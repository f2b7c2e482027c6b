//! A multi-level feedback queue: a green thread that computes sinks, one that waits stays on top.
//!
//! Source: Arpaci-Dusseau, "Operating Systems: Three Easy Pieces", chapter 8.

use greenline::policy::{Policy, ReadyReason, StopReason};
use greenline::{GreenId, install_policy, join_all, spawn, wait, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Running time on a level, after which a green thread sinks to the next.
const ALLOTMENT: Duration = Duration::from_millis(10);
const LEVELS: usize = 3;

#[derive(Default)]
struct Multilevel {
    queues: [VecDeque<GreenId>; LEVELS],
    /// Level, and time used on it.
    used: HashMap<GreenId, (usize, Duration)>,
}

impl Policy for Multilevel {
    fn ready(&mut self, green: GreenId, _: ReadyReason) {
        let level = self.used.entry(green).or_default().0;
        self.queues[level].push_back(green);
    }
    fn pick(&mut self) -> Option<GreenId> {
        self.queues.iter_mut().find_map(VecDeque::pop_front)
    }
    fn ran(&mut self, green: GreenId, elapsed: Duration, _: StopReason) {
        let (level, used) = self.used.entry(green).or_default();
        *used += elapsed;
        if *used >= ALLOTMENT && *level + 1 < LEVELS {
            (*level, *used) = (*level + 1, Duration::ZERO);
        }
    }
    fn gone(&mut self, green: GreenId) {
        self.used.remove(&green);
    }
    fn wants_time(&self) -> bool {
        true
    }
}

#[test]
fn multilevel_runs_the_interactive_before_those_that_compute() {
    install_policy(Multilevel::default());
    let order = Rc::new(RefCell::new(String::new()));
    let (waiting, done) = (Rc::new(Cell::new(None::<wait::Ticket>)), Rc::new(Cell::new(false)));
    let interactive = {
        let (order, waiting, done) = (order.clone(), waiting.clone(), done.clone());
        spawn(move || {
            while !done.get() {
                let ticket = wait::ticket();
                waiting.set(Some(ticket));
                wait::park(ticket, None, "a request");
                order.borrow_mut().push('i');
            }
        })
    };
    let compute = |name| {
        let (order, waiting) = (order.clone(), waiting.clone());
        spawn(move || {
            for _ in 0..6 {
                let start = Instant::now();
                while start.elapsed() < 2 * ALLOTMENT {
                    std::hint::spin_loop();
                }
                order.borrow_mut().push(name);
                if let Some(ticket) = waiting.take() {
                    ticket.wake();
                }
                yield_now();
            }
        })
    };
    join_all([compute('x'), compute('y')]);
    done.set(true);
    if let Some(ticket) = waiting.take() {
        ticket.wake();
    }
    interactive.join().unwrap();
    // Once both have sunk, the interactive one runs between any two turns of the others.
    let order = order.borrow();
    let sunk = &order[order.len() / 2..];
    assert!(!sunk.contains("xy") && !sunk.contains("yx"), "{order}");
}
