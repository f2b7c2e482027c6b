//! A factory that makes chairs shows the difference between processes, OS threads and green threads. It uses all three.
//!
//! - A **process** is a production line. It has its own resources (here, a box of orders), and a fault in it stops no other
//!   line. Lines are built first: a process is made by `fork`, which needs a single OS thread.
//! - An **OS thread** is a worker on a line. The kernel decides when it runs. All workers of a line share its box.
//! - A **green thread** is one of the jobs that a worker has begun. While the glue of one chair dries, the worker goes on
//!   with another job. The kernel does not decide that: the worker changes jobs where it would have to wait.
//!
//! Run with: `cargo run --release --example factory [LINES] [WORKERS] [JOBS] [CHAIRS]`
//!
//! The arguments are the number of lines, workers per line, jobs per worker, chairs per line. The program prints which line,
//! worker and job glues each chair, and proves at the end that each chair was made exactly once.

use greenline_process::model::{Model, Worker};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::exit;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long the glue of a chair dries.
const DRYING: Duration = Duration::from_millis(30);

/// The numbers of everything.
#[derive(Clone, Copy)]
struct Plan {
    lines: u32,
    workers: u32,
    jobs: u32,
    chairs: u32,
}

/// A finished chair and its maker. This is the result that a line sends to the factory.
#[derive(Serialize, Deserialize)]
struct Chair {
    number: u32,
    process: u32,
    thread: u32,
    green: String,
}

/// The orders of one line. Its workers share them, because they share the line's memory. Each line has its own.
type Orders = Arc<Mutex<Vec<u32>>>;

/// Runs one line: hires its workers and waits for them.
fn line(line: u32, plan: Plan) -> Vec<Chair> {
    let first = line * plan.chairs + 1;
    let orders: Orders = Arc::new(Mutex::new((first..first + plan.chairs).rev().collect()));
    let workers = (1..=plan.workers).map(|_| {
        let orders = orders.clone();
        hire(Model::OsThread, move || worker(plan, &orders))
    });
    gather(workers.collect())
}

/// Runs one worker: begins several jobs and changes between them.
fn worker(plan: Plan, orders: &Orders) -> Vec<Chair> {
    let jobs = (1..=plan.jobs).map(|_| {
        let orders = orders.clone();
        hire(Model::Green, move || job(&orders))
    });
    gather(jobs.collect())
}

/// Runs one job: makes one chair after another until the box of orders is empty.
fn job(orders: &Orders) -> Vec<Chair> {
    let mut done = Vec::new();
    // The lock is released before the body of the loop: it is not held while the glue dries.
    while let Some(number) = orders.lock().ok().and_then(|mut orders| orders.pop()) {
        let chair = Chair { number, process: std::process::id(), thread: tid(), green: green() };
        println!(
            "chair {number:>3}: glued on line {}, by worker {}, as job {}",
            chair.process, chair.thread, chair.green
        );
        // The glue dries. The worker goes on with another of its jobs meanwhile.
        std::thread::sleep(DRYING);
        done.push(chair);
    }
    done
}

/// Starts a worker of any model. If that fails, the program ends.
fn hire(model: Model, f: impl FnOnce() -> Vec<Chair> + Send + 'static) -> Worker<Vec<Chair>> {
    model.spawn(f).unwrap_or_else(|error| {
        eprintln!("no {} can be started: {error}", model.name());
        exit(1)
    })
}

/// Waits for all workers, and returns the chairs that they have made.
fn gather(workers: Vec<Worker<Vec<Chair>>>) -> Vec<Chair> {
    let chairs = workers.into_iter().map(|worker| {
        let model = worker.model();
        worker.join().unwrap_or_else(|error| {
            eprintln!("a {model} failed: {error}");
            exit(1)
        })
    });
    chairs.flatten().collect()
}

fn main() {
    let plan = arguments().unwrap_or_else(|wrong| {
        eprintln!(
            "{wrong}\nusage: factory [LINES] [WORKERS] [JOBS] [CHAIRS]    (2, 2, 3 and 12 if not given; CHAIRS a line)"
        );
        exit(2)
    });

    // From here on, `std::thread::sleep` in a green thread lets the other green threads run. `job` calls plain std.
    greenline::patch::all();

    let start = Instant::now();
    let lines = (0..plan.lines).map(|number| hire(Model::Process, move || line(number, plan)));
    let chairs = gather(lines.collect());
    report(plan, &chairs, start.elapsed());
}

/// Prints how many chairs each job has made, and checks that all chairs are there.
fn report(plan: Plan, chairs: &[Chair], took: Duration) {
    let mut made: BTreeMap<(u32, u32), BTreeMap<&str, u32>> = BTreeMap::new();
    for chair in chairs {
        *made.entry((chair.process, chair.thread)).or_default().entry(&chair.green).or_default() += 1;
    }
    println!();
    for ((process, thread), jobs) in made {
        let jobs: Vec<String> = jobs.iter().map(|(job, chairs)| format!("job {job}: {chairs}")).collect();
        println!("line {process}, worker {thread}: chairs by {}", jobs.join(", "));
    }

    let all = u64::from(plan.lines) * u64::from(plan.chairs);
    let mut numbers: Vec<u64> = chairs.iter().map(|chair| chair.number.into()).collect();
    numbers.sort_unstable();
    let sum: u64 = numbers.iter().sum();
    println!(
        "\n{} chairs, whose numbers add up to {sum}; 1 + ... + {all} is {}",
        numbers.len(),
        all * (all + 1) / 2
    );
    if !numbers.iter().copied().eq(1..=all) {
        eprintln!("chairs are missing or were made twice");
        exit(1);
    }
    println!("each chair was made exactly once");
    println!("the glue dried for {:.1?} in total, and the program took {took:.1?}", DRYING * all as u32);
}

/// Returns the kernel's id of this OS thread.
fn tid() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    link.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
}

/// Returns the hub's id of this green thread. Each OS thread has a hub and ids of its own.
fn green() -> String {
    greenline::current().id().to_string()
}

fn arguments() -> Result<Plan, String> {
    let mut given = std::env::args().skip(1);
    let mut number = |what: &str, default: u32| match given.next().map(|text| (text.parse(), text)) {
        None => Ok(default),
        Some((Ok(number @ 1..=1000), _)) => Ok(number),
        Some((_, text)) => Err(format!("{what} is a whole number from 1 to 1000, not '{text}'")),
    };
    let plan = Plan {
        lines: number("LINES", 2)?,
        workers: number("WORKERS", 2)?,
        jobs: number("JOBS", 3)?,
        chairs: number("CHAIRS", 12)?,
    };
    match given.next() {
        None => Ok(plan),
        Some(extra) => Err(format!("unexpected argument '{extra}'")),
    }
}
