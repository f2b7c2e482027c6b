//! The functions of the workers. They do not use greenline, and do not depend on the model of their caller.

use super::kernel;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Waits like a client whose server takes a millisecond for each of `times` requests.
pub(crate) fn ask(times: u32) {
    for _ in 0..times {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Computes.
pub(crate) fn compute(rounds: u64) -> u64 {
    (0..rounds).fold(1, |x: u64, n| std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005) ^ n))
}

/// Returns how many rounds of [`compute`] take a microsecond on this machine.
pub(crate) fn rounds_per_microsecond() -> u64 {
    let fastest = (0..20).map(|_| {
        let start = Instant::now();
        compute(100_000);
        start.elapsed().as_nanos()
    });
    100_000_000 / (fastest.min().unwrap_or(1).max(1) as u64)
}

/// Receives a byte and sends it back, `throws` times. One of the two players begins.
pub(crate) fn play(mut ball: UnixStream, throws: u32, begins: bool) -> io::Result<()> {
    let mut byte = [0];
    for _ in 0..throws {
        if begins {
            ball.write_all(&byte)?;
            ball.read_exact(&mut byte)?;
        } else {
            ball.read_exact(&mut byte)?;
            ball.write_all(&byte)?;
        }
    }
    Ok(())
}

/// The report of a worker that yields: when it began and ended, in nanoseconds, and how often the kernel has switched away
/// from its OS thread.
#[derive(Serialize, Deserialize)]
pub(crate) struct GaveWay {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) switches: u64,
}

/// Yields `times` times.
pub(crate) fn give_way(epoch: Instant, times: u32) -> GaveWay {
    let (before, from) = (kernel::Usage::of_this_thread(), since(epoch));
    for _ in 0..times {
        std::thread::yield_now();
    }
    let (to, after) = (since(epoch), kernel::Usage::of_this_thread());
    GaveWay { from, to, switches: after.since(before).switches() }
}

fn since(epoch: Instant) -> u64 {
    epoch.elapsed().as_nanos() as u64
}

/// A global of the program.
static COUNT: AtomicU64 = AtomicU64::new(0);

pub(crate) fn count() {
    COUNT.fetch_add(1, SeqCst);
}

pub(crate) fn counted() -> u64 {
    COUNT.load(SeqCst)
}

/// A way to crash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    Panic,
    Abort,
    Fault,
}

pub(crate) fn crash(how: Crash) {
    match how {
        Crash::Panic => panic!("on purpose"),
        Crash::Abort => std::process::abort(),
        Crash::Fault => kernel::fault(),
    }
}

/// A gate at which workers wait until it opens. It consists of two socket pairs, because it has to work between processes.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Sockets>);

struct Sockets {
    said: (UnixStream, UnixStream),
    told: (UnixStream, UnixStream),
}

impl Gate {
    pub(crate) fn new() -> io::Result<Gate> {
        Ok(Gate(Arc::new(Sockets { said: UnixStream::pair()?, told: UnixStream::pair()? })))
    }

    /// Reports the id of the worker's process, and waits until the gate opens.
    pub(crate) fn pass(&self) -> io::Result<()> {
        // If the process that opens the gate is gone, SIGALRM ends this worker.
        kernel::live_no_longer_than(60);
        (&self.0.said.0).write_all(&std::process::id().to_ne_bytes())?;
        (&self.0.told.1).read_exact(&mut [0])
    }

    /// Waits until that many workers have arrived. Returns the ids of their processes.
    pub(crate) fn await_all(&self, workers: usize) -> io::Result<Vec<u32>> {
        let mut all = vec![0; 4 * workers];
        (&self.0.said.1).read_exact(&mut all)?;
        Ok(all.chunks_exact(4).map(|pid| u32::from_ne_bytes([pid[0], pid[1], pid[2], pid[3]])).collect())
    }

    /// Lets that many workers pass.
    pub(crate) fn open(&self, workers: usize) -> io::Result<()> {
        (&self.0.told.0).write_all(&vec![0; workers])
    }
}

/// The times at which one worker ran, for the timeline.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Day {
    pub(crate) process: u32,
    pub(crate) thread: u32,
    /// Begin and end of each interval in which the worker ran, in microseconds.
    pub(crate) stints: Vec<(u32, u32)>,
}

/// Returns the end of the last interval of all workers.
pub(crate) fn end_of(days: &[Day]) -> u32 {
    days.iter().flat_map(|day| &day.stints).map(|stint| stint.1).max().unwrap_or(0)
}

/// Computes for `busy` and then waits for as long, `steps` times. Returns when the worker really ran.
pub(crate) fn day(epoch: Instant, steps: u32, busy: Duration, rounds_per_microsecond: u64) -> Day {
    /// The computation between two clock reads, in microseconds. If a read is later than `LATE`, others ran meanwhile.
    const PIECE: u32 = 20;
    const LATE: u32 = 150;
    let now = || (since(epoch) / 1000) as u32;
    let mut stints: Vec<(u32, u32)> = Vec::new();
    for _ in 0..steps {
        let mut began = now();
        let mut last = began;
        for _ in 0..busy.as_micros() as u32 / PIECE {
            compute(u64::from(PIECE) * rounds_per_microsecond);
            let at = now();
            if at - last > LATE {
                stints.push((began, last.max(began + PIECE)));
                began = at - PIECE;
            }
            last = at;
        }
        stints.push((began, last));
        std::thread::sleep(busy);
    }
    Day { process: std::process::id(), thread: kernel::tid(), stints }
}
