//! A process with arguments that would loop forever. After a second it is terminated and joined. `join` returns the signal
//! that has ended it.
//!
//! Run with: `cargo run --release --example process_terminate [-- SECONDS]`

use greenline_process::Process;
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
    // The closure owns its arguments. The child has a copy of all memory.
    let (song, pause) = (String::from("the endless song"), Duration::from_millis(200));
    let child = Process::new(move || loops(&song, pause)).name("singer").start().expect("a process");
    println!("{} is process {}, alive: {}", child.name(), child.pid(), child.is_alive());
    sleep(patience);
    child.terminate().expect("it may be sent signals");
    // SIGTERM takes a moment to end the process. `join` waits for it.
    let code = child.join().expect("a child of ours");
    println!("{} has ended, alive: {}, exit code {code}", child.name(), child.is_alive());
}
