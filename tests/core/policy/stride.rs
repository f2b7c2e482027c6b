//! Stride scheduling: each green thread runs in proportion to its tickets, to within one turn.
//!
//! Source: Waldspurger and Weihl, "Stride Scheduling", 1995.

use greenline::policy::{Attributes, Policy, ReadyReason, StopReason};
use greenline::{Builder, GreenId, install_policy, join_all, yield_now};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

#[derive(Default)]
struct Stride {
    /// Ready green threads, by the virtual time at which each runs next.
    queue: BTreeSet<(u64, GreenId)>,
    /// Virtual time and stride of each green thread.
    passes: HashMap<GreenId, (u64, u64)>,
}

impl Policy for Stride {
    fn spawned(&mut self, green: GreenId, attributes: &Attributes) {
        // Latecomers start at the time of those that are ready, or they would run alone to catch up.
        let now = self.queue.first().map_or(0, |first| first.0);
        self.passes.insert(green, (now, 1_000_000 / u64::from(attributes.tickets)));
    }
    fn ready(&mut self, green: GreenId, _: ReadyReason) {
        self.queue.insert((self.passes[&green].0, green));
    }
    fn pick(&mut self) -> Option<GreenId> {
        self.queue.pop_first().map(|(_, green)| green)
    }
    fn ran(&mut self, green: GreenId, _: Duration, _: StopReason) {
        let (pass, stride) = self.passes.get_mut(&green).expect("the hub has called spawned");
        *pass += *stride;
    }
    fn gone(&mut self, green: GreenId) {
        self.passes.remove(&green);
    }
}

#[test]
fn stride_shares_turns_by_tickets_to_within_one() {
    install_policy(Stride::default());
    let turns = Rc::new(RefCell::new([0u32; 3]));
    join_all((0..3).map(|n| {
        let (turns, tickets) = (turns.clone(), n as u32 + 1);
        let work = move || {
            while turns.borrow().iter().sum::<u32>() < 600 {
                turns.borrow_mut()[n] += 1;
                yield_now();
            }
        };
        Builder::new().attributes(Attributes { tickets, ..Attributes::default() }).spawn(work).unwrap()
    }));
    for (got, want) in turns.borrow().iter().zip([100, 200, 300]) {
        assert!(got.abs_diff(want) <= 1, "{turns:?}");
    }
}
