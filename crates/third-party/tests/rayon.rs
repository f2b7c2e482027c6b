//! rayon, unmodified, under the patch: the workers of a pool that is made on a hub are green threads of that hub.

#![cfg(feature = "patch")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use greenline::{patch, thread::Thread};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::threads::os_thread;

fn pool(workers: usize) -> ThreadPool {
    patch::all();
    ThreadPoolBuilder::new().num_threads(workers).thread_name(|n| format!("worker {n}")).build().unwrap()
}

#[test]
fn rayon_broadcast_runs_on_green_threads_of_one_os_thread() {
    let pool = pool(8);
    let seen = Mutex::new((HashSet::new(), HashSet::new(), HashSet::new()));
    // Each worker runs this, because each waits until all have.
    let places = pool.broadcast(|context| {
        let mut seen = seen.lock().unwrap();
        seen.0.insert(os_thread());
        seen.1.insert(thread::current().id());
        seen.2.insert(thread::current().name().unwrap().to_string());
        context.index()
    });
    assert_eq!(places, (0..8).collect::<Vec<_>>());
    let (os_threads, threads, names) = seen.into_inner().unwrap();
    assert_eq!(os_threads, HashSet::from([os_thread()]));
    assert_eq!(threads.len(), 8);
    assert_eq!(names, (0..8).map(|n| format!("worker {n}")).collect());
}

#[test]
fn rayon_install_computes_sums_sorts_and_filters() {
    let pool = pool(4);
    pool.install(|| {
        assert_eq!((1..=100_000u64).into_par_iter().sum::<u64>(), 5_000_050_000);
        let mut numbers: Vec<u32> = (0..20_000u32).map(|n| n.wrapping_mul(2_654_435_761) % 10_007).collect();
        let mut expected = numbers.clone();
        expected.sort_unstable();
        numbers.par_sort_unstable();
        assert!(numbers == expected);
        let even: Vec<u32> = (0..1000u32).into_par_iter().filter(|n| n % 2 == 0).collect();
        assert_eq!(even, (0..1000).step_by(2).collect::<Vec<_>>());
    });
}

#[test]
fn rayon_for_each_with_sleeps_overlaps() {
    let pool = pool(50);
    let start = Instant::now();
    pool.install(|| {
        (0..50).into_par_iter().with_max_len(1).for_each(|_| thread::sleep(Duration::from_millis(100)))
    });
    let took = start.elapsed();
    assert!(took < Duration::from_millis(50 * 100 / 2), "{took:?}");
}

#[test]
fn rayon_join_and_scope_nest() {
    fn fib(n: u32) -> u32 {
        if n < 2 {
            return n;
        }
        let (a, b) = rayon::join(|| fib(n - 1), || fib(n - 2));
        if n % 5 == 0 {
            thread::yield_now();
        }
        a + b
    }
    let pool = pool(4);
    assert_eq!(pool.install(|| fib(15)), 610);

    let count = AtomicUsize::new(0);
    pool.scope(|outer| {
        for _ in 0..10 {
            outer.spawn(|_| {
                rayon::scope(|inner| {
                    for n in 0..10 {
                        let count = &count;
                        inner.spawn(move |_| {
                            thread::sleep(Duration::from_micros(n * 20));
                            let sum: usize = (0..100usize).into_par_iter().sum();
                            count.fetch_add(sum, SeqCst);
                        });
                    }
                });
            });
        }
    });
    assert_eq!(count.into_inner(), 100 * 4950);
}

#[test]
fn rayon_spawn_and_install_work_while_the_owner_blocks_or_is_elsewhere() {
    let pool = Arc::new(pool(4));
    let (tx, rx) = mpsc::sync_channel(0);
    for n in 0..20u64 {
        let tx = tx.clone();
        pool.spawn(move || tx.send((0..=n).into_par_iter().sum::<u64>()).unwrap());
    }
    drop(tx);
    let mut sums: Vec<u64> = rx.iter().collect();
    sums.sort_unstable();
    assert_eq!(sums, (0..20).map(|n| n * (n + 1) / 2).collect::<Vec<_>>());

    // An OS thread without a hub, and a green thread of another hub, use the pool.
    let here = os_thread();
    for with_hub in [false, true] {
        let pool = pool.clone();
        let guest = Thread::new(move || {
            let asks = move || pool.install(|| (os_thread(), (0..1000u64).into_par_iter().sum::<u64>()));
            if with_hub {
                patch::all();
                thread::spawn(asks).join().unwrap()
            } else {
                asks()
            }
        });
        assert_eq!(guest.start().unwrap().join().unwrap(), (here, 499_500));
    }
}

#[test]
fn rayon_install_returns_a_panic_and_the_pool_goes_on() {
    let pool = pool(3);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        pool.install(|| {
            (0..100).into_par_iter().for_each(|n| {
                thread::yield_now();
                if n == 57 {
                    std::panic::resume_unwind(Box::new(n));
                }
            });
        });
    }));
    assert_eq!(*ended.unwrap_err().downcast::<i32>().unwrap(), 57);
    assert_eq!(pool.install(|| (0..10).into_par_iter().count()), 10);
}

#[test]
fn rayon_drop_of_a_pool_ends_its_workers() {
    struct Last(Arc<AtomicUsize>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    patch::all();
    let ended = Arc::new(AtomicUsize::new(0));
    let (last, began) = (Last(ended.clone()), Arc::new(AtomicBool::new(false)));
    let inside = began.clone();
    let exited = Arc::new(AtomicUsize::new(0));
    let exits = exited.clone();
    let pool = ThreadPoolBuilder::new()
        .num_threads(5)
        .exit_handler(move |_| {
            let _last = &last;
            exits.fetch_add(1, SeqCst);
        })
        .build()
        .unwrap();
    pool.spawn(move || inside.store(true, SeqCst));
    while !began.load(SeqCst) {
        thread::yield_now();
    }
    drop(pool);
    // No thread joins the workers. The handler is dropped with the last of them.
    while ended.load(SeqCst) == 0 {
        thread::yield_now();
    }
    assert_eq!(exited.load(SeqCst), 5);
    greenline::join_everything();
    assert_eq!(greenline::stats().alive, 0);
}
