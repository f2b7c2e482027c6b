//! What processes do together.

use crate::measure::emit_per;
use greenline::process::{Process, Queue};
use std::time::Instant;

/// One process puts, this one gets.
pub(crate) fn queue(n: usize) {
    let queue = Queue::<(u64, u64)>::new().expect("a queue");
    let (inside, begun) = (queue.clone(), Queue::<()>::new().expect("a queue"));
    let has_begun = begun.clone();
    let child = Process::new(move || {
        has_begun.put(()).expect("room for one");
        for number in 0..n as u64 {
            inside.put((number, number * number)).expect("an open queue");
        }
    });
    let child = child.start().expect("a process");
    begun.get().expect("it begins");
    let start = Instant::now();
    for number in 0..n as u64 {
        let (first, second) = queue.get().expect("an open queue");
        assert_eq!((first, second), (number, number * number));
    }
    emit_per("queue", start, n);
    child.join().expect("a child of ours");
}
