//! The measurements. Each is a function that takes a model and does the same with any of them.

use super::kernel::{self, Usage};
use super::lab::Effort;
use super::work::{self, Crash, Day, Gate};
use greenline_process::model::{Model, Worker, WorkerError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn failed(error: WorkerError) -> io::Error {
    io::Error::other(error)
}

fn join_all<T>(workers: Vec<Worker<T>>) -> io::Result<Vec<T>>
where
    T: serde::de::DeserializeOwned + Send + 'static,
{
    workers.into_iter().map(|worker| worker.join().map_err(failed)).collect()
}

/// Returns the median.
fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the nanoseconds to start and join a worker that does nothing.
pub(crate) fn start(model: Model, effort: Effort) -> io::Result<f64> {
    const BATCH: u32 = 10;
    let until = Instant::now() + Duration::from_millis(effort.of(500, 50));
    let mut rounds = Vec::new();
    while rounds.len() < 5 || Instant::now() < until {
        let start = Instant::now();
        for _ in 0..BATCH {
            model.spawn(|| ())?.join().map_err(failed)?;
        }
        rounds.push(start.elapsed().as_nanos() as f64 / f64::from(BATCH));
    }
    Ok(median(rounds))
}

/// Returns the nanoseconds for a byte from one worker to another, through a socket, on one core.
pub(crate) fn hand_over(model: Model, effort: Effort) -> io::Result<f64> {
    kernel::stay_on_this_core()?;
    let throws = effort.of(4000, 400);
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let (one, other) = UnixStream::pair()?;
        let gate = Gate::new()?;
        let players = [(one, true), (other, false)].map(|(ball, begins)| {
            let gate = gate.clone();
            model.spawn(move || {
                let played = gate.pass().and_then(|()| work::play(ball, throws, begins));
                played.map_err(|error| error.to_string())
            })
        });
        let players: Vec<_> = players.into_iter().collect::<io::Result<_>>()?;
        gate.await_all(2)?;
        let start = Instant::now();
        gate.open(2)?;
        join_all(players)?.into_iter().collect::<Result<(), String>>().map_err(io::Error::other)?;
        rounds.push(start.elapsed().as_nanos() as f64 / f64::from(2 * throws));
    }
    Ok(median(rounds))
}

/// Returns the nanoseconds per switch of two workers on one core that only yield to each other. The hub or the kernel counts
/// the switches that took place. The kernel may ignore a yield.
pub(crate) fn give_way(model: Model, effort: Effort) -> io::Result<f64> {
    kernel::stay_on_this_core()?;
    let times = effort.of(100_000, 10_000);
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let gate = Gate::new()?;
        let epoch = Instant::now();
        let start = || {
            let gate = gate.clone();
            model.spawn(move || {
                gate.pass().map(|()| work::give_way(epoch, times)).map_err(|error| error.to_string())
            })
        };
        let workers = vec![start()?, start()?];
        gate.await_all(2)?;
        let before = switches_of_hub(model);
        gate.open(2)?;
        let both: Vec<_> =
            join_all(workers)?.into_iter().collect::<Result<_, String>>().map_err(io::Error::other)?;
        let from = both.iter().map(|one| one.from).min().unwrap_or(0);
        let to = both.iter().map(|one| one.to).max().unwrap_or(0);
        let kernels: u64 = both.iter().map(|one| one.switches).sum();
        let switches = before.zip(switches_of_hub(model)).map_or(kernels, |(before, after)| after - before);
        rounds.push((to - from) as f64 / switches.max(1) as f64);
    }
    Ok(median(rounds))
}

/// Returns the number of the hub's switches, if workers are green threads.
fn switches_of_hub(model: Model) -> Option<u64> {
    (model == Model::Green).then(|| greenline::stats().switches)
}

/// Memory of one waiting worker, in bytes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) own: f64,
    pub(crate) kernels: f64,
}

pub(crate) fn memory(model: Model, effort: Effort) -> io::Result<Memory> {
    let workers = match model {
        Model::Green | Model::OsThread => effort.of(1000, 200),
        Model::Process => effort.of(150, 30),
    };
    kernel::raise_descriptor_limit();
    // The first worker creates what all workers share.
    park(model, 1)?.leave()?;
    let here = std::process::id();
    let (own, kernels) = (kernel::private_bytes(here), kernel::kernel_bytes());
    let crowd = park(model, workers)?;
    let kernels_now = kernel::kernel_bytes();
    let processes: BTreeSet<u32> = crowd.processes.iter().copied().chain([here]).collect();
    let own_now: u64 = processes.into_iter().map(kernel::private_bytes).sum();
    crowd.leave()?;
    let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / workers as f64;
    Ok(Memory { own: each(own_now, own), kernels: each(kernels_now, kernels) })
}

/// Workers that wait at a gate.
struct Crowd {
    gate: Gate,
    workers: Vec<Worker<Result<(), String>>>,
    processes: Vec<u32>,
}

impl Crowd {
    fn new() -> io::Result<Crowd> {
        Ok(Crowd { gate: Gate::new()?, workers: Vec::new(), processes: Vec::new() })
    }

    /// Starts one more worker, which goes to the gate.
    fn add(&mut self, model: Model) -> io::Result<()> {
        let gate = self.gate.clone();
        self.workers.push(model.spawn(move || gate.pass().map_err(|error| error.to_string()))?);
        Ok(())
    }

    fn arrive(&mut self) -> io::Result<()> {
        let missing = self.workers.len() - self.processes.len();
        self.processes.extend(self.gate.await_all(missing)?);
        Ok(())
    }

    fn leave(self) -> io::Result<()> {
        self.gate.open(self.workers.len())?;
        join_all(self.workers)?.into_iter().collect::<Result<(), String>>().map_err(io::Error::other)
    }
}

fn park(model: Model, workers: usize) -> io::Result<Crowd> {
    let mut crowd = Crowd::new()?;
    for _ in 0..workers {
        crowd.add(model)?;
    }
    crowd.arrive()?;
    Ok(crowd)
}

/// The number of workers that were alive at once.
#[derive(Serialize, Deserialize)]
pub(crate) struct Many {
    pub(crate) alive: usize,
    /// Why no more workers were started.
    pub(crate) end: String,
    /// Whether the start of another worker has failed.
    pub(crate) refused: bool,
}

pub(crate) fn many(model: Model, effort: Effort) -> io::Result<Many> {
    let cap = match model {
        Model::Green => effort.of(100_000, 10_000),
        Model::OsThread => effort.of(10_000, 1000),
        Model::Process => effort.of(2000, 100),
    };
    kernel::raise_descriptor_limit();
    let memory = kernel::available_bytes();
    let until = Instant::now() + Duration::from_secs(effort.of(5, 2));
    let mut crowd = Crowd::new()?;
    let (mut end, mut refused) = ("no more were requested".to_owned(), false);
    while crowd.workers.len() < cap {
        if let Err(error) = crowd.add(model) {
            (end, refused) = (error.to_string(), true);
            break;
        }
        // After every 100 workers: checks that all have begun, and that there is time and memory left.
        if crowd.workers.len() % 100 == 0 {
            crowd.arrive()?;
            if Instant::now() > until {
                end = "it took too long".to_owned();
                break;
            }
            if kernel::available_bytes() < memory / 2 {
                end = "half of the memory was used".to_owned();
                break;
            }
        }
    }
    crowd.arrive()?;
    let alive = crowd.workers.len();
    crowd.leave()?;
    Ok(Many { alive, end, refused })
}

/// The cost of a piece of work.
#[derive(Serialize, Deserialize)]
pub(crate) struct Took {
    /// Nanoseconds.
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    /// Number of the kernel's switches.
    pub(crate) voluntary: u64,
    pub(crate) involuntary: u64,
    /// Number of the hub's switches.
    pub(crate) hubs: u64,
}

/// The fastest of `ROUNDS` rounds counts. In the others, other programs had the cores.
const ROUNDS: usize = 3;

fn fastest(mut once: impl FnMut() -> io::Result<Took>) -> io::Result<Took> {
    let mut best = once()?;
    for _ in 1..ROUNDS {
        let next = once()?;
        if next.wall < best.wall {
            best = next;
        }
    }
    Ok(best)
}

/// Runs `job` in that many workers at once.
fn all_at_once(
    model: Model,
    workers: usize,
    job: impl Fn() -> u64 + Clone + Send + 'static,
) -> io::Result<Took> {
    let (before, hub) = (Usage::now(), switches_of_hub(model));
    let start = Instant::now();
    let workers: Vec<_> = (0..workers).map(|_| model.spawn(job.clone())).collect::<io::Result<_>>()?;
    join_all(workers)?;
    let wall = start.elapsed().as_nanos() as f64;
    let used = Usage::now().since(before);
    let hubs = hub.zip(switches_of_hub(model)).map_or(0, |(before, after)| after - before);
    let Usage { cpu, voluntary, involuntary } = used;
    Ok(Took { wall, cpu: cpu.as_nanos() as f64, voluntary, involuntary, hubs })
}

/// Returns the number of workers that ask a server, and the number of requests of each.
pub(crate) fn asking(effort: Effort) -> (usize, u32) {
    effort.of((100, 50), (50, 10))
}

pub(crate) fn ask(model: Model, effort: Effort) -> io::Result<Took> {
    let (workers, times) = asking(effort);
    fastest(|| {
        all_at_once(model, workers, move || {
            work::ask(times);
            0
        })
    })
}

/// Returns the number of workers that compute, and the microseconds of each.
pub(crate) fn computing(effort: Effort) -> (usize, u64) {
    (8, effort.of(50_000, 10_000))
}

pub(crate) fn compute(model: Model, effort: Effort) -> io::Result<Took> {
    let (workers, microseconds) = computing(effort);
    let rounds = microseconds * effort.rounds_per_microsecond;
    fastest(|| all_at_once(model, workers, move || work::compute(rounds)))
}

/// Returns the nanoseconds of the same work without workers, in sequence.
pub(crate) fn compute_alone(_: Model, effort: Effort) -> io::Result<f64> {
    let (workers, microseconds) = computing(effort);
    let rounds = microseconds * effort.rounds_per_microsecond;
    let all = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        for _ in 0..workers {
            work::compute(rounds);
        }
        start.elapsed().as_nanos() as f64
    });
    Ok(all.fold(f64::INFINITY, f64::min))
}

/// Returns the value of a global in the parent after each of three workers has added one to it.
pub(crate) fn global(model: Model, _: Effort) -> io::Result<u64> {
    let workers: Vec<_> = (0..3).map(|_| model.spawn(work::count)).collect::<io::Result<_>>()?;
    join_all(workers)?;
    Ok(work::counted())
}

/// The number of workers beside the one that crashes.
pub(crate) const OTHERS: usize = 2;

/// Starts workers of which one crashes. Returns how many of the others have a result nonetheless. If the crash ends the
/// calling process, there is no return.
pub(crate) fn crash(model: Model, how: Crash) -> io::Result<u64> {
    kernel::crash_quietly();
    let gate = Gate::new()?;
    let others: Vec<_> = (0..OTHERS)
        .map(|_| {
            let gate = gate.clone();
            model.spawn(move || gate.pass().is_ok())
        })
        .collect::<io::Result<_>>()?;
    gate.await_all(OTHERS)?;
    let crashing = model.spawn(move || work::crash(how))?;
    match crashing.join() {
        Ok(()) => return Err(io::Error::other("it did not crash")),
        Err(_) => gate.open(OTHERS)?,
    }
    let answered = others.into_iter().filter_map(|other| other.join().ok()).filter(|&passed| passed);
    Ok(answered.count() as u64)
}

/// How long each worker of [`days`] computes, and then waits, in each step.
pub(crate) const BUSY: Duration = Duration::from_millis(4);

/// Measures when each of four workers ran that compute and wait in turns. Returns the shortest of several rounds, in which
/// other programs disturbed least.
pub(crate) fn days(model: Model, effort: Effort) -> io::Result<Vec<Day>> {
    let mut best: Option<Vec<Day>> = None;
    for _ in 0..effort.of(10, 2) {
        let epoch = Instant::now();
        let workers: Vec<_> = (0..4)
            .map(|_| model.spawn(move || work::day(epoch, 3, BUSY, effort.rounds_per_microsecond)))
            .collect::<io::Result<_>>()?;
        let days = join_all(workers)?;
        if best.as_ref().is_none_or(|best| work::end_of(&days) < work::end_of(best)) {
            best = Some(days);
        }
    }
    Ok(best.unwrap_or_default())
}
