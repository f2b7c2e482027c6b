//! What the manager asks of the kernel and no library has: the only file here with unsafe code.
#![allow(unsafe_code)]

use crate::arch::syscall::syscall;
use crate::net::{TcpStream, UnixStream};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// An answer of the C library's.
fn checked(answer: i32) -> io::Result<i32> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// Fills `bytes` with what nobody can guess.
pub(super) fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: valid for a write of its length.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
    Ok(())
}

/// Which process is at the other end; of a listener's, who has made that.
///
/// Errors: `PermissionDenied`: it is another user's.
pub(super) fn check_peer(stream: &UnixStream) -> io::Result<libc::pid_t> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    let room = (&raw mut peer).cast();
    // SAFETY: room for the credentials, and their length.
    checked(unsafe { libc::getsockopt(stream.as_raw_fd(), level, option, room, &raw mut len) })?;
    // SAFETY: no preconditions.
    match peer.uid == unsafe { libc::geteuid() } {
        true => Ok(peer.pid),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("process {} at the other end is of user {}", peer.pid, peer.uid),
        )),
    }
}

/// Has the kernel end the connection some 30 seconds after the other host has fallen silent.
pub(super) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    set(stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 15)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 5)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 30_000)
}

fn set(stream: &TcpStream, level: i32, option: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: an int of this frame, and its length.
    checked(unsafe { libc::setsockopt(stream.as_raw_fd(), level, option, (&raw const value).cast(), len) })
        .map(drop)
}

/// Calls `f` with SIGINT held back: for a child that will ignore it, and has not come to that yet.
pub(super) fn uninterrupted<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: all zeros is a set; all pointers are to values of this frame.
    let before = unsafe {
        let (mut interrupt, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&raw mut interrupt);
        libc::sigaddset(&raw mut interrupt, libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const interrupt, &raw mut before);
        before
    };
    let answer = f();
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    answer
}

/// In the server: Ctrl-C is for the program and not for its server, which ends when the program does; SIGTERM ends it,
/// whatever the program has it do.
pub(super) fn signals_of_a_server() {
    // SAFETY: dispositions without a handler of ours; an empty set of this frame.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGTERM, libc::SIG_DFL);
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// In the server: has as many descriptors as may be had. Each call that waits is a connection.
pub(super) fn raise_limit_of_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a value of this frame, written and read.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            // If not, there are as many as there are.
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// In the server: gives up all descriptors that were inherited but the standard ones and those to `keep`, lest a
/// connection of the program's stays open for as long as its server has a copy. Their numbers stay taken, by
/// `/dev/null`: who has inherited one of them, as a logger has its file's, must not find itself in another's connection.
pub(super) fn give_up_inherited(keep: &[RawFd]) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let numbers = std::fs::read_dir("/proc/self/fd")?;
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // Collected first: the directory is open, too, until then.
    let numbers: Vec<RawFd> = numbers.collect();
    let kept = |number: RawFd| number <= 2 || number == null.as_raw_fd() || keep.contains(&number);
    for number in numbers.into_iter().filter(|&number| !kept(number)) {
        // SAFETY: no pointers.
        if unsafe { syscall(libc::SYS_fcntl, [number as usize, libc::F_GETFD as usize, 0, 0, 0, 0]) } < 0 {
            continue;
        }
        let args = [null.as_raw_fd() as usize, number as usize, libc::O_CLOEXEC as usize, 0, 0, 0];
        // SAFETY: no pointers. Nothing that runs in this process relies on what the number was: all that the parent has
        // made is a copy that nobody uses here.
        unsafe { syscall(libc::SYS_dup3, args) };
    }
    Ok(())
}
