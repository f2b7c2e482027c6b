//! Input and output, interposed.
//!
//! | file        | is about                                                          |
//! |-------------|-------------------------------------------------------------------|
//! | `socket.rs` | `recv`, `send` and their relatives; `accept`, `connect`           |
//! | `rw.rs`     | `read`, `write` and their relatives, of whatever can be polled    |
//! | `poll.rs`   | `poll`                                                            |
//! | `name.rs`   | `getaddrinfo`, done by another OS thread                          |
//! | `process.rs` | `waitpid`                                                        |
//! | `fd.rs`     | the life of a descriptor: made, duplicated, set, closed           |
//!
//! A descriptor of the program's is never made non-blocking: that is a property of what it refers to, which others
//! may share. A call is made in a way that does not wait (`MSG_DONTWAIT`, `RWF_NOWAIT`, or asking `poll` first); where
//! the kernel says that it would, the green thread parks, unless the program itself has made the descriptor
//! non-blocking. How long it waits is what the program has set (`SO_RCVTIMEO`).

mod fd;
mod name;
mod poll;
mod process;
mod rw;
mod socket;

use super::{Covered, Kind, patched_hub};
use crate::arch::syscall::syscall;
use crate::hub::{Hub, Readiness, keep_errno};
use crate::reactor::{Direction, Settings};
use crate::time::{NEVER, Time};
use libc::{c_int, c_long};
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

pub(super) const COVERAGE: &[Covered] = {
    const fn covered(symbol: &'static str, called_by: &'static str, when_patched: &'static str) -> Covered {
        Covered { symbol, kind: Kind::Io, called_by, when_patched }
    }
    const PARKS: &str = "parks until it would not block";
    const NOTED: &str = "noted";
    &[
        covered("recv", "std::net, std::os::unix::net, C", PARKS),
        covered("recvfrom", "std::net::UdpSocket, C", PARKS),
        covered("recvmsg", "std::os::unix::net, C", PARKS),
        covered("send", "std::net, C", PARKS),
        covered("sendto", "std::net::UdpSocket, C", PARKS),
        covered("sendmsg", "std::os::unix::net, C", PARKS),
        covered("accept", "C", PARKS),
        covered("accept4", "std::net, C", PARKS),
        covered("connect", "std::net, C", "parks until it is connected, or refused"),
        covered("read", "std::io, std::fs, std::process, C", "parks; files are read at once"),
        covered("write", "std::io, std::fs, std::process, C", "parks; files are written at once"),
        covered("readv", "std, C", "as read"),
        covered("writev", "std, C", "as write"),
        covered("__read_chk", "C", "as read"),
        covered("__recv_chk", "C", "as recv"),
        covered("__recvfrom_chk", "C", "as recvfrom"),
        covered("poll", "std::process, std::net, C", "parks until one is ready"),
        covered("ppoll", "C", "the same; with a signal mask it goes to the kernel"),
        covered("__poll_chk", "C", "as poll"),
        covered(
            "getaddrinfo",
            "std::net::ToSocketAddrs, C",
            "parks while another OS thread looks the name up",
        ),
        covered("waitpid", "std::process, C", "parks until that child ends; any child: the kernel waits"),
        covered("wait4", "C", "the same"),
        covered("close", "everybody", "wakes who waits for the descriptor, with EBADF"),
        covered("dup2", "std::process, C", "wakes who waits for the one that is replaced"),
        covered("dup3", "C", "the same"),
        covered("ioctl", "std::net, C", "FIONBIO is noted"),
        covered("fcntl", "std, C", "F_SETFL is noted"),
        covered("fcntl64", "C", "the same"),
        covered("setsockopt", "std::net, C", "timeouts are noted"),
        covered("socket", "std::net, C", NOTED),
    ]
};

fn hub() -> Option<&'static Hub> {
    patched_hub(Kind::Io)
}

/// Calls the kernel. Answers its result, or an error number negated.
///
/// # Safety
/// That of the system call.
unsafe fn kernel(number: c_long, args: [usize; 6]) -> isize {
    // SAFETY: the caller's.
    unsafe { syscall(number, args) }
}

/// `errno`'s way of a raw answer: -1 and the number.
fn with_errno(answer: isize) -> isize {
    if (-4095..0).contains(&answer) {
        // SAFETY: the address is this thread's own.
        unsafe { *libc::__errno_location() = -answer as c_int };
        return -1;
    }
    answer
}

/// An error number, as a raw answer.
fn failed(number: c_int) -> isize {
    -number as isize
}

/// Counts up whenever the mode or the timeouts of any descriptor may have changed: what is known of them is then asked
/// for anew. (Descriptors share them with their duplicates, so that it is not known of which.)
static CHANGES: AtomicU32 = AtomicU32::new(1);

fn settings_changed() {
    CHANGES.fetch_add(1, AcqRel);
}

/// What the program has set of `fd`, as far as changes are made by calls that are interposed.
fn settings(hub: &Hub, fd: RawFd) -> Settings {
    let now = CHANGES.load(Acquire);
    hub.reactor().settings(fd, |known| {
        if known.as_of != now {
            *known = ask(fd, now);
        }
        *known
    })
}

/// Asks the kernel for them.
fn ask(fd: RawFd, as_of: u32) -> Settings {
    // SAFETY: no pointers.
    let flags = unsafe { kernel(libc::SYS_fcntl, [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0]) };
    let timeout = |option: c_int| {
        let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let mut len = size_of::<libc::timeval>() as libc::socklen_t;
        let (time, len) = (&raw mut time, &raw mut len);
        let args = [fd as usize, libc::SOL_SOCKET as usize, option as usize, time as usize, len as usize, 0];
        // SAFETY: room for a time, and its length. What is no socket has none.
        unsafe {
            match kernel(libc::SYS_getsockopt, args) {
                0 => (*time).tv_sec as u64 * 1_000_000_000 + (*time).tv_usec as u64 * 1_000,
                _ => 0,
            }
        }
    };
    let number = |option: c_int| {
        let (mut number, mut len) = (0 as c_int, size_of::<c_int>() as libc::socklen_t);
        let (number, len) = (&raw mut number, &raw mut len);
        let args =
            [fd as usize, libc::SOL_SOCKET as usize, option as usize, number as usize, len as usize, 0];
        // SAFETY: room for an int, and its length.
        unsafe { if kernel(libc::SYS_getsockopt, args) == 0 { *number } else { 0 } }
    };
    Settings {
        as_of,
        is_tcp: number(libc::SO_PROTOCOL) == libc::IPPROTO_TCP,
        nonblocking: flags >= 0 && flags & libc::O_NONBLOCK as isize != 0,
        read_timeout: timeout(libc::SO_RCVTIMEO),
        write_timeout: timeout(libc::SO_SNDTIMEO),
    }
}

/// Whether `fd` is a blocking TCP socket that is known to be drained, so that there is no use in trying to read.
fn is_drained(hub: &Hub, fd: RawFd) -> bool {
    if !hub.reactor().is_drained(fd, Direction::Read) {
        return false;
    }
    let settings = settings(hub, fd);
    settings.is_tcp && !settings.nonblocking
}

/// The loop for interposed calls: calls `attempt`, which does not block, until it answers something else than EAGAIN,
/// and parks in between. It is not unwound by a kill or a timeout: then the answer is EINTR, once. A `foreign` descriptor
/// may be closed where it is not seen, as by C's `fclose`.
fn retry(
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    foreign: bool,
    mut attempt: impl FnMut() -> isize,
) -> isize {
    retry_after(false, hub, fd, direction, foreign, &mut attempt)
}

/// [`retry`]; `drained`: it is known that the first attempt would fail.
fn retry_after(
    mut drained: bool,
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    foreign: bool,
    attempt: &mut impl FnMut() -> isize,
) -> isize {
    let mut deadline = None;
    let mut expired = false;
    loop {
        let answer = if drained { failed(libc::EAGAIN) } else { attempt() };
        // When the time is over, once more: the edge may have come, and not been seen yet.
        if answer != failed(libc::EAGAIN) || expired {
            return answer;
        }
        let settings = settings(hub, fd);
        if settings.nonblocking {
            return answer;
        }
        let deadline = *deadline.get_or_insert_with(|| match settings.timeout(direction) {
            0 => NEVER,
            nanos => hub.clock().after(std::time::Duration::from_nanos(nanos)),
        });
        if !std::mem::take(&mut drained) {
            hub.reactor().drained(fd, direction);
        }
        match pause(hub, fd, direction, deadline, foreign) {
            Ok(ready) => expired = !ready,
            Err(number) => return failed(number),
        }
    }
}

/// Has `piece`, which is told how much has gone, send the rest by [`retry`], until all `len` bytes have: a blocking
/// descriptor takes all, unless it is interrupted in between; one that the program has made non-blocking, what it can.
fn send_whole(hub: &Hub, fd: RawFd, len: usize, foreign: bool, piece: impl Fn(usize) -> isize) -> isize {
    let mut gone = 0;
    loop {
        match retry(hub, fd, Direction::Write, foreign, || piece(gone)) {
            more @ 1.. if gone + (more as usize) < len && !settings(hub, fd).nonblocking => {
                gone += more as usize
            }
            more @ 0.. => return (gone + more as usize) as isize,
            _ if gone > 0 => return gone as isize,
            error => return error,
        }
    }
}

/// Parks until the next edge. `false`: the deadline has passed.
fn pause(hub: &Hub, fd: RawFd, direction: Direction, deadline: Time, foreign: bool) -> Result<bool, c_int> {
    keep_errno(|| match hub.wait_fd(fd, direction, deadline, foreign, hub.was_cut_short()) {
        Ok(Readiness::Ready) => Ok(true),
        Ok(Readiness::Expired) => Ok(false),
        Ok(Readiness::Closed) => Err(libc::EBADF),
        Ok(Readiness::Interrupted) => {
            hub.cut_short();
            hub.yield_now();
            Err(libc::EINTR)
        }
        Err(error) => Err(error.raw_os_error().unwrap_or(libc::ENOMEM)),
    })
}
