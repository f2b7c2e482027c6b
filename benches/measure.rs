//! The gate, the delays and the measurements of the workloads in `bench/`. The programs of other runtimes use the same ones.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Prints the line of results.
pub fn emit(items: &[(&str, f64, &str)]) {
    let items: Vec<String> =
        items.iter().map(|(metric, value, unit)| format!("{metric} {value:.4} {unit}")).collect();
    println!("{}", items.join(" "));
}

/// Prints the time since `start`, in nanoseconds an operation.
pub fn emit_per(metric: &str, start: Instant, operations: usize) {
    emit(&[(metric, start.elapsed().as_nanos() as f64 / operations as f64, "ns")]);
}

/// Place where all tasks meet, so that the time of spawning is not measured.
pub struct Gate {
    total: usize,
    arrived: Cell<usize>,
    left: Cell<usize>,
    opened: Cell<Option<Instant>>,
    closed: Cell<Option<Instant>>,
}

impl Gate {
    /// Returns a gate that opens when `total` tasks have arrived.
    pub fn new(total: usize) -> Gate {
        let (arrived, left) = (Cell::new(0), Cell::new(0));
        Gate { total, arrived, left, opened: Cell::new(None), closed: Cell::new(None) }
    }

    /// Counts the calling task. The last one opens the gate.
    pub fn arrive(&self) {
        self.arrived.set(self.arrived.get() + 1);
        if self.is_open() {
            self.opened.set(Some(Instant::now()));
        }
    }

    /// Returns whether all tasks have arrived.
    pub fn is_open(&self) -> bool {
        self.arrived.get() >= self.total
    }

    /// Counts the calling task out. The last one ends the measurement.
    pub fn leave(&self) {
        self.left.set(self.left.get() + 1);
        if self.left.get() == self.total {
            self.closed.set(Some(Instant::now()));
        }
    }

    /// Prints the time from the opening to the last departure, in nanoseconds an operation.
    pub fn emit(&self, metric: &str, operations: usize) {
        let (Some(opened), Some(closed)) = (self.opened.get(), self.closed.get()) else { return };
        emit(&[(metric, (closed - opened).as_nanos() as f64 / operations as f64, "ns")]);
    }
}

fn splitmix64(x: u64) -> u64 {
    let mut x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Ten sleeps of 0 to 10 ms for each task, the same for every runtime, and the largest sum of one task.
pub struct Delays {
    nanos: Vec<u32>,
    ideal_ms: f64,
}

impl Delays {
    /// Returns the sleeps of that many tasks.
    pub fn new(tasks: usize) -> Delays {
        let nanos: Vec<u32> = (0..tasks as u64 * 10).map(|n| (splitmix64(n) % 10_000_000) as u32).collect();
        let sums = nanos.chunks(10).map(|task| task.iter().map(|&delay| u64::from(delay)).sum::<u64>());
        let ideal_ms = sums.max().unwrap_or(0) as f64 / 1e6;
        Delays { nanos, ideal_ms }
    }

    /// Returns the task's sleep at that step.
    pub fn of(&self, task: usize, step: usize) -> Duration {
        Duration::from_nanos(u64::from(self.nanos[task * 10 + step]))
    }

    /// Prints the time since `start`, and by how much it is over the largest sum of one task.
    pub fn emit(&self, start: Instant) {
        let wall = start.elapsed().as_secs_f64() * 1e3;
        emit(&[
            ("joinall_over", wall - self.ideal_ms, "ms"),
            ("wall", wall, "ms"),
            ("ideal", self.ideal_ms, "ms"),
        ]);
    }
}

/// Resident memory at the start, in KiB. The result is the peak minus this.
pub struct Memory(u64);

impl Memory {
    /// Returns the memory that is resident now.
    pub fn before() -> Memory {
        Memory(status_kb("VmRSS:"))
    }

    /// Returns the bytes by which the peak is above the start, a task.
    pub fn per_task(&self, tasks: usize) -> f64 {
        (status_kb("VmHWM:").saturating_sub(self.0) * 1024) as f64 / tasks as f64
    }
}

/// Returns the KiB in the line of `/proc/self/status` that begins with `key`, or 0 if there is none.
pub fn status_kb(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
