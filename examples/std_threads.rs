//! Ten thousand plain `std::thread`s on one OS thread. They sleep, and send messages by `std::sync::mpsc`.
//!
//! Run with: `cargo run --release --example std_threads -- [THREADS] [--os]`
//!
//! `work` contains nothing of greenline. One line in `main` patches. With `--os` the example also runs without that line,
//! and prints both results. Each run has a process of its own, because a patch cannot be undone.

use std::process::{Command, exit};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Starts threads. Each sleeps, sends its number, and waits for an answer. So at one moment all of them are alive.
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
                to_main.send((number, reply)).expect("main receives it");
                let doubled: usize = answer.recv().expect("main answers");
                assert_eq!(doubled, 2 * number);
                assert_eq!(thread::current().name(), Some(format!("thread {number}").as_str()));
                doubled
            });
            spawned.unwrap_or_else(|error| {
                eprintln!("only {number} threads could be started: {error}");
                exit(1)
            })
        })
        .collect();
    let messages: Vec<(usize, mpsc::Sender<usize>)> = inbox.iter().take(threads).collect();
    let os_threads = status("Threads:");
    let kernel = kernel().saturating_sub(kernel_before) * 1024 / threads;
    for (number, reply) in messages {
        reply.send(2 * number).expect("the thread waits for the answer");
    }
    let sum: usize = handles.into_iter().map(|handle| handle.join().expect("no thread panics")).sum();
    assert_eq!(sum, threads * (threads - 1));
    let bytes = (status("VmHWM:") - before) * 1024 / threads;
    Figures { took: start.elapsed(), bytes, kernel, os_threads }
}

/// Cost of the threads.
struct Figures {
    took: Duration,
    /// Resident memory per thread, in bytes.
    bytes: usize,
    /// Memory per thread, in bytes, that the kernel has allocated meanwhile for its own stacks, page tables and records.
    /// It includes that of other programs.
    kernel: usize,
    os_threads: usize,
}

impl Figures {
    fn print(&self, kind: &str) {
        let took = format!("{:.1?}", self.took);
        let Figures { bytes, kernel, os_threads, .. } = self;
        println!("{kind:<14} {took:>10} {bytes:>13} B {kernel:>16} B {os_threads:>12}");
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
        let me = std::env::current_exe().expect("the path of this program");
        let other = Command::new(me).args([threads.to_string().as_str(), "--only-os"]).status();
        if !other.is_ok_and(|status| status.success()) {
            println!("{:<14} cannot be started", "OS threads");
        }
    }

    // Debug builds have a watchdog, whose OS thread would be counted.
    greenline::watchdog::stop();
    greenline::patch::all();
    work(threads).print("green threads");
}

/// Returns a number that the kernel reports for this process.
fn status(key: &str) -> usize {
    number("/proc/self/status", key)
}

/// Returns how many KiB the kernel uses for threads, of all processes.
fn kernel() -> usize {
    ["KernelStack:", "PageTables:", "SUnreclaim:"].iter().map(|key| number("/proc/meminfo", key)).sum()
}

/// Returns the number after `key` in a file.
fn number(file: &str, key: &str) -> usize {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
