//! Lottery scheduling: each turn is drawn, and each green thread wins in proportion to its tickets.
//!
//! Source: Waldspurger and Weihl, "Lottery Scheduling", OSDI 1994.

use crate::support::random::Random;
use greenline::policy::{Attributes, Policy, ReadyReason};
use greenline::{Builder, GreenId, install_policy, join_all, yield_now};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

struct Lottery {
    ready: Vec<GreenId>,
    tickets: HashMap<GreenId, u64>,
    random: Random,
}

impl Policy for Lottery {
    fn spawned(&mut self, green: GreenId, attributes: &Attributes) {
        self.tickets.insert(green, attributes.tickets.into());
    }
    fn ready(&mut self, green: GreenId, _: ReadyReason) {
        self.ready.push(green);
    }
    fn pick(&mut self) -> Option<GreenId> {
        let total: u64 = self.ready.iter().map(|green| self.tickets[green]).sum();
        let mut drawn = self.random.below(total.max(1));
        let winner = self.ready.iter().position(|green| {
            let tickets = self.tickets[green];
            let wins = drawn < tickets;
            drawn = drawn.saturating_sub(tickets);
            wins
        });
        winner.map(|winner| self.ready.swap_remove(winner))
    }
    fn gone(&mut self, green: GreenId) {
        self.tickets.remove(&green);
    }
}

#[test]
fn lottery_shares_turns_by_tickets_within_four_standard_deviations() {
    install_policy(Lottery { ready: Vec::new(), tickets: HashMap::new(), random: Random::new(1) });
    let turns = Rc::new(RefCell::new([0u32; 3]));
    join_all((0..3).map(|n| {
        let (turns, tickets) = (turns.clone(), n as u32 + 1);
        let work = move || {
            while turns.borrow().iter().sum::<u32>() < 6000 {
                turns.borrow_mut()[n] += 1;
                yield_now();
            }
        };
        Builder::new().attributes(Attributes { tickets, ..Attributes::default() }).spawn(work).unwrap()
    }));
    // The standard deviation of 6,000 draws is at most sqrt(6000 / 4), which is 39.
    for (got, want) in turns.borrow().iter().zip([1000, 2000, 3000]) {
        assert!(got.abs_diff(want) <= 4 * 39, "{turns:?}");
    }
}
