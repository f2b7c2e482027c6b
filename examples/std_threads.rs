//! Ten thousand plain `std::thread`s on one OS thread: they sleep, and pass messages by `std::sync::mpsc`.
//!
//! Run with: `cargo run --release --example std_threads -- [THREADS] [--os]`
//!
//! Nothing in `work` knows of greenline; one line in `main` does. With `--os` the same is run without that line,
//! too, and both are put side by side. Each is run in a process of its own, since a patch cannot be undone.

use std::process::{Command, exit};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Each thread sleeps, sends its number, and waits to be answered: so there comes a moment when all are alive.
fn work(threads: usize) -> Figures {
    let (before, kernel_before) = (status("VmRSS:"), kernel());
    let start = Instant::now();
    let (to_main, inbox) = mpsc::channel();
    let handles: Vec<_> = (0..threads)
        .map(|number| {
            let to_main = to_main.clone();
            let spawned = thread::Builder::new().name(format!("thread {number}")).spawn(move || {
                let (reply, answer) = mpsc::channel();
                for step in 0..3 {
                    thread::sleep(Duration::from_micros((number * 7919 + step * 104_729) as u64 % 10_000));
                }
                to_main.send((number, reply)).expect("main waits for it");
                let doubled: usize = answer.recv().expect("main answers");
                assert_eq!(doubled, 2 * number);
                assert_eq!(thread::current().name(), Some(format!("thread {number}").as_str()));
                doubled
            });
            spawned.unwrap_or_else(|error| {
                eprintln!("only {number} threads can be had here: {error}");
                exit(1)
            })
        })
        .collect();
    let letters: Vec<(usize, mpsc::Sender<usize>)> = inbox.iter().take(threads).collect();
    let os_threads = status("Threads:");
    let kernel = kernel().saturating_sub(kernel_before) * 1024 / threads;
    for (number, reply) in letters {
        reply.send(2 * number).expect("it waits for the answer");
    }
    let sum: usize = handles.into_iter().map(|handle| handle.join().expect("no thread panics")).sum();
    assert_eq!(sum, threads * (threads - 1));
    let bytes = (status("VmHWM:") - before) * 1024 / threads;
    Figures { took: start.elapsed(), bytes, kernel, os_threads }
}

/// What it cost.
struct Figures {
    took: Duration,
    /// Resident memory, for each.
    bytes: usize,
    /// What the kernel has taken meanwhile for stacks of its own, page tables and records, for each; other
    /// programs' included.
    kernel: usize,
    os_threads: usize,
}

impl Figures {
    fn print(&self, who: &str) {
        let took = format!("{:.1?}", self.took);
        let Figures { bytes, kernel, os_threads, .. } = self;
        println!("{who:<14} {took:>10} {bytes:>13} B {kernel:>16} B {os_threads:>12}");
    }
}

fn main() {
    let (mut threads, mut both, mut only_os) = (10_000, false, false);
    for arg in std::env::args().skip(1) {
        match (arg.as_str(), arg.parse()) {
            ("--os", _) => both = true,
            ("--only-os", _) => only_os = true,
            (_, Ok(number)) if number > 0 => threads = number,
            _ => {
                eprintln!("usage: std_threads [THREADS] [--os]");
                exit(2)
            }
        }
    }
    if only_os {
        return work(threads).print("OS threads");
    }
    println!(
        "{threads:<6} threads {:>10} {:>15} {:>18} {:>12}",
        "time", "memory each", "kernel's, each", "OS threads"
    );
    if both {
        let me = std::env::current_exe().expect("this program has a file");
        let other = Command::new(me).args([threads.to_string().as_str(), "--only-os"]).status();
        if !other.is_ok_and(|status| status.success()) {
            println!("{:<14} cannot be had", "OS threads");
        }
    }

    // What debug builds have besides would be counted.
    greenline::watchdog::stop();
    greenline::patch::all();
    work(threads).print("green threads");
}

/// What the kernel says of this process.
fn status(key: &str) -> usize {
    number("/proc/self/status", key)
}

/// KiB that the kernel uses for what comes with threads, of all processes.
fn kernel() -> usize {
    ["KernelStack:", "PageTables:", "SUnreclaim:"].iter().map(|key| number("/proc/meminfo", key)).sum()
}

/// The number behind `key`.
fn number(file: &str, key: &str) -> usize {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
