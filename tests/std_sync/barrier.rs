//! `Barrier`.

use crate::placement::*;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;

#[test]
fn barrier_wait_releases_all_at_once_and_selects_one_leader() {
    in_each_placement(|placement| {
        const N: usize = 5;
        let barrier = Barrier::new(N);
        let (arrived, leaders) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let led = leaders.clone();
        placement.run(N, move |number| {
            for round in 0..40 {
                if (round + number) % 7 == 0 {
                    thread::yield_now();
                }
                arrived.fetch_add(1, SeqCst);
                if barrier.wait().is_leader() {
                    leaders.fetch_add(1, SeqCst);
                }
                assert!(arrived.load(SeqCst) >= (round + 1) * N, "{placement:?}: too early");
                barrier.wait();
            }
        });
        assert_eq!(led.load(SeqCst), 40, "{placement:?}");
    });
}
