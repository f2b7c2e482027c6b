//! A variable that several OS threads change. To read it and then to write it are two steps, in between which another
//! thread takes the same ones: updates get lost. With a lock held over both steps, or with an instruction that does
//! both, none is.
//!
//! Run with: `cargo run --release --example thread_race [-- UPDATES]`: by each of four threads, a million if not said.

use greenline::thread::Thread;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};

const THREADS: u64 = 4;

/// Has all threads call `update` so often, at the same time.
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
        eprintln!(
            "'{given}' is no number of updates\nusage: thread_race [UPDATES]    (a million, if not given)"
        );
        std::process::exit(2);
    };
    println!("expected:             {}", THREADS * updates);

    let counter = Arc::new(AtomicU64::new(0));
    let shared = counter.clone();
    from_all(updates, move || {
        let seen = shared.load(Relaxed);
        // Here another thread may come in, and store what we overwrite.
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
