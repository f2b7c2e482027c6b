//! Arguments for an OS thread, and what it returns: a closure takes the first along, and `join` answers the second. What
//! it takes it owns (`move`), or borrows from who waits for it (`std::thread::scope`), or shares with others (`Arc`).
//!
//! Run with: `cargo run --example thread_args [-- N]`: N threads, 3 if not said.

use greenline::thread::Thread;
use std::sync::Arc;

fn sing(singer: u32, song: &str, verses: &[&str]) -> usize {
    let sung: usize = verses.iter().map(|verse| verse.len()).sum();
    println!("singer {singer} sings '{song}': {}", verses.join(", "));
    sung
}

fn main() {
    let count = std::env::args().nth(1).map_or(3, |n| n.parse().expect("a number of threads"));
    let verses = Arc::new(vec!["la", "la la", "la la la"]);
    let threads: Vec<_> = (1..=count)
        .map(|singer| {
            // Each has its own: a number, a text, and a share in the verses.
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
