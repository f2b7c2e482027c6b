//! Input and output, interposed.
//!
//! | file        | is about                                                          |
//! |-------------|-------------------------------------------------------------------|
//! | `socket.rs` | `recv`, `send` and their relatives; `accept`, `connect`           |
//! | `message.rs` | `recvmsg`, `sendmsg`, and several messages by one call           |
//! | `rw.rs`, `positional.rs` | `read`, `write` and their relatives                  |
//! | `file.rs`   | files, for which nobody can wait; `fsync` and its like            |
//! | `splice.rs` | `sendfile`, `splice`, `copy_file_range`                           |
//! | `lock.rs`   | locks on files                                                    |
//! | `open.rs`   | opening, of named pipes above all                                 |
//! | `several.rs` | the loop for what waits for several descriptors, and for signals |
//! | `poll.rs`, `select.rs`, `epoll.rs` | the calls that do                          |
//! | `signals.rs` | waiting for signals; the masks of those calls                    |
//! | `process.rs` | waiting for children                                             |
//! | `queue.rs`  | the message queues and semaphores that processes share            |
//! | `name.rs`   | `getaddrinfo` and its like, done by another OS thread             |
//! | `fd.rs`     | the life of a descriptor: made, duplicated, set, closed           |
//!
//! A descriptor of the program's is never made non-blocking: that is a property of what it refers to, which others
//! may share. A call is made in a way that does not wait (`MSG_DONTWAIT`, `RWF_NOWAIT`, or asking `poll` first); where
//! the kernel says that it would, the green thread parks, unless the program itself has made the descriptor
//! non-blocking. How long it waits is what the program has set (`SO_RCVTIMEO`).

mod epoll;
mod fd;
mod file;
mod lock;
mod message;
mod name;
mod open;
mod poll;
mod positional;
mod process;
mod queue;
mod rw;
mod select;
mod several;
mod signals;
mod socket;
mod splice;

use super::{Covered, Kind, patched_hub};
use crate::arch::syscall::syscall;
use crate::hub::{Hub, Readiness, keep_errno};
use crate::reactor::{Direction, Settings, Source};
use crate::time::{NEVER, Time};
use libc::{c_int, c_long, iovec, timespec};
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Duration;

pub(super) const COVERAGE: &[Covered] = {
    const fn covered(symbol: &'static str, called_by: &'static str, when_patched: &'static str) -> Covered {
        Covered { symbol, kind: Kind::Io, called_by, when_patched }
    }
    const PARKS: &str = "parks until it would not block";
    const NOTED: &str = "noted";
    const ANY: &str = "parks until one is ready";
    const SIGNAL: &str = "parks until one of the signals is pending";
    const CHILD: &str = "parks until that child ends; for any child, or one that stops, looks at intervals";
    const AGAIN: &str = "parks, and tries again at intervals";
    const WRITES: &str = "parks; files are written at once, or elsewhere: what is much, or goes to the disk";
    const OPENS: &str = "a named pipe: parks while another OS thread waits for its other end";
    const ELSEWHERE: &str = "parks while another OS thread does it";
    &[
        covered("recv", "std::net, std::os::unix::net, C", PARKS),
        covered("recvfrom", "std::net::UdpSocket, C", PARKS),
        covered(
            "recvmsg",
            "std::os::unix::net, C",
            "parks until it would not block; MSG_WAITALL with control data: while another OS thread does it",
        ),
        covered("send", "std::net, C", PARKS),
        covered("sendto", "std::net::UdpSocket, C", PARKS),
        covered("sendmsg", "std::os::unix::net, C", PARKS),
        covered("accept", "C", PARKS),
        covered("accept4", "std::net, C", PARKS),
        covered("connect", "std::net, C", "parks until it is connected, or refused"),
        covered(
            "read",
            "std::io, std::fs, std::process, C",
            "parks; what of a file is not in memory is read elsewhere",
        ),
        covered("write", "std::io, std::fs, std::process, C", WRITES),
        covered("readv", "std, C", "as read"),
        covered("writev", "std, C", "as write"),
        covered("__read_chk", "C", "as read"),
        covered("pread", "C", "as read"),
        covered("pread64", "std::os::unix::fs, C", "as read"),
        covered("__pread_chk", "C", "as read"),
        covered("__pread64_chk", "C", "as read"),
        covered("preadv", "C", "as read"),
        covered("preadv64", "std::os::unix::fs, C", "as read"),
        covered("preadv2", "C", "as read"),
        covered("preadv64v2", "C", "as read"),
        covered("pwrite", "C", "as write"),
        covered("pwrite64", "std::os::unix::fs, C", "as write"),
        covered("pwritev", "C", "as write"),
        covered("pwritev64", "std::os::unix::fs, C", "as write"),
        covered("pwritev2", "C", "as write"),
        covered("pwritev64v2", "C", "as write"),
        covered("open", "C", OPENS),
        covered("open64", "std::fs, C", OPENS),
        covered("openat", "C", OPENS),
        covered("openat64", "std::fs, C", OPENS),
        covered("creat", "C", OPENS),
        covered("creat64", "C", OPENS),
        covered("__open_2", "C", OPENS),
        covered("__open64_2", "C", OPENS),
        covered("__openat_2", "C", OPENS),
        covered("__openat64_2", "C", OPENS),
        covered("flock", "std::fs::File::lock, C", "tries again, with pauses, until it has the lock"),
        covered("lockf", "C", "as fcntl's F_SETLKW"),
        covered("lockf64", "C", "the same"),
        covered(
            "sendfile",
            "C",
            "files: parks while another OS thread does it; else by read and write, which park",
        ),
        covered("sendfile64", "std::io::copy, C", "the same"),
        covered(
            "splice",
            "std::io::copy, C",
            "parks until it would not block; files: while another OS thread does it",
        ),
        covered("tee", "C", "parks until it would not block"),
        covered("vmsplice", "C", "the same"),
        covered("copy_file_range", "std::fs::copy, std::io::copy, C", ELSEWHERE),
        covered("fsync", "std::fs, C", ELSEWHERE),
        covered("fdatasync", "std::fs, C", ELSEWHERE),
        covered("syncfs", "C", ELSEWHERE),
        covered("sync_file_range", "C", ELSEWHERE),
        covered("msync", "C", "MS_SYNC: parks while another OS thread does it"),
        covered("__recv_chk", "C", "as recv"),
        covered("__recvfrom_chk", "C", "as recvfrom"),
        covered("poll", "std::process, std::net, C", "parks until one is ready"),
        covered("ppoll", "C", "the same; what its mask lets in is delivered meanwhile"),
        covered("__poll_chk", "C", "as poll"),
        covered("__ppoll_chk", "C", "as ppoll"),
        covered("select", "C", ANY),
        covered("pselect", "C", "the same; what its mask lets in is delivered meanwhile"),
        covered("epoll_wait", "mio, tokio, C", ANY),
        covered("epoll_pwait", "C", "the same; what its mask lets in is delivered meanwhile"),
        covered("epoll_pwait2", "C", "the same"),
        covered(
            "recvmmsg",
            "C",
            "parks for each message; its timeout is looked at after each, as the kernel does",
        ),
        covered("sendmmsg", "C", "parks for each message"),
        covered("pause", "std::process::exit, C", "parks until a handler has run while the hub was idle"),
        covered("sigsuspend", "C", "parks until a signal that the mask lets in is handled"),
        covered("sigwait", "C", SIGNAL),
        covered("sigwaitinfo", "C", SIGNAL),
        covered("sigtimedwait", "C", SIGNAL),
        covered("mq_receive", "C", PARKS),
        covered("mq_timedreceive", "C", PARKS),
        covered("mq_send", "C", PARKS),
        covered("mq_timedsend", "C", PARKS),
        covered("msgrcv", "C", AGAIN),
        covered("msgsnd", "C", AGAIN),
        covered("semop", "C", AGAIN),
        covered("semtimedop", "C", AGAIN),
        covered(
            "getaddrinfo",
            "std::net::ToSocketAddrs, C",
            "parks while another OS thread looks the name up",
        ),
        covered("getnameinfo", "C", "the same"),
        covered("gethostbyname", "C", "the same"),
        covered("gethostbyname_r", "C", "the same"),
        covered("waitpid", "std::process, C", CHILD),
        covered("wait4", "std::process, C", CHILD),
        covered("waitid", "std::process, C", CHILD),
        covered("wait", "C", CHILD),
        covered("wait3", "C", CHILD),
        covered("pclose", "C", ELSEWHERE),
        covered(
            "close",
            "everybody",
            "wakes who waits for the descriptor, with EBADF; SO_LINGER: parks while another OS thread does it",
        ),
        covered("dup2", "std::process, C", "wakes who waits for the one that is replaced"),
        covered("dup3", "C", "the same"),
        covered("ioctl", "std::net, C", "FIONBIO is noted"),
        covered(
            "fcntl",
            "std, C",
            "F_SETFL is noted; F_OFD_SETLKW as flock; F_SETLKW parks while another OS thread waits for the lock",
        ),
        covered("fcntl64", "C", "the same"),
        covered("setsockopt", "std::net, C", "timeouts are noted"),
        covered("socket", "std::net, C", NOTED),
        covered("socketpair", "std::os::unix::net, C", NOTED),
        covered("dup", "C", NOTED),
        covered("pipe", "C", NOTED),
        covered("pipe2", "std::process, std::io::pipe, C", NOTED),
        covered("close_range", "C", "wakes who waits for one of them, with EBADF"),
        covered("closefrom", "C", "the same"),
    ]
};

fn hub() -> Option<&'static Hub> {
    patched_hub(Kind::Io)
}

/// The offset that means: wherever it is.
const HERE: usize = usize::MAX;

/// For the child of a fork: what was going on in its parent does not go on in it.
pub(super) fn begin_anew() {
    forked();
    file::begin_anew();
    lock::begin_anew();
    name::begin_anew();
    socket::begin_anew();
}

/// For both sides of a fork: there are two processes now that have these descriptors.
pub(super) fn forked() {
    socket::share_listeners();
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
#[inline]
fn with_errno(answer: isize) -> isize {
    if (-4095..0).contains(&answer) { set_errno(answer) } else { answer }
}

#[cold]
fn set_errno(answer: isize) -> isize {
    // SAFETY: the address is this thread's own.
    unsafe { *libc::__errno_location() = -answer as c_int };
    -1
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
#[inline]
fn settings(hub: &Hub, fd: RawFd) -> Settings {
    match hub.reactor().source(fd) {
        Some(source) => settings_of(hub, source, fd),
        None => ask(fd, 0),
    }
}

/// The same, of a descriptor that is waited for: it is kept there.
#[inline]
fn settings_of(hub: &Hub, source: &Source, fd: RawFd) -> Settings {
    let _entered = hub.reactor().enter();
    let (known, now) = (source.settings(), CHANGES.load(Acquire));
    if known.as_of == now {
        return known;
    }
    let known = ask(fd, now);
    source.set_settings(known);
    known
}

/// Asks the kernel for them.
#[cold]
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
    Settings {
        as_of,
        is_tcp: number_of(fd, libc::SO_PROTOCOL) == Ok(libc::IPPROTO_TCP),
        nonblocking: flags >= 0 && flags & libc::O_NONBLOCK as isize != 0,
        read_timeout: timeout(libc::SO_RCVTIMEO),
        write_timeout: timeout(libc::SO_SNDTIMEO),
    }
}

/// An option of a socket that is a number.
///
/// Errors: those of getsockopt(2).
fn number_of(fd: RawFd, option: c_int) -> Result<c_int, isize> {
    let (mut number, mut len) = (0 as c_int, size_of::<c_int>() as libc::socklen_t);
    let room = (&raw mut number as usize, &raw mut len as usize);
    let args = [fd as usize, libc::SOL_SOCKET as usize, option as usize, room.0, room.1, 0];
    // SAFETY: room for an int, and its length.
    match unsafe { kernel(libc::SYS_getsockopt, args) } {
        0 => Ok(number),
        error => Err(error),
    }
}

/// Whether the program has made it non-blocking.
fn is_nonblocking(hub: &Hub, fd: RawFd, foreign: bool) -> bool {
    if foreign {
        hub.ask_after(fd);
    }
    settings(hub, fd).nonblocking
}

/// What is kept of `fd`, and what is set of it, if that is a blocking TCP socket.
#[inline]
fn blocking_tcp(hub: &Hub, fd: RawFd) -> Option<(&Source, Settings)> {
    let source = hub.reactor().source(fd)?;
    let settings = settings_of(hub, source, fd);
    (settings.is_tcp && !settings.nonblocking).then_some((source, settings))
}

/// When a call that begins now is to give up.
#[inline]
fn deadline(hub: &Hub, settings: Settings, direction: Direction) -> Time {
    match settings.timeout(direction) {
        0 => NEVER,
        nanos => hub.clock().after(Duration::from_nanos(nanos)),
    }
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
    retry_after(None, hub, fd, direction, foreign, &mut attempt)
}

/// [`retry`]; `drained`: it is known that the first attempt would fail, of what is kept there, and when to give up.
#[inline]
fn retry_after(
    drained: Option<(&Source, Time)>,
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    foreign: bool,
    attempt: impl FnMut() -> isize,
) -> isize {
    let (mut expired, mut until) = (false, None);
    if let Some((source, deadline)) = drained {
        match waited(hub, |shield| Ok(hub.wait_source(source, fd, direction, deadline, shield))) {
            Ok(in_time) => (expired, until) = (!in_time, Some(deadline)),
            Err(number) => return failed(number),
        }
    }
    let limit = || {
        let settings = settings(hub, fd);
        (!settings.nonblocking).then(|| *until.get_or_insert_with(|| deadline(hub, settings, direction)))
    };
    retry_until(expired, hub, fd, direction, foreign, limit, attempt)
}

/// [`retry`], for as long as `limit` says: `None` is not at all. It is asked when the kernel would wait. `expired`: that
/// is over, but for one attempt.
#[inline]
fn retry_until(
    expired: bool,
    hub: &Hub,
    fd: RawFd,
    direction: Direction,
    foreign: bool,
    mut limit: impl FnMut() -> Option<Time>,
    attempt: impl FnMut() -> isize,
) -> isize {
    let pause = || {
        if foreign {
            // Before it is asked what is known of the number.
            hub.ask_after(fd);
        }
        let deadline = limit().ok_or(libc::EAGAIN)?;
        hub.reactor().drained(fd, direction);
        pause(hub, fd, direction, deadline)
    };
    crate::io::retry(expired, attempt, pause).unwrap_or_else(failed)
}

/// For what nobody says when to try again: calls `attempt` until it answers something else than EAGAIN, or `deadline`,
/// and sleeps in between, longer each time.
fn insist(hub: &Hub, deadline: Time, mut attempt: impl FnMut() -> isize) -> isize {
    let mut nap = Duration::from_micros(50);
    loop {
        let answer = attempt();
        if answer != failed(libc::EAGAIN) || hub.clock().now() >= deadline {
            return answer;
        }
        let until = deadline.min(hub.clock().after(nap));
        nap = (nap * 2).min(LONGEST_NAP);
        if keep_errno(|| hub.wait_fds(&[], until, false, hub.was_cut_short())) == Readiness::Interrupted {
            return cut_short(hub);
        }
    }
}

/// The longest that [`insist`] sleeps.
const LONGEST_NAP: Duration = Duration::from_millis(20);

/// A call is ended for a kill or a timeout: the others run, then it answers this.
fn cut_short(hub: &Hub) -> isize {
    hub.cut_short();
    keep_errno(|| hub.yield_now());
    failed(libc::EINTR)
}

/// Has `piece`, which is told how much has gone, send the rest by [`retry`], until all `len` bytes have: a blocking
/// descriptor takes all, unless it is interrupted in between; one that the program has made non-blocking, what it can.
/// Closed in between, it is EBADF whatever has gone: who were told how much would go on with a number that may be
/// another's by now.
fn send_whole(hub: &Hub, fd: RawFd, len: usize, foreign: bool, piece: impl Fn(usize) -> isize) -> isize {
    send_rest(hub, fd, 0, len, foreign, piece)
}

/// The same, of which so many bytes have gone.
fn send_rest(
    hub: &Hub,
    fd: RawFd,
    mut gone: usize,
    len: usize,
    foreign: bool,
    piece: impl Fn(usize) -> isize,
) -> isize {
    loop {
        match retry(hub, fd, Direction::Write, foreign, || piece(gone)) {
            more @ 1.. if gone + (more as usize) < len && !is_nonblocking(hub, fd, foreign) => {
                gone += more as usize
            }
            more @ 0.. => return (gone + more as usize) as isize,
            error if gone > 0 && error != failed(libc::EBADF) => return gone as isize,
            error => return error,
        }
    }
}

/// [`send_whole`], of slices. `piece` is told how much has gone, and what is left of them. Whether they are where they are
/// said to be only the kernel knows: so they are looked at when it has read from them.
///
/// # Safety
/// As writev(2), for what `piece` does with them.
unsafe fn send_slices(
    hub: &Hub,
    fd: RawFd,
    slices: *const iovec,
    count: usize,
    foreign: bool,
    piece: impl Fn(usize, *const iovec, usize) -> isize,
) -> isize {
    let first = retry(hub, fd, Direction::Write, foreign, || piece(0, slices, count));
    if first <= 0 {
        return first;
    }
    // SAFETY: the caller's; the kernel has read them.
    let len = unsafe { file::length(slices, count) };
    if first as usize == len || is_nonblocking(hub, fd, foreign) {
        return first;
    }
    send_rest(hub, fd, first as usize, len, foreign, |gone| {
        // SAFETY: as above.
        let left = unsafe { file::left(slices, count, gone) };
        piece(gone, left.as_ptr(), left.len())
    })
}

/// Parks until the next edge. `false`: the deadline has passed.
fn pause(hub: &Hub, fd: RawFd, direction: Direction, deadline: Time) -> Result<bool, c_int> {
    waited(hub, |shield| hub.wait_fd(fd, direction, deadline, false, shield))
}

/// What `wait` came to, which parks, and is told whether it is shielded. `false`: the deadline has passed.
#[inline]
fn waited(hub: &Hub, wait: impl FnOnce(bool) -> std::io::Result<Readiness>) -> Result<bool, c_int> {
    match keep_errno(|| wait(hub.was_cut_short())) {
        Ok(Readiness::Ready) => Ok(true),
        other => ended_otherwise(hub, other),
    }
}

#[cold]
fn ended_otherwise(hub: &Hub, ended: std::io::Result<Readiness>) -> Result<bool, c_int> {
    match ended {
        Ok(Readiness::Ready | Readiness::Signalled) => Ok(true),
        Ok(Readiness::Expired) => Ok(false),
        Ok(Readiness::Closed) => Err(libc::EBADF),
        Ok(Readiness::Interrupted) => {
            cut_short(hub);
            Err(libc::EINTR)
        }
        Err(error) => Err(error.raw_os_error().unwrap_or(libc::ENOMEM)),
    }
}

/// The length of a time; an error number for one that the kernel refuses.
fn length(time: timespec) -> Result<Duration, c_int> {
    match (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => Err(libc::EINVAL),
    }
}

fn timespec_of(length: Duration) -> timespec {
    timespec { tv_sec: length.as_secs() as libc::time_t, tv_nsec: length.subsec_nanos() as libc::c_long }
}

/// Looks only.
static ZERO: timespec = timespec { tv_sec: 0, tv_nsec: 0 };
