//! A process that loops beside its parent: two processes with two ids and two loops, at the same time.
//!
//! Run with: `cargo run --release --example process_loop`

use greenline_process::{Process, current, parent};
use std::{thread::sleep, time::Duration};

fn count() {
    let (name, pid) = (current().name().to_owned(), std::process::id());
    for n in 1..=5 {
        println!("{name} ({pid}): {n}");
        sleep(Duration::from_millis(50));
    }
}

fn main() {
    let child = Process::new(|| {
        println!("my parent is process {}", parent().expect("it was started").pid());
        count();
    });
    let child = child.name("child").start().expect("a process");
    count();
    println!("the child's exit code: {}", child.join().expect("a child of ours"));
}
