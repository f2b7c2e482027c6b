//! A pool of processes that report to `main` through the queue of a manager: each worker puts its progress into the queue
//! while it works, and `main` prints the messages as they come.
//!
//! Run with: `cargo run --release --example process_pool_manager_queue [N_WORKERS] [N_TASKS] [N_STEPS]`
//!
//! The lines of different workers interleave, and a green thread of `main` counts meanwhile: a green thread that waits for
//! the queue or for the pool keeps no other from running. In Python this is `Pool` with `Manager().Queue()`, which does
//! not work in a program that gevent has patched.
//!
//! Next: `crates/greenline-process/src/manager/mod.rs`, how a manager works.

use greenline_process::manager::{GetError, Queue};
use greenline_process::{Manager, Pool};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The report of a worker after one step.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    task: u64,
    step: u64,
    /// Process id of the worker.
    worker: u32,
}

/// Runs in a worker. The proxy of the queue is an argument like any other, and is serialised with them.
fn work(queue: Queue<Progress>, task: u64, steps: u64) -> u64 {
    for step in 1..=steps {
        std::thread::sleep(Duration::from_millis(5 + (task * 7 + step * 3) % 10));
        let progress = Progress { task, step, worker: std::process::id() };
        queue.put(progress).expect("the manager exists as long as main runs");
    }
    task * steps
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (workers, tasks, steps) = arguments().unwrap_or_else(|wrong| {
        eprintln!("{wrong}\nusage: process_pool_manager_queue [N_WORKERS] [N_TASKS] [N_STEPS]    (4, 6 and 5, if not given)");
        std::process::exit(2);
    });

    greenline::patch::all();
    let manager = Manager::start()?;
    let pool = Pool::new(workers)?;

    let ticks = Rc::new(Cell::new(0u64));
    let counting = ticks.clone();
    let ticker = greenline::spawn(move || {
        loop {
            counting.set(counting.get() + 1);
            greenline::sleep(Duration::from_millis(1));
        }
    });

    let start = Instant::now();
    let queue = manager.queue::<Progress>(0)?;
    let results: Vec<_> =
        (1..=tasks).map(|task| pool.apply_async(work, (queue.clone(), task, steps))).collect();
    pool.close();

    let seen = drain(&queue, tasks * steps)?;
    let sum = results.into_iter().map(|result| result.get()).sum::<Result<u64, _>>()?;
    pool.join()?;
    ticker.kill();

    assert!(queue.is_empty()?);
    println!(
        "{tasks} tasks by {} workers, {} messages, sum {sum}, in {:?}; main ticked {} times meanwhile",
        seen.workers,
        seen.messages,
        start.elapsed(),
        ticks.get()
    );
    Ok(())
}

/// The number of messages that `main` has received, and of the workers that sent them.
struct Seen {
    messages: u64,
    workers: usize,
}

/// Receives and prints that many messages.
fn drain(queue: &Queue<Progress>, messages: u64) -> Result<Seen, GetError> {
    let mut workers = std::collections::BTreeSet::new();
    for _ in 0..messages {
        let Progress { task, step, worker } = queue.get()?;
        println!("task{task}: step {step}, by process {worker}");
        workers.insert(worker);
    }
    Ok(Seen { messages, workers: workers.len() })
}

fn arguments() -> Result<(usize, u64, u64), String> {
    let mut numbers = [4, 6, 5];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.len() > numbers.len() {
        return Err("too many arguments".into());
    }
    for (number, argument) in numbers.iter_mut().zip(arguments) {
        *number = argument.parse().map_err(|_| format!("'{argument}' is not a number"))?;
    }
    match numbers {
        [0, ..] => Err("a pool needs a worker".into()),
        [workers, tasks, steps] => Ok((workers as usize, tasks, steps)),
    }
}
