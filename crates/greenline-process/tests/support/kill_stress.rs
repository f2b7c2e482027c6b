//! Fault injection by SIGKILL: processes that are killed at random moments, and what they may leave behind.

#![allow(dead_code)] // each test file uses a part

use crate::support::random::Random;
use greenline::sleep;
use greenline_process::{Child, Process};
use std::time::Duration;

/// Some processes, each at a place. If one is killed, another is started at its place.
pub(crate) struct KillStress<F> {
    work: F,
    children: Vec<Child>,
    /// Number of processes started.
    started: u32,
    random: Random,
}

impl<F: Fn(usize, u32) + Clone + 'static> KillStress<F> {
    /// Starts `places` processes. Each of them calls `work` with its place and with its number among all that are ever
    /// started. `work` does not return before it is killed.
    pub(crate) fn new(places: usize, work: F) -> KillStress<F> {
        let seed = std::process::id().into();
        eprintln!("seed: {seed}");
        let mut stress = KillStress { work, children: Vec::new(), started: 0, random: Random::new(seed) };
        for place in 0..places {
            let child = stress.start(place);
            stress.children.push(child);
        }
        stress
    }

    fn start(&mut self, place: usize) -> Child {
        self.started += 1;
        let (work, number) = (self.work.clone(), self.started);
        Process::new(move || work(place, number)).start().unwrap()
    }

    /// Kills a random process after a random moment, and starts another at its place. Returns the place.
    pub(crate) fn kill_one(&mut self) -> usize {
        sleep(Duration::from_micros(self.random.below(1_000)));
        let place = self.random.below(self.children.len() as u64) as usize;
        self.kill(place);
        self.children[place] = self.start(place);
        place
    }

    /// Kills the process at `place`, which must not have ended by itself.
    pub(crate) fn kill(&mut self, place: usize) {
        let child = &self.children[place];
        child.kill().unwrap();
        assert_eq!(child.join().unwrap(), -9, "process {place} has ended");
    }

    /// Waits until the process at `place` ends by itself.
    pub(crate) fn join(&mut self, place: usize) {
        assert_eq!(self.children[place].join().unwrap(), 0);
    }
}

/// Returns the number of shared mappings of this process.
pub(crate) fn shared_mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("rw-s")).count()
}

/// Returns the number of bytes of shared mappings that are in memory.
pub(crate) fn shared_memory() -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut shared = false;
    let mut bytes = 0;
    for line in maps.lines() {
        if line.contains("-") && line.split_whitespace().count() >= 5 {
            shared = line.contains("rw-s");
        } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| shared) {
            bytes += size.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10;
        }
    }
    bytes
}

/// Calls `work` twice in a process, the second time under strict seccomp: the kernel kills the process at any system call
/// other than read(2), write(2) and exit(2). Returns whether the process has survived.
pub(crate) fn makes_no_system_calls(work: impl Fn()) -> bool {
    // SAFETY: no pointers. This is fork(2) without the handlers that run at a fork; the child has one OS thread.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if child == 0 {
        work();
        // SAFETY: no pointers.
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT, 0, 0, 0) };
        work();
        // SAFETY: no pointers. It ends the only OS thread, and so the process.
        unsafe { libc::syscall(libc::SYS_exit, 42) };
    }
    let mut status = 0;
    // SAFETY: `status` has room for the result.
    unsafe { libc::waitpid(child as i32, &raw mut status, 0) };
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42
}
