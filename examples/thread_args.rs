//! Arguments and result of an OS thread. A closure captures the arguments, and `join` returns the result. The closure owns
//! its arguments (`move`), or borrows them from the thread that waits for it (`std::thread::scope`), or shares them with
//! other threads (`Arc`).
//!
//! Run with: `cargo run --release --example thread_args -- [N]`, for N threads (default 3).

use greenline::thread::Thread;
use std::sync::Arc;

fn sing(singer: u32, song: &str, verses: &[&str]) -> usize {
    let sung: usize = verses.iter().map(|verse| verse.len()).sum();
    println!("singer {singer} sings '{song}': {}", verses.join(", "));
    sung
}

fn main() {
    let given = std::env::args().nth(1).unwrap_or("3".into());
    let Ok(count @ 1..=1000) = given.parse() else {
        eprintln!("'{given}' is not a number from 1 to 1000\nusage: thread_args [N]    (default: 3)");
        std::process::exit(2);
    };
    let verses = Arc::new(vec!["la", "la la", "la la la"]);
    let threads: Vec<_> = (1..=count)
        .map(|singer| {
            // Each thread owns a number and a text, and shares the verses.
            let (song, verses) = (format!("song {singer}"), verses.clone());
            Thread::new(move || sing(singer, &song, &verses)).name(format!("singer-{singer}")).start()
        })
        .map(|started| started.expect("an OS thread"))
        .collect();
    for thread in threads {
        let name = thread.name().to_owned();
        println!("{name} has sung {} letters", thread.join().expect("no panic"));
    }
}
