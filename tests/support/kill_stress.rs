//! Processes that are killed at random moments, and what they may leave behind.

use greenline::process::{Child, Process};
use greenline::sleep;
use std::time::Duration;

/// Numbers as from dice (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % end
    }
}

/// Some processes, each in its place: who is killed is followed by another.
pub(crate) struct KillStress<F> {
    life: F,
    children: Vec<Child>,
    lives: u32,
    random: Random,
}

impl<F: Fn(usize, u32) + Clone + 'static> KillStress<F> {
    /// `life` is what each of them does, for ever; it is told its place, and as which it comes in all.
    pub(crate) fn new(places: usize, life: F) -> KillStress<F> {
        let seed = std::process::id().into();
        eprintln!("seed: {seed}");
        let mut stress = KillStress { life, children: Vec::new(), lives: 0, random: Random::new(seed) };
        for place in 0..places {
            let child = stress.start(place);
            stress.children.push(child);
        }
        stress
    }

    fn start(&mut self, place: usize) -> Child {
        self.lives += 1;
        let (life, number) = (self.life.clone(), self.lives);
        Process::new(move || life(place, number)).start().unwrap()
    }

    /// Waits a moment, kills one, and has another in its place. Answers the place.
    pub(crate) fn kill_one(&mut self) -> usize {
        sleep(Duration::from_micros(self.random.below(1_000)));
        let place = self.random.below(self.children.len() as u64) as usize;
        self.kill(place);
        self.children[place] = self.start(place);
        place
    }

    /// Kills that one, which has not ended by itself.
    pub(crate) fn kill(&mut self, place: usize) {
        let child = &self.children[place];
        child.kill().unwrap();
        assert_eq!(child.join().unwrap(), -9, "process {place} has ended");
    }

    /// Waits for that one to end by itself.
    pub(crate) fn join(&mut self, place: usize) {
        assert_eq!(self.children[place].join().unwrap(), 0);
    }
}

/// How many descriptors are open that are shared with others: no process's end, no child's.
pub(crate) fn descriptors() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let names = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
    names.filter(|name| name.to_string_lossy().contains("[eventfd]")).count()
}

/// How many mappings are shared.
pub(crate) fn shared_mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("rw-s")).count()
}

/// How many bytes of them are in this process's memory.
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

/// Does `work` twice in a process that the kernel kills when it makes a system call the second time, other than read(2) and
/// write(2). Answers whether it has not.
pub(crate) fn makes_no_system_calls(work: impl Fn()) -> bool {
    // SAFETY: no pointers: as fork(2), without anything that is to be done at a fork, so that there is but one OS thread.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if child == 0 {
        work();
        // SAFETY: no pointers.
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT, 0, 0, 0) };
        work();
        // SAFETY: no pointers. The one OS thread ends, and so the process.
        unsafe { libc::syscall(libc::SYS_exit, 42) };
    }
    let mut status = 0;
    // SAFETY: room for the answer.
    unsafe { libc::waitpid(child as i32, &raw mut status, 0) };
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42
}
