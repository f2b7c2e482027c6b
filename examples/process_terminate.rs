//! A process with arguments, that would loop for ever: after a second it is terminated, and then joined, which tells by
//! which signal it has ended.
//!
//! Run with: `cargo run --release --example process_terminate [-- SECONDS]`

use greenline::process::Process;
use std::{thread::sleep, time::Duration};

fn loops(song: &str, pause: Duration) {
    for verse in 1.. {
        println!("{song}, verse {verse}");
        sleep(pause);
    }
}

fn main() {
    let given = std::env::args().nth(1).unwrap_or("1".into());
    let Some(patience) = given.parse().ok().and_then(|n| Duration::try_from_secs_f64(n).ok()) else {
        eprintln!(
            "'{given}' is no number of seconds\nusage: process_terminate [SECONDS]    (1, if not given)"
        );
        std::process::exit(2);
    };
    // The closure takes its arguments along: the child has a copy of all that there is.
    let (song, pause) = (String::from("the endless song"), Duration::from_millis(200));
    let child = Process::new(move || loops(&song, pause)).name("singer").start().expect("a process");
    println!("{} is process {}, alive: {}", child.name(), child.pid(), child.is_alive());
    sleep(patience);
    child.terminate().expect("it may be sent signals");
    // Asked to end: that takes a moment, for which `join` waits.
    let code = child.join().expect("a child of ours");
    println!("{} has ended, alive: {}, exit code {code}", child.name(), child.is_alive());
}
