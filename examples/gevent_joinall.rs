//! Two green threads count to ten, each sleeping for a random time between: gevent's `spawn` and `joinall`
//! with everything patched. They sleep by plain `std::thread::sleep`, on one OS thread.
//!
//! Run with: `cargo run --release --example gevent_joinall [N_TASKS] [N_STEPS] [SEED]`
//!
//! The lines interleave, and the run takes as long as the slower one, not as long as both.

use std::time::{Duration, Instant};

/// A small generator of random numbers (splitmix64): the same seed gives the same run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Up to 50 ms.
    fn nap(&mut self) -> Duration {
        Duration::from_micros(self.next() % 50_000)
    }
}

/// Knows nothing of green threads. Answers how long it slept.
fn work(name: &str, steps: u64, mut random: Random) -> Duration {
    let mut slept = Duration::ZERO;
    for step in 1..=steps {
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
            builder.spawn(move || work(&name, steps, random)).expect("the default stack size is a good one")
        })
        .collect();
    let slept: Vec<Duration> =
        greenline::join_all(handles).into_iter().map(|slept| slept.expect("work does not panic")).collect();

    let sum: Duration = slept.iter().sum();
    let longest = slept.iter().max().copied().unwrap_or_default();
    println!("took {:.0?}; the slowest slept {longest:.0?}, all together {sum:.0?}", start.elapsed());
    println!("OS threads: {}, switches: {}", os_threads(), greenline::stats().switches);
}

/// How many OS threads there are, without the watchdog that debug builds have.
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
        Some(text) => text.parse().map_err(|_| format!("{what} is a whole number, not '{text}'")),
    };
    let all = (number("N_TASKS", 2)?, number("N_STEPS", 10)?, number("SEED", now())?);
    match given.next() {
        None => Ok(all),
        Some(extra) => Err(format!("what is '{extra}'?")),
    }
}
