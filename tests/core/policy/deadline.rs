//! Earliest deadline first: the ready green thread whose work has to be done soonest runs.
//!
//! Source: Liu and Layland, "Scheduling Algorithms for Multiprogramming in a Hard-Real-Time Environment", 1973.

use greenline::policy::{Attributes, Policy, ReadyReason};
use greenline::{Builder, GreenId, install_policy, join_all, yield_now};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The deadline of a green thread that has none.
const FAR: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct EarliestDeadline {
    ready: BTreeSet<(Instant, GreenId)>,
    /// Relative deadline, and the absolute one of the work in hand.
    deadlines: HashMap<GreenId, (Duration, Instant)>,
}

impl Policy for EarliestDeadline {
    fn spawned(&mut self, green: GreenId, attributes: &Attributes) {
        let relative = attributes.deadline.unwrap_or(FAR);
        self.deadlines.insert(green, (relative, Instant::now() + relative));
    }
    fn ready(&mut self, green: GreenId, why: ReadyReason) {
        let (relative, absolute) = self.deadlines.get_mut(&green).expect("the hub has called spawned");
        // A green thread that only yielded is still at the same work.
        if why != ReadyReason::Yielded {
            *absolute = Instant::now() + *relative;
        }
        self.ready.insert((*absolute, green));
    }
    fn pick(&mut self) -> Option<GreenId> {
        self.ready.pop_first().map(|(_, green)| green)
    }
    fn gone(&mut self, green: GreenId) {
        self.deadlines.remove(&green);
    }
}

#[test]
fn earliest_deadline_runs_first_and_keeps_the_processor_across_yields() {
    install_policy(EarliestDeadline::default());
    let order = Rc::new(RefCell::new(String::new()));
    join_all([('a', 3000), ('b', 1000), ('c', 2000)].map(|(name, seconds)| {
        let order = order.clone();
        let work = move || {
            order.borrow_mut().push(name);
            yield_now();
            order.borrow_mut().push(name);
        };
        let attributes = Attributes { deadline: Some(Duration::from_secs(seconds)), ..Attributes::default() };
        Builder::new().attributes(attributes).spawn(work).unwrap()
    }));
    assert_eq!(*order.borrow(), "bbccaa");
}
