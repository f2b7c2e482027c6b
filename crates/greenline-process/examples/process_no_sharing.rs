//! Processes share no memory. Each has its own copy of every variable, and does not see what another writes. OS threads and
//! green threads share all memory.
//!
//! Run with: `cargo run --release --example process_no_sharing`

use greenline::{spawn, thread::Thread};
use greenline_process::Process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static COUNTER: AtomicU32 = AtomicU32::new(0);

fn add_ten(who: &str) {
    let before = COUNTER.fetch_add(10, Relaxed);
    println!("{who:14} from {before} to {}, at address {:p}", COUNTER.load(Relaxed), &COUNTER);
}

fn main() {
    // The process comes first, because it cannot be started beside OS threads.
    let child = Process::new(|| add_ten("the process:")).start().expect("a process");
    child.join().expect("a child of ours");
    println!("main sees {}", COUNTER.load(Relaxed));
    let thread = Thread::new(|| add_ten("the OS thread:")).start().expect("an OS thread");
    thread.join().expect("no panic");
    println!("main sees {}", COUNTER.load(Relaxed));
    spawn(|| add_ten("the green one:")).join().expect("no panic");
    println!("main sees {}", COUNTER.load(Relaxed));
}
