//! A process with arguments, that would loop for ever: after a second it is terminated, and then joined, which tells by
//! which signal it has ended.
//!
//! Run with: `cargo run --example process_terminate [-- SECONDS]`

use greenline::process::Process;
use std::{thread::sleep, time::Duration};

fn loops(song: &str, pause: Duration) {
    for verse in 1.. {
        println!("{song}, verse {verse}");
        sleep(pause);
    }
}

fn main() {
    let seconds = std::env::args().nth(1).map_or(1.0, |n| n.parse().expect("a number of seconds"));
    // The closure takes its arguments along: the child has a copy of all that there is.
    let (song, pause) = (String::from("the endless song"), Duration::from_millis(200));
    let child = Process::new(move || loops(&song, pause)).name("singer").start().expect("a process");
    println!("{} is process {}, alive: {}", child.name(), child.pid(), child.is_alive());
    sleep(Duration::from_secs_f64(seconds));
    child.terminate().expect("it may be sent signals");
    // Asked to end: that takes a moment, for which `join` waits.
    let code = child.join().expect("a child of ours");
    println!("{} has ended, alive: {}, exit code {code}", child.name(), child.is_alive());
}
