//! A pool of worker processes. It runs several tasks at once, on all cores, and returns their results in order. If a
//! worker dies, its task has an error as result.
//!
//! Run with: `cargo run --release --example process_pool`

use greenline_process::Pool;
use std::time::{Duration, Instant};

/// Sleeps, and prints which process runs the task.
fn work(task: u32) -> (u32, u32) {
    std::thread::sleep(Duration::from_millis(100));
    println!("task {task}: done by process {}", std::process::id());
    (task, std::process::id())
}

fn divide(a: i64, b: i64) -> i64 {
    a / b
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("parent: process {}", std::process::id());
    let pool = Pool::new(3)?;

    let start = Instant::now();
    let done = pool.map(work, 1..=9)?;
    println!("9 tasks of 100 ms by 3 processes: {:.1?}", start.elapsed());
    println!("in order: {:?}", done.iter().map(|(task, _)| task).collect::<Vec<_>>());

    // The calls return without waiting. The results are asked for later.
    let halves = pool.apply_async(divide, (84, 2));
    let nothing = pool.apply_async(divide, (1, 0));
    println!("84 / 2 = {}", halves.get()?);
    println!("1 / 0: {}", nothing.get().unwrap_err());

    let dead = pool.apply(|| -> () { std::process::abort() }, ()).unwrap_err();
    println!("a task that aborts: {dead}");
    println!("the pool goes on: 10 / 5 = {}", pool.apply(divide, (10, 5))?);

    pool.close();
    pool.join()?;
    println!("all workers have ended");
    Ok(())
}
