//! Where an OS thread is, as the kernel tells without disturbing it: proc_pid_syscall(5), proc_pid_stat(5).

use std::fs::read_to_string;
use std::time::Duration;

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It computes, or would if it had a processor.
    Computing,
    /// It waits in this system call.
    Call(i64),
    /// It waits for something, and it cannot be said in which call: a page of memory, say.
    Asleep,
    /// The kernel does not tell.
    Unknown,
}

impl Place {
    /// Looks several times: who computes and makes system calls in between is not to be taken for one who
    /// does not wait.
    pub(super) fn of(tid: i32) -> Place {
        for _ in 0..2 {
            match Place::now(tid) {
                Place::Computing => std::thread::sleep(Duration::from_millis(1)),
                place => return place,
            }
        }
        Place::now(tid)
    }

    fn now(tid: i32) -> Place {
        let call = read_to_string(format!("/proc/self/task/{tid}/syscall"));
        call.ok().and_then(|text| Place::in_call(&text)).unwrap_or_else(|| {
            let stat = read_to_string(format!("/proc/self/task/{tid}/stat"));
            stat.ok().and_then(|text| Place::in_state(&text)).unwrap_or(Place::Unknown)
        })
    }

    /// From a line as `7 0x7ffc... ...`, `-1 0x7ffc... ...` or `running`.
    fn in_call(text: &str) -> Option<Place> {
        match text.split_whitespace().next()? {
            "running" => Some(Place::Computing),
            number => match number.parse().ok()? {
                -1 => Some(Place::Asleep),
                number => Some(Place::Call(number)),
            },
        }
    }

    /// From a line as `4711 (name) S ...`; the name may contain anything.
    fn in_state(text: &str) -> Option<Place> {
        match text.rsplit_once(") ")?.1.chars().next()? {
            'R' => Some(Place::Computing),
            'S' | 'D' => Some(Place::Asleep),
            _ => Some(Place::Unknown),
        }
    }
}

/// The name of a system call, if it is one of the usual that wait.
pub(super) fn name(number: i64) -> Option<&'static str> {
    let known = CALLS.iter().chain(CALLS_HERE).find(|(known, _)| *known == number);
    known.map(|(_, name)| *name)
}

macro_rules! calls {
    ($($call:ident $name:literal)*) => { &[$((libc::$call as i64, $name)),*] };
}

/// By name: those that may wait. A number says as much, to whoever has the kernel's table at hand.
const CALLS: &[(i64, &str)] = calls! {
    SYS_read "read" SYS_write "write" SYS_readv "readv" SYS_writev "writev" SYS_pread64 "pread64"
    SYS_pwrite64 "pwrite64" SYS_preadv "preadv" SYS_pwritev "pwritev" SYS_openat "openat" SYS_close "close"
    SYS_fsync "fsync" SYS_fdatasync "fdatasync" SYS_sendfile "sendfile" SYS_splice "splice" SYS_flock "flock"
    SYS_fcntl "fcntl" SYS_ioctl "ioctl" SYS_getdents64 "getdents64" SYS_newfstatat "newfstatat" SYS_statx "statx"
    SYS_unlinkat "unlinkat" SYS_renameat2 "renameat2" SYS_copy_file_range "copy_file_range"
    SYS_ppoll "ppoll" SYS_pselect6 "pselect6" SYS_epoll_pwait "epoll_pwait" SYS_io_uring_enter "io_uring_enter"
    SYS_accept "accept" SYS_accept4 "accept4" SYS_connect "connect" SYS_recvfrom "recvfrom" SYS_sendto "sendto"
    SYS_recvmsg "recvmsg" SYS_sendmsg "sendmsg" SYS_recvmmsg "recvmmsg" SYS_sendmmsg "sendmmsg"
    SYS_nanosleep "nanosleep" SYS_clock_nanosleep "clock_nanosleep" SYS_futex "futex"
    SYS_restart_syscall "restart_syscall" SYS_wait4 "wait4" SYS_waitid "waitid"
    SYS_rt_sigtimedwait "rt_sigtimedwait" SYS_rt_sigsuspend "rt_sigsuspend" SYS_msgrcv "msgrcv" SYS_msgsnd "msgsnd"
    SYS_semtimedop "semtimedop" SYS_mq_timedreceive "mq_timedreceive" SYS_mmap "mmap" SYS_munmap "munmap"
    SYS_madvise "madvise" SYS_mlock "mlock" SYS_execve "execve" SYS_getrandom "getrandom"
};

/// Those that younger processors' tables do not have.
#[cfg(target_arch = "x86_64")]
const CALLS_HERE: &[(i64, &str)] = calls! {
    SYS_poll "poll" SYS_select "select" SYS_epoll_wait "epoll_wait" SYS_open "open" SYS_stat "stat"
    SYS_lstat "lstat" SYS_unlink "unlink" SYS_rename "rename" SYS_pause "pause" SYS_fork "fork" SYS_vfork "vfork"
};
#[cfg(not(target_arch = "x86_64"))]
const CALLS_HERE: &[(i64, &str)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        assert_eq!(Place::in_call("running\n"), Some(Place::Computing));
        assert_eq!(Place::in_call("-1 0x7ffe 0x7f00\n"), Some(Place::Asleep));
        assert_eq!(Place::in_call("0 0x3 0x7fc5 0x20000 0x0 0x0 0x0 0x7ffd 0x7fc5\n"), Some(Place::Call(0)));
        assert_eq!(Place::in_call(""), None);
        assert_eq!(Place::in_state("12 (a ) R (name) S 1 12 12"), Some(Place::Asleep));
        assert_eq!(Place::in_state("12 (name) R 1 12 12"), Some(Place::Computing));
        assert_eq!(Place::in_state("12 (name) T 1 12 12"), Some(Place::Unknown));
    }

    #[test]
    fn calls_are_named() {
        assert_eq!(name(libc::SYS_read), Some("read"));
        assert_eq!(name(libc::SYS_ppoll), Some("ppoll"));
        assert_eq!(name(99_999), None);
    }
}
