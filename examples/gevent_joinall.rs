//! gevent's `spawn` and `joinall`: two green threads, `work1` and `work2`, print the steps 0 to 9, and sleep for a random
//! time after each. They call plain `std::thread::sleep`, which is patched, on one OS thread.
//!
//! Run with: `cargo run --release --example gevent_joinall -- [N_TASKS] [N_STEPS] [SEED]`
//!
//! The lines interleave. The run takes as long as the slower green thread sleeps, not as long as both.

use std::time::{Duration, Instant};

/// Generator of pseudo-random numbers (a linear congruential one). The same seed gives the same run.
struct Random(u64);

impl Random {
    /// Returns a time below 50 ms.
    fn nap(&mut self) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((self.0 >> 33) % 50_000)
    }
}

/// Prints the steps. It contains nothing of green threads. Returns how long it slept.
fn work(name: &str, steps: u64, mut random: Random) -> Duration {
    let mut slept = Duration::ZERO;
    for step in 0..steps {
        println!("{name}: {step}");
        let nap = random.nap();
        std::thread::sleep(nap);
        slept += nap;
    }
    slept
}

fn main() {
    let (tasks, steps, seed) = arguments().unwrap_or_else(|wrong| {
        eprintln!(
            "{wrong}\nusage: gevent_joinall [N_TASKS] [N_STEPS] [SEED]    (2, 10, and the time if not given)"
        );
        std::process::exit(2);
    });

    greenline::patch::all();

    let start = Instant::now();
    let handles: Vec<_> = (1..=tasks)
        .map(|n| {
            let name = format!("work{n}");
            let random = Random(seed.wrapping_add(n.wrapping_mul(0x2545_f491_4f6c_dd1d)));
            let builder = greenline::Builder::new().name(name.as_str());
            builder.spawn(move || work(&name, steps, random)).expect("the default stack size is valid")
        })
        .collect();
    let slept: Vec<Duration> =
        greenline::join_all(handles).into_iter().map(|slept| slept.expect("work does not panic")).collect();

    let sum: Duration = slept.iter().sum();
    let longest = slept.iter().max().copied().unwrap_or_default();
    println!("took {:.0?}; the slowest slept {longest:.0?}, all slept {sum:.0?} in total", start.elapsed());
    println!("OS threads: {}, switches: {}", os_threads(), greenline::stats().switches);
}

/// Returns the number of OS threads, without the watchdog of debug builds.
fn os_threads() -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let names = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.filter(|name| !name.as_ref().is_ok_and(|name| name.starts_with("greenline-watch"))).count()
}

fn arguments() -> Result<(u64, u64, u64), String> {
    let now = || std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
    let mut given = std::env::args().skip(1);
    let mut number = |what: &str, default: u64| match given.next() {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("{what} must be a whole number, not '{text}'")),
    };
    let all = (number("N_TASKS", 2)?, number("N_STEPS", 10)?, number("SEED", now())?);
    match given.next() {
        None => Ok(all),
        Some(extra) => Err(format!("unexpected argument '{extra}'")),
    }
}
