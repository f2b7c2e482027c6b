//! A race: several OS threads change one variable. A load and a store are two steps, and between them another thread may
//! do the same two steps. Then an update is lost. If a lock is held over both steps, or one instruction does both, no
//! update is lost.
//!
//! Run with: `cargo run --release --example thread_race -- [UPDATES]`, for so many updates by each of four threads (default
//! 1000000).

use greenline::thread::Thread;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};

const THREADS: u64 = 4;

/// Starts all threads. At the same time, each calls `update` so often.
fn from_all(updates: u64, update: impl Fn() + Clone + Send + 'static) {
    let ready = Arc::new(Barrier::new(THREADS as usize));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (update, ready) = (update.clone(), ready.clone());
            let many = move || {
                ready.wait();
                (0..updates).for_each(|_| update());
            };
            Thread::new(many).start().expect("an OS thread")
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

fn main() {
    let given = std::env::args().nth(1).unwrap_or("1000000".into());
    let Ok(updates) = given.parse::<u32>().map(u64::from) else {
        eprintln!("'{given}' is not a number of updates\nusage: thread_race [UPDATES]    (default: 1000000)");
        std::process::exit(2);
    };
    println!("expected:             {}", THREADS * updates);

    let counter = Arc::new(AtomicU64::new(0));
    let shared = counter.clone();
    from_all(updates, move || {
        let seen = shared.load(Relaxed);
        // Here another thread may store a value, which the next line overwrites.
        shared.store(seen + 1, Relaxed);
    });
    let count = counter.load(Relaxed);
    println!("load, then store:     {count} ({} lost)", THREADS * updates - count);

    let counter = Arc::new(Mutex::new(0));
    let shared = counter.clone();
    from_all(updates, move || *shared.lock().expect("no panic") += 1);
    println!("with a lock:          {}", counter.lock().expect("no panic"));

    let counter = Arc::new(AtomicU64::new(0));
    let shared = counter.clone();
    from_all(updates, move || _ = shared.fetch_add(1, Relaxed));
    println!("by one instruction:   {}", counter.load(Relaxed));
}
