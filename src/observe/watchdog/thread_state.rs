//! Where an OS thread is, as the kernel reports it without disturbing the thread: proc_pid_syscall(5), proc_pid_stat(5).
//!
//! Next: `observe/watchdog/backtrace.rs`, for one that computes.

use crate::sys::constant_name::constants;
use std::fs::read_to_string;
use std::time::Duration;

/// The state of an OS thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThreadState {
    /// It computes, or would if it had a processor.
    Computing,
    /// It waits in the system call of this number.
    InCall(i64),
    /// It waits, but in no system call that the kernel can name: for a page of memory, say.
    Asleep,
    /// The kernel does not report it.
    Unknown,
}

impl ThreadState {
    /// Returns the state of the OS thread `tid`. Looks up to three times, because a thread that waits in short system calls
    /// may be seen computing between two of them.
    pub(super) fn of(tid: i32) -> ThreadState {
        for _ in 0..2 {
            match ThreadState::now(tid) {
                ThreadState::Computing => std::thread::sleep(Duration::from_millis(1)),
                state => return state,
            }
        }
        ThreadState::now(tid)
    }

    fn now(tid: i32) -> ThreadState {
        let read = |file| read_to_string(format!("/proc/self/task/{tid}/{file}")).ok();
        let state = read("syscall").and_then(|text| ThreadState::from_syscall(&text));
        state
            .or_else(|| read("stat").and_then(|text| ThreadState::from_stat(&text)))
            .unwrap_or(ThreadState::Unknown)
    }

    /// Parses a line such as `7 0x7ffc... ...`, `-1 0x7ffc... ...` or `running`.
    fn from_syscall(text: &str) -> Option<ThreadState> {
        match text.split_whitespace().next()? {
            "running" => Some(ThreadState::Computing),
            number => match number.parse().ok()? {
                -1 => Some(ThreadState::Asleep),
                number => Some(ThreadState::InCall(number)),
            },
        }
    }

    /// Parses a line such as `4711 (name) S ...`. The name may contain anything.
    fn from_stat(text: &str) -> Option<ThreadState> {
        match text.rsplit_once(") ")?.1.chars().next()? {
            'R' => Some(ThreadState::Computing),
            'S' | 'D' => Some(ThreadState::Asleep),
            _ => Some(ThreadState::Unknown),
        }
    }
}

/// Returns the name of a system call, if it is among those that commonly wait.
pub(super) fn call_name(number: i64) -> Option<&'static str> {
    let known = CALLS.iter().chain(OLD_CALLS).find(|(known, _)| *known == number);
    known.and_then(|(_, name)| name.strip_prefix("SYS_"))
}

/// System calls that may wait, by number. For any other call a report has the number alone.
const CALLS: &[(i64, &str)] = constants! {
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_openat
    SYS_close SYS_fsync SYS_fdatasync SYS_sendfile SYS_splice SYS_flock SYS_fcntl SYS_ioctl SYS_getdents64
    SYS_newfstatat SYS_statx SYS_unlinkat SYS_renameat2 SYS_copy_file_range SYS_ppoll SYS_pselect6
    SYS_epoll_pwait SYS_io_uring_enter SYS_accept SYS_accept4 SYS_connect SYS_recvfrom SYS_sendto SYS_recvmsg
    SYS_sendmsg SYS_recvmmsg SYS_sendmmsg SYS_nanosleep SYS_clock_nanosleep SYS_futex SYS_restart_syscall
    SYS_wait4 SYS_waitid SYS_rt_sigtimedwait SYS_rt_sigsuspend SYS_msgrcv SYS_msgsnd SYS_semtimedop
    SYS_mq_timedreceive SYS_mmap SYS_munmap SYS_madvise SYS_mlock SYS_execve SYS_getrandom
};

/// System calls that only older processors have.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[(i64, &str)] = constants! {
    SYS_poll SYS_select SYS_epoll_wait SYS_open SYS_stat SYS_lstat SYS_unlink SYS_rename SYS_pause SYS_fork
    SYS_vfork
};
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[(i64, &str)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_syscall_and_from_stat_parse_lines_of_the_kernel() {
        assert_eq!(ThreadState::from_syscall("running\n"), Some(ThreadState::Computing));
        assert_eq!(ThreadState::from_syscall("-1 0x7ffe 0x7f00\n"), Some(ThreadState::Asleep));
        assert_eq!(
            ThreadState::from_syscall("0 0x3 0x7fc5 0x20000 0x0 0x0 0x0 0x7ffd 0x7fc5\n"),
            Some(ThreadState::InCall(0))
        );
        assert_eq!(ThreadState::from_syscall(""), None);
        assert_eq!(ThreadState::from_stat("12 (a ) R (name) S 1 12 12"), Some(ThreadState::Asleep));
        assert_eq!(ThreadState::from_stat("12 (name) R 1 12 12"), Some(ThreadState::Computing));
        assert_eq!(ThreadState::from_stat("12 (name) T 1 12 12"), Some(ThreadState::Unknown));
    }

    #[test]
    fn call_name_knows_calls_that_wait() {
        assert_eq!(call_name(libc::SYS_read), Some("read"));
        assert_eq!(call_name(libc::SYS_ppoll), Some("ppoll"));
        assert_eq!(call_name(99_999), None);
    }
}
