//! Sockets: bytes, and connections.
//!
//! Next: `patch/io/sendmsg.rs`, messages with several pieces.

use super::blocking::{hub, poll_until, raw, retry, retry_until};
use super::fd::{made_pair, opened};
use super::fd_mode::{blocking_tcp, mode, socket_option};
use super::transfer::transfer_all;
use crate::fd_table;
use crate::hub::{EAGAIN, Hub, OnInterrupt, RetryOpts, Tracking};
use crate::ids::Direction;
use crate::patch::kind::offload_blocking;
use crate::patch::symbol::{assert_room, failed, interpose, kernel, with_errno};
use crate::sys::poll_now::poll_now;
use crate::sys::raw_mutex::Lock;
use crate::thread::offload::WorkKind;
use libc::{c_int, c_void, size_t, sockaddr, socklen_t, ssize_t};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Receives. With `MSG_WAITALL` it goes on until all is there, as the kernel does.
///
/// # Safety
/// As recvfrom(2).
unsafe fn receive(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int, from: [usize; 2]) -> isize {
    let call = |got: usize, flags: c_int| {
        let args = [fd as usize, buffer as usize + got, len - got, flags as usize, from[0], from[1]];
        // SAFETY: the caller's contract, within the caller's buffer.
        unsafe { kernel(libc::SYS_recvfrom, args) }
    };
    let Some(hub) = hub().filter(|_| flags & libc::MSG_DONTWAIT == 0) else { return call(0, flags) };
    let attempt = |got| try_receive(hub, fd, flags, |flags| call(got, flags));
    if flags == 0 {
        return receive_some(hub, fd, len, || attempt(0));
    }
    // Only the first piece is wanted, or all of them.
    let wanted = if waits_for_all(fd, flags) { len } else { 0 };
    transfer_all(hub, fd, Direction::Read, Tracking::Complete, || wanted, attempt)
}

/// Calls `call` so that it does not wait. If a datagram socket is shut down, the kernel has no answer to that, but at once one
/// to a call that may wait, with which it also writes that there is no address and no control data.
#[inline]
pub(super) fn try_receive(hub: &Hub, fd: c_int, flags: c_int, call: impl Fn(c_int) -> isize) -> isize {
    match call(flags | libc::MSG_DONTWAIT) {
        EAGAIN if hub.is_shut_down(fd) => call(flags),
        answer => answer,
    }
}

/// Receives what there is. A blocking TCP socket that is known to be drained waits before the first attempt, and a
/// short read has drained it.
#[inline]
fn receive_some(hub: &Hub, fd: c_int, len: usize, attempt: impl FnMut() -> isize) -> isize {
    const READ: Direction = Direction::Read;
    let drained = blocking_tcp(hub, fd).filter(|(state, _)| !state.is_ready(READ));
    let opts = RetryOpts {
        deadline: || match drained {
            Some((_, mode)) => Some(mode.deadline(hub, READ)),
            None => super::fd_mode::deadline(hub, fd, READ),
        },
        on_interrupt: OnInterrupt::Eintr,
        tracking: Tracking::Complete,
        drained: drained.map(|(state, _)| state),
    };
    let answer = raw(hub.retry(fd, READ, opts, attempt));
    if answer > 0 && (answer as usize) < len {
        // No other green thread has run since the read.
        if let Some((state, _)) = drained.or_else(|| blocking_tcp(hub, fd)) {
            state.assume_not_ready(READ);
        }
    }
    answer
}

/// Returns `true` if the call waits for all bytes that were asked for. A message, unlike a part of a stream, is always
/// whole.
pub(super) fn waits_for_all(fd: c_int, flags: c_int) -> bool {
    flags & (libc::MSG_WAITALL | libc::MSG_PEEK) == libc::MSG_WAITALL
        && socket_option(fd, libc::SO_TYPE) == Ok(libc::SOCK_STREAM)
}

/// Sends all bytes, as a blocking socket does, unless it is interrupted in between.
///
/// # Safety
/// As sendto(2).
pub(super) unsafe fn transmit(
    fd: c_int,
    bytes: *const c_void,
    len: size_t,
    flags: c_int,
    to: [usize; 2],
) -> isize {
    let call = |sent: usize, flags: c_int| {
        let args = [fd as usize, bytes as usize + sent, len - sent, flags as usize, to[0], to[1]];
        // SAFETY: the caller's contract, within the caller's bytes.
        unsafe { kernel(libc::SYS_sendto, args) }
    };
    let Some(hub) = hub().filter(|_| flags & libc::MSG_DONTWAIT == 0) else { return call(0, flags) };
    let piece = |sent| call(sent, flags | libc::MSG_DONTWAIT);
    transfer_all(hub, fd, Direction::Write, Tracking::Complete, || len, piece)
}

/// Held from the look to the call after it: so that, of several OS threads with a hub, none takes the connection that
/// another has seen.
static ACCEPTING: Lock<()> = Lock::new(());

/// Others may accept from this process's listeners: OS threads without a hub, and other processes, since a fork or
/// since a listener was sent to one. A listener that came from another process has such others in any case.
static OTHERS_ACCEPT: AtomicBool = AtomicBool::new(false);

/// Listeners have others that accept, from now on.
pub(super) fn share_listeners() {
    OTHERS_ACCEPT.store(true, Relaxed);
}

/// In the child of a fork no other OS thread accepts.
pub(super) fn reset_after_fork() {
    // SAFETY: the child has one OS thread, and it is not in here.
    unsafe { ACCEPTING.reset_after_fork(()) };
}

/// Accepts, if there is a connection. The kernel has no flag for an accept that does not wait, so it is asked for
/// readiness first. If another may take the connection between the two, an OS thread of the pool calls, and waits for
/// the next one if need be.
fn try_accept(hub: &Hub, fd: c_int, call: impl Fn() -> isize + Send) -> isize {
    let has_others = OTHERS_ACCEPT.load(Relaxed) || !fd_table::is_own_listener(fd);
    if has_others && !mode(hub, fd).is_nonblocking() {
        return match poll_now(fd, libc::POLLIN) {
            0 => EAGAIN,
            _ => offload_blocking(WorkKind::ExternalWait, "a connection", call),
        };
    }
    let _lock = ACCEPTING.lock();
    if poll_now(fd, libc::POLLIN) == 0 { EAGAIN } else { call() }
}

/// # Safety
/// As accept4(2).
unsafe fn accept_connection(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int {
    let args = [fd as usize, address as usize, len as usize, flags as usize];
    // SAFETY: the caller's contract.
    let call = || unsafe { kernel(libc::SYS_accept4, args) };
    let answer = match hub() {
        Some(hub) => retry(hub, fd, Direction::Read, Tracking::Complete, || try_accept(hub, fd, call)),
        None => {
            share_listeners();
            call()
        }
    };
    with_errno(opened(answer))
}

/// Returns `true` if to connect `fd` may take a while: `fd` is a stream, and not connected.
fn connects_slowly(fd: c_int) -> bool {
    if !matches!(socket_option(fd, libc::SO_TYPE), Ok(libc::SOCK_STREAM | libc::SOCK_SEQPACKET)) {
        return false;
    }
    let mut len: socklen_t = 0;
    // SAFETY: no room for an address, and its length.
    unsafe { kernel(libc::SYS_getpeername, [fd as usize, 0, &raw mut len as usize]) != 0 }
}

/// Connects a blocking stream. The stream is non-blocking for the one call that begins it: no other code uses a stream
/// that is not connected yet.
///
/// # Safety
/// As connect(2).
unsafe fn connect_stream(hub: &'static Hub, fd: c_int, call: impl Fn() -> isize + Copy) -> isize {
    let mode = mode(hub, fd);
    let set_nonblocking = |on: c_int| {
        // SAFETY: an int of this frame.
        unsafe { kernel(libc::SYS_ioctl, [fd as usize, libc::FIONBIO as usize, &raw const on as usize]) }
    };
    if mode.is_nonblocking() || set_nonblocking(1) < 0 {
        return call();
    }
    let deadline = mode.deadline(hub, Direction::Write);
    // A Unix socket whose listener's queue is full says so at once, and cannot be waited for.
    let begun = poll_until(hub, deadline, "room in a listener's queue", None, call);
    set_nonblocking(0);
    if begun != failed(libc::EINPROGRESS) {
        return begun;
    }
    // The second call returns what came of the first, and ends the kernel's state of connecting.
    let outcome = || match poll_now(fd, libc::POLLOUT) {
        0 => EAGAIN,
        _ => call(),
    };
    match retry_until(hub, fd, Direction::Write, Tracking::Complete, || Some(deadline), outcome) {
        EAGAIN => failed(libc::EINPROGRESS),
        answer => answer,
    }
}

const PARKS: &str = "parks until it would not block";
const NOTED: &str = "noted";

interpose! { Io;
    /// See recv(2).
    fn recv(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int) -> ssize_t,
        "std::net, std::os::unix::net, C" => PARKS;
    { with_errno(receive(fd, buffer, len, flags, [0, 0])) }

    /// See recvfrom(2).
    fn recvfrom(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int, from: *mut sockaddr,
        from_len: *mut socklen_t) -> ssize_t, "std::net::UdpSocket, C" => PARKS;
    { with_errno(receive(fd, buffer, len, flags, [from as usize, from_len as usize])) }

    /// See recv(2): its name when C is compiled with `_FORTIFY_SOURCE`.
    fn __recv_chk(fd: c_int, buffer: *mut c_void, len: size_t, room: size_t, flags: c_int) -> ssize_t,
        "C" => "as recv";
    { assert_room(len, room); recv(fd, buffer, len, flags) }

    /// See recvfrom(2): its name when C is compiled with `_FORTIFY_SOURCE`.
    fn __recvfrom_chk(fd: c_int, buffer: *mut c_void, len: size_t, room: size_t, flags: c_int,
        from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t, "C" => "as recvfrom";
    { assert_room(len, room); recvfrom(fd, buffer, len, flags, from, from_len) }

    /// See send(2).
    fn send(fd: c_int, bytes: *const c_void, len: size_t, flags: c_int) -> ssize_t, "std::net, C" => PARKS;
    { with_errno(transmit(fd, bytes, len, flags, [0, 0])) }

    /// See sendto(2).
    fn sendto(fd: c_int, bytes: *const c_void, len: size_t, flags: c_int, to: *const sockaddr,
        to_len: socklen_t) -> ssize_t, "std::net::UdpSocket, C" => PARKS;
    { with_errno(transmit(fd, bytes, len, flags, [to as usize, to_len as usize])) }

    /// See accept4(2).
    fn accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int,
        "std::net, C" => PARKS;
    { accept_connection(fd, address, len, flags) }

    /// See accept(2).
    fn accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int, "C" => PARKS;
    { accept_connection(fd, address, len, 0) }

    /// See connect(2).
    fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int,
        "std::net, C" => "parks until it is connected, or refused";
    {
        let call = || kernel(libc::SYS_connect, [fd as usize, address as usize, len as usize]);
        with_errno(match hub().filter(|_| connects_slowly(fd)) {
            Some(hub) => connect_stream(hub, fd, call),
            None => call(),
        })
    }

    /// See socket(2).
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int, "std::net, C" => NOTED;
    { with_errno(opened(kernel(libc::SYS_socket, [domain as usize, kind as usize, protocol as usize]))) }

    /// See listen(2).
    fn listen(fd: c_int, backlog: c_int) -> c_int, "std::net, C" => NOTED;
    {
        let answer = kernel(libc::SYS_listen, [fd as usize, backlog as usize]);
        if answer == 0 {
            fd_table::note_listener(fd);
        }
        with_errno(answer)
    }

    /// See socketpair(2).
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int,
        "std::os::unix::net, C" => NOTED;
    {
        let args = [domain as usize, kind as usize, protocol as usize, pair as usize];
        with_errno(made_pair(kernel(libc::SYS_socketpair, args), pair))
    }
}
