//! A barrier between processes: nobody goes on until all have come.
//!
//! A party that dies while it waits would be waited with by nobody, so it breaks the barrier. Each that comes watches the
//! one that came before it, for as long as it waits; and before it comes it looks whether that one lives. So the death of any
//! is seen by the next one at the latest when that comes.

use super::shared::{ExitFd, Monitor, ProcessId, Transaction};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where a number of parties, in any processes, wait for each other; again and again.
///
/// Make it before the processes that use it, and let their closures have a clone. Who waits blocks the green thread that
/// calls and no other.
///
/// ```
/// use greenline::process::{Barrier, Process};
///
/// let barrier = Barrier::new(2).unwrap();
/// let inside = barrier.clone();
/// let child = Process::new(move || {
///     inside.wait().unwrap();
/// });
/// let child = child.start().unwrap();
/// assert!(barrier.wait().unwrap().index() < 2);
/// child.join().unwrap();
/// ```
///
/// It **breaks** when one that waits is killed, a process or a green thread, or does not want to wait any longer: then all
/// who wait get an error, and who comes later, too, until it is [reset](Barrier::reset). (That a process was killed is seen
/// a moment later; if the others come within it, they pass.)
///
/// Source: Python's `multiprocessing.Barrier`, which waits for ever for one that is killed.
#[derive(Clone)]
pub struct Barrier {
    monitor: Arc<Monitor<State>>,
    parties: u32,
}

#[derive(Clone, Copy)]
struct State {
    /// How many wait.
    arrived: u32,
    broken: bool,
    /// How often it was passed or reset.
    rounds: u64,
    /// Which of the last 64 rounds were passed; bit 0 is the latest.
    passed: u64,
    /// Which process the last one that came belongs to.
    last: Option<ProcessId>,
}

const GATE: usize = 0;

/// One of those who have passed. Answered by [`Barrier::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    index: u32,
    is_leader: bool,
}

impl Arrival {
    /// As which it came, counted from 0.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Whether it was the last to come: one of those who pass together is.
    pub fn is_leader(self) -> bool {
        self.is_leader
    }
}

/// The barrier is broken, or was reset while one waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenBarrier;

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier is broken: one of those who waited was killed, or went away")
    }
}

impl std::error::Error for BrokenBarrier {}

impl Barrier {
    /// One for that many parties.
    ///
    /// # Errors
    /// No memory, no descriptor left; or the kernel has no robust lists, which it needs to bear the death of its users.
    ///
    /// # Panics
    /// When `parties` is 0, or more than 2^32.
    pub fn new(parties: usize) -> io::Result<Barrier> {
        let parties = u32::try_from(parties).expect("that many parties cannot come");
        assert!(parties > 0, "nobody would ever come");
        let state = State { arrived: 0, broken: false, rounds: 0, passed: 0, last: None };
        Ok(Barrier { monitor: Arc::new(Monitor::new(state, 1)?), parties })
    }

    /// Waits until all have come.
    ///
    /// # Errors
    /// It is or gets broken, or is reset.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; that breaks it.
    pub fn wait(&self) -> Result<Arrival, BrokenBarrier> {
        self.wait_until(None)
    }

    /// As [`wait`](Barrier::wait), for no longer than `timeout`: then it is broken.
    ///
    /// # Errors
    /// As for `wait`; not all have come in time.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Arrival, BrokenBarrier> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// Breaks it.
    pub fn abort(&self) {
        self.monitor.change(break_it);
    }

    /// Makes it whole again. Who waits gets an error.
    pub fn reset(&self) {
        self.monitor.change(|state| begin_round(state, false));
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.monitor.snapshot().broken
    }

    /// For how many it is.
    pub fn parties(&self) -> usize {
        self.parties as usize
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.monitor.snapshot().arrived as usize
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<Arrival, BrokenBarrier> {
        let (arrival, round, before) = self.arrive()?;
        if arrival.is_leader {
            return Ok(arrival);
        }
        let waiter = Waiter { barrier: self, round };
        let watch = || before.as_ref().map(ExitFd::as_raw_fd);
        let passed = self.monitor.wait_beside(GATE, deadline, watch, |state| {
            outcome(state, round).or_else(|| {
                before.as_ref().filter(|end| end.has_come())?;
                break_it(state);
                Some(Err(BrokenBarrier))
            })
        });
        // Where the deadline has passed, this breaks it.
        drop(waiter);
        passed.unwrap_or(Err(BrokenBarrier)).map(|()| arrival)
    }

    /// Comes, and answers in which round, and by what to see the end of who came before.
    fn arrive(&self) -> Result<(Arrival, u64, Option<ExitFd>), BrokenBarrier> {
        let this = ProcessId::current();
        loop {
            let seen = self.monitor.snapshot();
            let before = seen.last.filter(|&last| last != this).and_then(|last| last.end().ok());
            let is_dead = before.as_ref().is_some_and(ExitFd::has_come);
            let arrival = self.monitor.try_change(|state| {
                if state.broken {
                    return Some(Err(BrokenBarrier));
                }
                if (state.rounds, state.last) != (seen.rounds, seen.last) {
                    return None;
                }
                if is_dead {
                    break_it(state);
                    return Some(Err(BrokenBarrier));
                }
                let index = state.arrived;
                state.arrived += 1;
                state.last = Some(this);
                let is_leader = state.arrived == self.parties;
                if is_leader {
                    begin_round(state, true);
                }
                Some(Ok(Arrival { index, is_leader }))
            });
            if let Some(arrival) = arrival {
                return arrival.map(|arrival| (arrival, seen.rounds, before));
            }
        }
    }
}

/// How that round has ended, if it has.
fn outcome(state: &State, round: u64) -> Option<Result<(), BrokenBarrier>> {
    if state.rounds == round {
        return state.broken.then_some(Err(BrokenBarrier));
    }
    let ago = state.rounds - round - 1;
    // Who has slept for 64 rounds is told that it has passed.
    let passed = ago >= 64 || state.passed >> ago & 1 == 1;
    Some(if passed { Ok(()) } else { Err(BrokenBarrier) })
}

fn break_it(state: &mut Transaction<'_, State>) {
    state.notify_all(GATE);
    state.broken = true;
}

fn begin_round(state: &mut Transaction<'_, State>, passed: bool) {
    state.notify_all(GATE);
    **state = State {
        arrived: 0,
        broken: false,
        rounds: state.rounds + 1,
        passed: state.passed << 1 | u64::from(passed),
        last: None,
    };
}

/// One that waits. If it goes away before its round has ended, it breaks the barrier.
struct Waiter<'a> {
    barrier: &'a Barrier,
    round: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.barrier.monitor.change(|state| {
            if outcome(state, self.round).is_none() {
                break_it(state);
            }
        });
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.monitor.snapshot();
        f.debug_struct("Barrier")
            .field("parties", &self.parties)
            .field("waiting", &state.arrived)
            .field("broken", &state.broken)
            .finish()
    }
}
