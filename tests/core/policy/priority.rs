//! Fixed priorities: the most urgent ready green thread runs, and equals take turns.

use greenline::policy::{Attributes, Policy, ReadyReason};
use greenline::{Builder, GreenId, install_policy, join_all, yield_now};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

#[derive(Default)]
struct Priority {
    ready: BTreeSet<(Reverse<i32>, u64, GreenId)>,
    priorities: HashMap<GreenId, i32>,
    arrivals: u64,
}

impl Policy for Priority {
    fn spawned(&mut self, green: GreenId, attributes: &Attributes) {
        self.priorities.insert(green, attributes.priority);
    }
    fn ready(&mut self, green: GreenId, _: ReadyReason) {
        self.arrivals += 1;
        self.ready.insert((Reverse(self.priorities[&green]), self.arrivals, green));
    }
    fn pick(&mut self) -> Option<GreenId> {
        self.ready.pop_first().map(|(.., green)| green)
    }
    fn gone(&mut self, green: GreenId) {
        self.priorities.remove(&green);
    }
    fn peek(&self, ahead: usize) -> Option<GreenId> {
        self.ready.iter().nth(ahead).map(|(.., green)| *green)
    }
}

#[test]
fn priority_runs_urgent_green_threads_first_and_equals_in_turn() {
    install_policy(Priority::default());
    let order = Rc::new(RefCell::new(String::new()));
    join_all([('a', 1), ('b', 3), ('c', 2), ('d', 3)].map(|(name, priority)| {
        let order = order.clone();
        let work = move || {
            order.borrow_mut().push(name);
            yield_now();
            order.borrow_mut().push(name);
        };
        Builder::new().attributes(Attributes { priority, ..Attributes::default() }).spawn(work).unwrap()
    }));
    assert_eq!(*order.borrow(), "bdbdccaa");
}

#[test]
fn peek_of_a_custom_policy_is_used_without_harm_among_many() {
    install_policy(Priority::default());
    let done = join_all((0..200).map(|n| {
        let work = move || {
            (0..5).for_each(|_| yield_now());
            n
        };
        Builder::new()
            .attributes(Attributes { priority: n % 3, ..Attributes::default() })
            .spawn(work)
            .unwrap()
    }));
    assert_eq!(done.into_iter().map(Result::unwrap).sum::<i32>(), 199 * 100);
}
