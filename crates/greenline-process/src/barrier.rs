//! A barrier between processes: no party goes on until all have arrived.
//!
//! If a party dies while it waits, it breaks the barrier. Each party watches the one that has arrived before it, for as long
//! as it waits. Before it arrives, it checks whether that one is alive. So the next party sees the death of any party, at
//! the latest when it arrives.
//!
//! Next: `value.rs`, shared data.

use super::shared::{Limit, Monitor, ProcessId, Transaction};
use std::fmt;
use std::io;
use std::time::Duration;

/// A number of parties, in any processes, that wait for each other, again and again.
///
/// Make it before the processes that use it, and give their closures a clone. Waiting parks the calling green thread and no
/// other.
///
/// ```
/// use greenline_process::{Barrier, Process};
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
/// It **breaks** when a waiting process or green thread is killed, or stops waiting. Then all waiters get an error, and so
/// do those that arrive later, until it is [reset](Barrier::reset). (The death of a process is seen a moment later. If the
/// others arrive within that moment, they pass.)
///
/// Source: Python's `multiprocessing.Barrier`, which waits forever for a party that is killed.
#[derive(Clone, Debug)]
pub struct Barrier {
    monitor: Monitor<State>,
    parties: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Number of parties that wait.
    arrived: u32,
    broken: bool,
    /// Number of times it was passed or reset.
    rounds: u64,
    /// Whether each of the last 64 rounds was passed; bit 0 is the latest.
    passed: u64,
    /// Process of the party that has arrived last.
    last: Option<ProcessId>,
}

/// The condition variable of those that wait.
const CHANGED: usize = 0;

/// A party that has passed. Returned by [`Barrier::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    index: u32,
    is_leader: bool,
}

impl Arrival {
    /// Returns its place in the order of arrival, from 0.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Returns whether it has arrived last. That is so for one of those that pass together.
    pub fn is_leader(self) -> bool {
        self.is_leader
    }
}

/// The barrier is broken, or was reset during the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenBarrier;

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier is broken: a party was killed or stopped waiting, or the barrier was reset")
    }
}

impl std::error::Error for BrokenBarrier {}

impl Barrier {
    /// Returns a barrier for that many parties.
    ///
    /// # Errors
    /// No memory, no descriptor left; or the kernel has no robust lists, without which it could not survive its users.
    ///
    /// # Panics
    /// `parties` is 0, or 2^32 or more.
    pub fn new(parties: usize) -> io::Result<Barrier> {
        let parties = u32::try_from(parties).expect("a barrier has fewer than 2^32 parties");
        assert!(parties > 0, "a barrier needs at least one party");
        Ok(Barrier { monitor: Monitor::new(State::default(), 1)?, parties })
    }

    /// Waits until all parties have arrived.
    ///
    /// # Errors
    /// It is broken or breaks, or is reset.
    ///
    /// # Panics
    /// Unwinds when the green thread is killed or a timeout around it fires; that breaks the barrier.
    pub fn wait(&self) -> Result<Arrival, BrokenBarrier> {
        self.wait_within(Limit::Unlimited)
    }

    /// Waits as [`wait`](Barrier::wait) does, for at most `timeout`. After that it breaks the barrier.
    ///
    /// # Errors
    /// The errors of `wait`; not all parties have arrived in time.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Arrival, BrokenBarrier> {
        self.wait_within(Limit::timeout(timeout))
    }

    /// Breaks it.
    pub fn abort(&self) {
        self.monitor.change(break_it);
    }

    /// Repairs it. Those that wait get an error.
    pub fn reset(&self) {
        self.monitor.change(|state| begin_round(state, false));
    }

    /// Returns whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.monitor.snapshot().broken
    }

    /// Returns the number of parties.
    pub fn parties(&self) -> usize {
        self.parties as usize
    }

    /// Returns the number of parties that wait.
    pub fn waiting(&self) -> usize {
        self.monitor.snapshot().arrived as usize
    }

    fn wait_within(&self, limit: Limit) -> Result<Arrival, BrokenBarrier> {
        let this = ProcessId::current();
        let mut waiter: Option<Waiter<'_>> = None;
        let passed = self.monitor.wait_watching(CHANGED, limit, |state, watch| {
            let (before, outcome) = match &waiter {
                Some(waiter) => (waiter.before, outcome(state, waiter.round)),
                None => (state.last.filter(|&last| last != this), state.broken.then_some(Err(BrokenBarrier))),
            };
            if outcome.is_some() {
                return outcome;
            }
            // The party arrives only when the process that has arrived before it is watched.
            if before.map_or(Some(false), |before| watch.has_exited(before))? {
                break_it(state);
                return Some(Err(BrokenBarrier));
            }
            if waiter.is_none() {
                waiter = Some(Waiter { barrier: self, index: state.arrived, round: state.rounds, before });
                state.arrived += 1;
                state.last = Some(this);
                if state.arrived == self.parties {
                    begin_round(state, true);
                    return Some(Ok(()));
                }
                // The party has arrived, although it cannot go on.
                state.commit();
            }
            None
        });
        // If the limit is over, dropping the waiter breaks the barrier.
        passed.unwrap_or(Err(BrokenBarrier))?;
        let index = waiter.expect("a party that has passed has arrived").index;
        Ok(Arrival { index, is_leader: index + 1 == self.parties })
    }
}

/// Returns how that round has ended, if it has.
fn outcome(state: &State, round: u64) -> Option<Result<(), BrokenBarrier>> {
    if state.rounds == round {
        return state.broken.then_some(Err(BrokenBarrier));
    }
    let ago = state.rounds - round - 1;
    // The outcome of older rounds is lost. They count as passed.
    let passed = ago >= 64 || state.passed >> ago & 1 == 1;
    Some(if passed { Ok(()) } else { Err(BrokenBarrier) })
}

fn break_it(state: &mut Transaction<'_, State>) {
    state.notify_all(CHANGED);
    state.broken = true;
}

fn begin_round(state: &mut Transaction<'_, State>, passed: bool) {
    state.notify_all(CHANGED);
    let (rounds, passed) = (state.rounds + 1, state.passed << 1 | u64::from(passed));
    **state = State { rounds, passed, ..State::default() };
}

/// A waiter. If it is dropped before its round has ended, it breaks the barrier.
struct Waiter<'a> {
    barrier: &'a Barrier,
    /// Its place in the order of arrival.
    index: u32,
    round: u64,
    /// Process of the party that has arrived before it, if that is another one.
    before: Option<ProcessId>,
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
