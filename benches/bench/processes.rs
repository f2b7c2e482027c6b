//! Workloads with several processes.

use greenline_bench::emit_per;
use greenline_process::{Pool, Process, Queue};
use std::time::Instant;

/// Measures a queue: a child puts, this process gets.
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
    begun.get().expect("the child has begun");
    let start = Instant::now();
    for number in 0..n as u64 {
        let (first, second) = queue.get().expect("an open queue");
        assert_eq!((first, second), (number, number * number));
    }
    emit_per("queue", start, n);
    child.join().expect("a child of ours");
}

/// Measures a pool that calls a tiny function: first by one `apply` after the other, then by one `map`.
pub(crate) fn pool(n: usize) {
    fn increment(n: u64) -> u64 {
        n + 1
    }
    let pool = Pool::new(2).expect("a pool");
    pool.map(increment, 0..100).expect("workers that have begun");
    let start = Instant::now();
    for number in 0..n as u64 {
        assert_eq!(pool.apply(increment, (number,)), Ok(number + 1));
    }
    emit_per("apply", start, n);
    let start = Instant::now();
    let sum: u64 = pool.map(increment, 0..n as u64).expect("results").into_iter().sum();
    emit_per("map", start, n);
    assert_eq!(sum, n as u64 * (n as u64 + 1) / 2);
}
