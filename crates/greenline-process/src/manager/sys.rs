//! System calls of the manager for which no library has a function. It is the only file of the manager with unsafe code.
//!
//! Next: `manager/endpoint.rs`, which uses some of them.
#![allow(unsafe_code)]

use crate::descriptor::replace_by_dev_null;
use greenline::net::{TcpStream, UnixStream};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Turns the return value of a function of the C library into a result.
fn checked(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns random bytes that no process can predict.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    const { assert!(N <= 256, "getentropy fills up to 256 bytes") };
    let mut bytes = [0; N];
    // SAFETY: `bytes` is valid for a write of `N` bytes.
    checked(unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), N) }).map(|()| bytes)
}

/// Returns the process id of the peer. If the peer is a listener, that is the process that made the listener.
///
/// Errors: `PermissionDenied` if the peer belongs to another user.
pub(super) fn check_peer(stream: &UnixStream) -> io::Result<libc::pid_t> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: `peer` has room for the credentials, and `len` is its size.
    checked(unsafe {
        libc::getsockopt(stream.as_raw_fd(), level, option, (&raw mut peer).cast(), &raw mut len)
    })?;
    // SAFETY: geteuid has no preconditions.
    if peer.uid == unsafe { libc::geteuid() } {
        return Ok(peer.pid);
    }
    let error = format!("the peer, process {}, belongs to user {}", peer.pid, peer.uid);
    Err(io::Error::new(io::ErrorKind::PermissionDenied, error))
}

/// Makes the kernel end the connection some 30 seconds after the other host has fallen silent.
pub(super) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let options = [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 15),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 5),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 30_000),
    ];
    options.into_iter().try_for_each(|(level, option, value): (i32, i32, i32)| {
        let (value, len) = ((&raw const value).cast(), size_of::<i32>() as libc::socklen_t);
        // SAFETY: `value` points to an int of this frame, and `len` is its size.
        checked(unsafe { libc::setsockopt(stream.as_raw_fd(), level, option, value, len) })
    })
}

/// Calls `f` with SIGINT blocked. The server process ignores SIGINT, but between the fork and that call Ctrl-C would
/// kill it.
pub(super) fn with_sigint_blocked<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: all zeros is an empty set, and all pointers point to values of this frame.
    let before = unsafe {
        let (mut interrupt, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigaddset(&raw mut interrupt, libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const interrupt, &raw mut before);
        before
    };
    let result = f();
    // SAFETY: `before` is a value of this frame; null means that the former mask is not stored.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    result
}

/// Sets the signal dispositions of the server process. It ignores SIGINT, because Ctrl-C is meant for the program, and
/// the server ends when the program does. SIGTERM ends it, whatever handler the program installed.
pub(super) fn set_server_signals() {
    // SAFETY: neither disposition is a handler of ours, and `none`, all zeros, is an empty set of this frame.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGTERM, libc::SIG_DFL);
        let none = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Raises the server's limit of open descriptors to the maximum, because each waiting call occupies a connection.
pub(super) fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a value of this frame, which the kernel writes and reads.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            // If this fails, the former limit stays.
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Closes, in the server, all inherited descriptors except the standard ones and those in `keep`. Otherwise a connection
/// of the program would stay open for as long as the server has a copy of it. `/dev/null` takes over the closed numbers:
/// inherited code that still uses one of them, for example a logger its file's, must not write into a client's
/// connection.
pub(super) fn replace_inherited_descriptors(keep: &[RawFd]) -> io::Result<()> {
    let numbers = std::fs::read_dir("/proc/self/fd")?;
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // `collect` closes the directory. Its own descriptor, which is among the numbers, becomes `/dev/null` like the others.
    let numbers: Vec<RawFd> = numbers.collect();
    numbers
        .into_iter()
        .filter(|number| *number > 2 && !keep.contains(number))
        .try_for_each(replace_by_dev_null)
}
