//! Benchmarks: runs one workload and prints one line of `metric value unit` triplets. Other runtimes have programs with the
//! same workloads.
//!
//! Run with: `cargo run --release --example bench -- WORKLOAD ARGS`
//!
//! | workload      | does                                                      | metrics                        |
//! |---------------|-----------------------------------------------------------|--------------------------------|
//! | `yield N T`   | T tasks meet at a gate, then each yields N times          | ns a yield                     |
//! | `yield-own N T` | the same, each with a thread control block of its own    | ns a yield                     |
//! | `pair N T`    | the same by bare corosensei: the baseline of `yield`      | ns a resume and suspend        |
//! | `spawn N`     | batches of 1000 empty tasks spawned, then joined          | ns a task                      |
//! | `spawn-std N` | `std::thread::spawn` and join, N times, OS threads and then patched | ns a thread, each    |
//! | `yield-std N T` | `std::thread::yield_now`, patched, as `yield`            | ns a yield                     |
//! | `skynet`      | 10-ary tree of tasks, 1,000,000 leaves                    | ms                             |
//! | `pingpong N`  | two threads, two of `std::sync::mpsc`'s channels, patched | ns there and back              |
//! | `mutex N T`, `mutex-held N T` | T threads lock std's mutex N times, and yield under it | ns each           |
//! | `sleepers N`  | N tasks sleep a second, timed from before the first spawn | s above one, bytes a task      |
//! | `touch N`     | N guarded stacks made and one page of each touched        | s: the baseline of `sleepers`  |
//! | `joinall N`   | N tasks, ten random sleeps each                           | ms above the longest one's sum |
//! | `echo-server PORT` | echoes on 127.0.0.1, a green thread per connection, until killed | printed by the client |
//! | `echo-server-mt PORT` | the same by two hubs on two OS threads          | printed by the client              |
//! | `echo-server-std PORT` | the same by `std::net` and `std::thread`, patched | printed by the client            |
//! | `churn N`     | N connections in a row, by Unix socket and TCP, by std, patched | ns each, descriptors and KiB left |
//! | `queue N`     | one process puts N small tuples into a queue, another gets them | ns a message             |
//! | `pool N`      | N calls of a tiny function by 2 workers, one by one; by `map` | ns a call, each            |
//!
//! Exit status 3: unknown workload. 2: bad arguments.

mod baseline;
mod echo;
mod processes;
mod threads;

use greenline_bench::{Delays, Gate, Memory, emit, emit_per};
use std::rc::Rc;
use std::time::{Duration, Instant};

const BATCH: usize = 1000;
const LEAVES: u64 = 1_000_000;

fn main() {
    let mut args = std::env::args().skip(1);
    let workload = args.next().unwrap_or_else(|| usage("which workload?"));
    let numbers: Vec<usize> = args
        .map(|text| text.parse().unwrap_or_else(|_| usage(&format!("'{text}' is not a number"))))
        .collect();
    match (workload.as_str(), numbers.as_slice()) {
        ("yield", &[n, tasks]) => yields(n, tasks),
        ("yield-own", &[n, tasks]) => {
            greenline::patch::locks().unwrap_or_else(|error| usage(&error.to_string()));
            yields(n, tasks);
        }
        ("yield-std", &[n, tasks]) => threads::yields(n, tasks),
        ("spawn-std", &[n]) => threads::spawns(n),
        ("pingpong", &[n]) => threads::pingpong(n),
        ("mutex", &[n, tasks]) => threads::mutex(n, tasks, false),
        ("mutex-held", &[n, tasks]) => threads::mutex(n, tasks, true),
        ("pair", &[n, tasks]) => baseline::pairs(n, tasks),
        ("spawn", &[n]) => spawns(n),
        ("skynet", &[]) => skynet(),
        ("sleepers", &[n]) => sleepers(n),
        ("touch", &[n]) => baseline::touch(n),
        ("joinall", &[n]) => joinall(n),
        ("echo-server", &[port]) => echo::serve(port),
        ("echo-server-mt", &[port]) => echo::serve_by_two(port),
        ("echo-server-std", &[port]) => echo::serve_std(port),
        ("churn", &[n]) => echo::churn(n),
        ("queue", &[n]) => processes::queue(n),
        ("pool", &[n]) => processes::pool(n),
        (
            "yield" | "yield-own" | "yield-std" | "pair" | "spawn" | "spawn-std" | "skynet" | "sleepers"
            | "pingpong" | "mutex" | "mutex-held" | "touch" | "joinall" | "echo-server" | "echo-server-mt"
            | "echo-server-std" | "churn" | "queue" | "pool",
            _,
        ) => usage("wrong number of arguments"),
        (other, _) => {
            eprintln!("unknown workload '{other}'");
            std::process::exit(3)
        }
    }
}

fn usage(wrong: &str) -> ! {
    eprintln!(
        "{wrong}\nusage: bench yield N T | yield-own N T | yield-std N T | pair N T | spawn N | spawn-std N | \
         skynet | pingpong N | mutex N T | mutex-held N T | sleepers N | touch N | joinall N | \
         echo-server PORT | echo-server-mt PORT | echo-server-std PORT | churn N | queue N | pool N"
    );
    std::process::exit(2)
}

fn yields(n: usize, tasks: usize) {
    let gate = Rc::new(Gate::new(tasks));
    let body = |gate: Rc<Gate>| {
        move || {
            gate.arrive();
            while !gate.is_open() {
                greenline::yield_now();
            }
            for _ in 0..n {
                greenline::yield_now();
            }
            gate.leave();
        }
    };
    greenline::join_all((0..tasks).map(|_| greenline::spawn(body(gate.clone()))));
    gate.emit("yield", n * tasks);
}

fn spawns(n: usize) {
    let start = Instant::now();
    let mut handles = Vec::with_capacity(BATCH);
    for _ in 0..n / BATCH {
        handles.extend((0..BATCH).map(|_| greenline::spawn(|| {})));
        for handle in handles.drain(..) {
            handle.join().expect("an empty task returns");
        }
    }
    emit_per("spawn", start, n);
}

fn skynet() {
    fn node(first: u64, size: u64) -> u64 {
        if size == 1 {
            return first;
        }
        let part = size / 10;
        let children: [_; 10] =
            std::array::from_fn(|n| greenline::spawn(move || node(first + n as u64 * part, part)));
        children.into_iter().map(|child| child.join().expect("a node returns")).sum()
    }
    let start = Instant::now();
    let sum = greenline::spawn(|| node(0, LEAVES)).join().expect("the root returns");
    assert_eq!(sum, LEAVES * (LEAVES - 1) / 2);
    emit(&[("skynet", start.elapsed().as_secs_f64() * 1e3, "ms")]);
}

fn sleepers(n: usize) {
    let memory = Memory::before();
    let start = Instant::now();
    let handles: Vec<_> =
        (0..n).map(|_| greenline::spawn(|| greenline::sleep(Duration::from_secs(1)))).collect();
    for handle in handles {
        handle.join().expect("a sleeper returns");
    }
    let over = start.elapsed().as_secs_f64() - 1.0;
    emit(&[("sleepers_over", over, "s"), ("rss_per_task", memory.per_task(n), "B")]);
}

fn joinall(n: usize) {
    let delays = Rc::new(Delays::new(n));
    let start = Instant::now();
    let body = |task: usize, delays: Rc<Delays>| {
        move || {
            for step in 0..10 {
                greenline::sleep(delays.of(task, step));
            }
        }
    };
    let handles: Vec<_> = (0..n).map(|task| greenline::spawn(body(task, delays.clone()))).collect();
    for handle in greenline::join_all(handles) {
        handle.expect("a sleeper returns");
    }
    delays.emit(start);
}
