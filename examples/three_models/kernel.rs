//! What the kernel is asked, and told.

use std::io;
use std::time::Duration;

/// Processor time and switches of this process, of its OS threads, and of those of its children that were waited for.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// It waited for something.
    pub(crate) voluntary: u64,
    /// It was to make room for others.
    pub(crate) involuntary: u64,
}

impl Usage {
    pub(crate) fn now() -> Usage {
        let (own, children) = (usage_of(libc::RUSAGE_SELF), usage_of(libc::RUSAGE_CHILDREN));
        Usage {
            cpu: own.cpu + children.cpu,
            voluntary: own.voluntary + children.voluntary,
            involuntary: own.involuntary + children.involuntary,
        }
    }

    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(before.cpu),
            voluntary: self.voluntary - before.voluntary,
            involuntary: self.involuntary - before.involuntary,
        }
    }

    /// Of the OS thread that calls.
    pub(crate) fn of_this_thread() -> Usage {
        usage_of(libc::RUSAGE_THREAD)
    }

    pub(crate) fn switches(self) -> u64 {
        self.voluntary + self.involuntary
    }
}

fn usage_of(who: i32) -> Usage {
    // SAFETY: all zeros is a value of it, and it is ours to be written.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &raw mut usage);
        usage
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    Usage {
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        voluntary: usage.ru_nvcsw as u64,
        involuntary: usage.ru_nivcsw as u64,
    }
}

/// Keeps this process, and those that it starts, on the core that it is on.
pub(crate) fn stay_on_this_core() -> io::Result<()> {
    // SAFETY: all zeros is the empty set, and the core that we run on is in range.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends this process, by SIGALRM, unless it ends itself within so many seconds.
pub(crate) fn live_no_longer_than(seconds: u32) {
    // SAFETY: no pointers.
    unsafe { libc::alarm(seconds) };
}

/// What is said on stderr is not heard any more, and a crash leaves no core: for one that is about to crash on purpose.
pub(crate) fn crash_quietly() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a name that ends in 0, a descriptor, and a limit in this frame.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if null >= 0 {
            libc::dup2(null, 2);
        }
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
    }
}

/// Takes as many descriptors as may be had.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a limit in this frame.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Writes where nobody may write.
pub(crate) fn fault() {
    // SAFETY: none. It is what this is for: the process that calls is to be ended by SIGSEGV.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

/// The kernel's number of the OS thread that calls.
pub(crate) fn tid() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    link.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
}

/// Bytes of memory that a process has for itself alone.
pub(crate) fn private_bytes(pid: u32) -> u64 {
    numbers(&format!("/proc/{pid}/smaps_rollup"), &["Private_Clean:", "Private_Dirty:"]) * 1024
}

/// Bytes that the kernel uses for stacks of its own, page tables and records, of all programs.
pub(crate) fn kernel_bytes() -> u64 {
    numbers("/proc/meminfo", &["KernelStack:", "PageTables:", "SUnreclaim:"]) * 1024
}

/// Bytes that programs could still have.
pub(crate) fn available_bytes() -> u64 {
    numbers("/proc/meminfo", &["MemAvailable:"]) * 1024
}

/// The sum of the numbers behind these words, each at the beginning of a line.
fn numbers(file: &str, words: &[&str]) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter(|line| words.iter().any(|word| line.starts_with(word)));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// What the kernel would allow at most, as it says: a text for people.
pub(crate) fn limits() -> String {
    let read = |file: &str| std::fs::read_to_string(file).map_or("?".into(), |text| text.trim().to_owned());
    let user = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let user = user.lines().find_map(|line| line.strip_prefix("Max processes")?.split_whitespace().next());
    format!(
        "threads in all {}, process numbers {}, processes of one user {}, mappings of one process {}",
        read("/proc/sys/kernel/threads-max"),
        read("/proc/sys/kernel/pid_max"),
        user.unwrap_or("?"),
        read("/proc/sys/vm/max_map_count"),
    )
}

/// This machine, in a line.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = numbers("/proc/meminfo", &["MemTotal:"]) / 1024 / 1024;
    format!(
        "{cores} {} of {}, {memory} GiB of memory, Linux {}",
        if cores == 1 { "core" } else { "cores" },
        cpu.unwrap_or(std::env::consts::ARCH),
        kernel.trim()
    )
}
