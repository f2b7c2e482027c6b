//! System calls and files of `/proc`.

use std::io;
use std::time::Duration;

/// Processor time and switches of this process, of its OS threads, and of those of its children that were waited for.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Number of switches because the OS thread waited.
    pub(crate) voluntary: u64,
    /// Number of switches because the kernel let others run.
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

    /// Returns the usage of the calling OS thread.
    pub(crate) fn of_this_thread() -> Usage {
        usage_of(libc::RUSAGE_THREAD)
    }

    pub(crate) fn switches(self) -> u64 {
        self.voluntary + self.involuntary
    }
}

fn usage_of(who: i32) -> Usage {
    // SAFETY: all zeros is a value of `rusage`, and the kernel writes to this frame's.
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

/// Binds this process, and the processes that it starts, to its current core.
pub(crate) fn stay_on_this_core() -> io::Result<()> {
    // SAFETY: all zeros is the empty set, and the number of the current core is in range.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes SIGALRM end this process after that many seconds.
pub(crate) fn live_no_longer_than(seconds: u32) {
    // SAFETY: `alarm` takes no pointers.
    unsafe { libc::alarm(seconds) };
}

/// Redirects stderr to `/dev/null` and disables core dumps: for a process that is about to crash on purpose.
pub(crate) fn crash_quietly() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the name is a C string, and the limit is in this frame.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if null >= 0 {
            libc::dup2(null, 2);
        }
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
    }
}

/// Raises the limit of descriptors to the highest that is allowed.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is in this frame.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Writes to an address that is not mapped.
pub(crate) fn fault() {
    // SAFETY: none. The purpose is that SIGSEGV ends the calling process.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

/// Returns the kernel's id of the calling OS thread.
pub(crate) fn tid() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    link.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
}

/// Returns the private memory of a process, in bytes.
pub(crate) fn private_bytes(pid: u32) -> u64 {
    numbers(&format!("/proc/{pid}/smaps_rollup"), &["Private_Clean:", "Private_Dirty:"]) * 1024
}

/// Returns the memory that the kernel uses for its stacks, page tables and records, of all programs, in bytes.
pub(crate) fn kernel_bytes() -> u64 {
    numbers("/proc/meminfo", &["KernelStack:", "PageTables:", "SUnreclaim:"]) * 1024
}

/// Returns the available memory, in bytes.
pub(crate) fn available_bytes() -> u64 {
    numbers("/proc/meminfo", &["MemAvailable:"]) * 1024
}

/// Returns the sum of the numbers in the lines that begin with one of these words.
fn numbers(file: &str, words: &[&str]) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter(|line| words.iter().any(|word| line.starts_with(word)));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// Returns the kernel's limits, as text.
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

/// Returns a description of this machine in one line.
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
