//! Sockets: bytes, and connections.

use super::fd_mode::{blocking_tcp, deadline, number_of, settings};
use super::retry::{insist, retry, retry_after, retry_until};
use super::write_all::send_whole;
use super::{failed, hub, kernel, with_errno};
use crate::fd_table;
use crate::hub::Hub;
use crate::ids::Direction;
use crate::patch::offload_blocking;
use crate::sys::raw_mutex::Lock;
use crate::thread::offload::WorkKind;
use libc::{c_int, c_void, size_t, sockaddr, socklen_t, ssize_t};
use std::mem::zeroed;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Receives without blocking, parks, tries again. `MSG_WAITALL` goes on until all is there, as the kernel does.
///
/// # Safety
/// As recvfrom(2).
unsafe fn receive(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int, from: [usize; 2]) -> isize {
    let call = |at: usize, len: usize, flags: c_int| {
        let args = [fd as usize, at, len, flags as usize, from[0], from[1]];
        // SAFETY: the caller's; `at` and `len` are within its buffer.
        unsafe { kernel(libc::SYS_recvfrom, args) }
    };
    let Some(hub) = hub().filter(|_| flags & libc::MSG_DONTWAIT == 0) else {
        return call(buffer as usize, len, flags);
    };
    let whole = is_whole(fd, flags);
    let mut got = 0;
    loop {
        let known = if flags == 0 { blocking_tcp(hub, fd) } else { None };
        let drained = known.filter(|(source, _)| !source.is_ready(Direction::Read));
        let drained = drained.map(|(source, settings)| (source, deadline(hub, settings, Direction::Read)));
        let attempt = || call(buffer as usize + got, len - got, flags | libc::MSG_DONTWAIT);
        let answer = retry_after(drained, hub, fd, Direction::Read, false, attempt);
        if flags == 0 && answer > 0 && (answer as usize) < len {
            // There is no more now. Since it was last waited for nobody else has run.
            if let Some((source, _)) = known.or_else(|| blocking_tcp(hub, fd)) {
                source.maybe_drained(Direction::Read);
            }
        }
        match answer {
            more @ 1.. if whole && got + (more as usize) < len => got += more as usize,
            more @ 0.. => return (got + more as usize) as isize,
            _ if got > 0 => return got as isize,
            error => return error,
        }
    }
}

/// Whether all that was asked for is to be waited for.
pub(super) fn is_whole(fd: c_int, flags: c_int) -> bool {
    flags & (libc::MSG_WAITALL | libc::MSG_PEEK) == libc::MSG_WAITALL && is_stream(fd)
}

/// Whether it has bytes, rather than messages, each of which is whole.
fn is_stream(fd: c_int) -> bool {
    number_of(fd, libc::SO_TYPE) == Ok(libc::SOCK_STREAM)
}

/// See recv(2).
///
/// # Safety
/// As recv(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's.
    with_errno(unsafe { receive(fd, buffer, len, flags, [0, 0]) })
}

/// See recvfrom(2).
///
/// # Safety
/// As recvfrom(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the caller's.
    with_errno(unsafe { receive(fd, buffer, len, flags, [from as usize, from_len as usize]) })
}

/// See recv(2): what it becomes when C is compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As recv(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __recv_chk(
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
) -> ssize_t {
    assert_room(len, room);
    // SAFETY: the caller's.
    unsafe { recv(fd, buffer, len, flags) }
}

/// See recvfrom(2): what it becomes when C is compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As recvfrom(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    assert_room(len, room);
    // SAFETY: the caller's.
    unsafe { recvfrom(fd, buffer, len, flags, from, from_len) }
}

/// What C's checks do: a call that would write beyond its buffer ends the process.
pub(super) fn assert_room(len: size_t, room: size_t) {
    if len > room {
        // SAFETY: no preconditions.
        unsafe { libc::abort() };
    }
}

/// Sends all of it, as a blocking socket does, unless it is interrupted in between.
///
/// # Safety
/// As sendto(2).
unsafe fn transmit(fd: c_int, bytes: *const c_void, len: size_t, flags: c_int, to: [usize; 2]) -> isize {
    let call = |at: usize, len: usize, flags: c_int| {
        let args = [fd as usize, at, len, flags as usize, to[0], to[1]];
        // SAFETY: the caller's; `at` and `len` are within its bytes.
        unsafe { kernel(libc::SYS_sendto, args) }
    };
    let Some(hub) = hub().filter(|_| flags & libc::MSG_DONTWAIT == 0) else {
        return call(bytes as usize, len, flags);
    };
    send_whole(hub, fd, len, false, |gone| {
        call(bytes as usize + gone, len - gone, flags | libc::MSG_DONTWAIT)
    })
}

/// See send(2).
///
/// # Safety
/// As send(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, bytes: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's.
    with_errno(unsafe { transmit(fd, bytes, len, flags, [0, 0]) })
}

/// See sendto(2).
///
/// # Safety
/// As sendto(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sendto(
    fd: c_int,
    bytes: *const c_void,
    len: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> ssize_t {
    // SAFETY: the caller's.
    with_errno(unsafe { transmit(fd, bytes, len, flags, [to as usize, to_len as usize]) })
}

/// See socket(2). The number may have been another's, closed where it was not seen.
#[unsafe(no_mangle)]
extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: no pointers.
    let fd =
        unsafe { kernel(libc::SYS_socket, [domain as usize, kind as usize, protocol as usize, 0, 0, 0]) };
    if fd >= 0 {
        fd_table::forget(fd as c_int);
    }
    with_errno(fd) as c_int
}

/// See socketpair(2).
///
/// # Safety
/// As socketpair(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int {
    let args = [domain as usize, kind as usize, protocol as usize, pair as usize, 0, 0];
    // SAFETY: the caller's.
    unsafe { with_errno(super::fd::made_pair(kernel(libc::SYS_socketpair, args), pair)) as c_int }
}

/// See listen(2).
#[unsafe(no_mangle)]
extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: no pointers.
    let answer = unsafe { kernel(libc::SYS_listen, [fd as usize, backlog as usize, 0, 0, 0, 0]) };
    if answer == 0 {
        fd_table::note_listener(fd);
    }
    with_errno(answer) as c_int
}

/// Held from the look to the call after it by whoever has a hub: so that of several, on several OS threads, none takes
/// the connection that another has seen.
static ACCEPTING: Lock<()> = Lock::new(());

/// Whether there may be others to take it: OS threads without a hub, and other processes, since a fork or since a listener
/// was sent to one. (Of a listener that came from another process there are such others in any case.)
static OTHERS_ACCEPT: AtomicBool = AtomicBool::new(false);

/// There are others from now on.
pub(super) fn share_listeners() {
    OTHERS_ACCEPT.store(true, Relaxed);
}

/// In the child of a fork nobody else accepts.
pub(super) fn reset_after_fork() {
    // SAFETY: the child has one OS thread, and it is not in here.
    unsafe { ACCEPTING.reset_after_fork(()) };
}

/// Accepts, if there is a connection. There is no flag to have it not wait, so it is asked for readiness first. If
/// another may take the connection between the two, an OS thread of the pool calls, and waits for the next if need be.
fn try_accept(hub: &Hub, fd: c_int, call: impl Fn() -> isize + Send) -> isize {
    let has_others = OTHERS_ACCEPT.load(Relaxed) || !fd_table::is_own_listener(fd);
    if has_others && !settings(hub, fd).nonblocking {
        return match super::poll::now(fd, libc::POLLIN) {
            0 => failed(libc::EAGAIN),
            _ => offload_blocking(WorkKind::ExternalWait, "a connection", call),
        };
    }
    let _nobody_else = ACCEPTING.lock();
    match super::poll::now(fd, libc::POLLIN) {
        0 => failed(libc::EAGAIN),
        _ => call(),
    }
}

/// See accept4(2).
///
/// # Safety
/// As accept4(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int {
    let args = [fd as usize, address as usize, len as usize, flags as usize, 0, 0];
    // SAFETY: the caller's.
    let call = || unsafe { kernel(libc::SYS_accept4, args) };
    let answer = match hub() {
        Some(hub) => retry(hub, fd, Direction::Read, false, || try_accept(hub, fd, call)),
        None => {
            share_listeners();
            call()
        }
    };
    if answer >= 0 {
        fd_table::forget(answer as c_int);
    }
    with_errno(answer) as c_int
}

/// See accept(2).
///
/// # Safety
/// As accept(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { accept4(fd, address, len, 0) }
}

/// Whether to connect `fd` may take a while: it is a stream, and not connected.
fn connects_slowly(fd: c_int) -> bool {
    if !matches!(number_of(fd, libc::SO_TYPE), Ok(libc::SOCK_STREAM | libc::SOCK_SEQPACKET)) {
        return false;
    }
    // SAFETY: all zeros is an address.
    let mut peer: libc::sockaddr_storage = unsafe { zeroed() };
    let mut len = size_of_val(&peer) as socklen_t;
    let args = [fd as usize, &raw mut peer as usize, &raw mut len as usize, 0, 0, 0];
    // SAFETY: room for an address, and its length.
    unsafe { kernel(libc::SYS_getpeername, args) != 0 }
}

/// See connect(2). A stream is non-blocking for the one call that begins it: nobody uses one that is not connected yet.
///
/// # Safety
/// As connect(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: the caller's.
    let call =
        || unsafe { kernel(libc::SYS_connect, [fd as usize, address as usize, len as usize, 0, 0, 0]) };
    let Some(hub) = hub().filter(|_| connects_slowly(fd)) else { return with_errno(call()) as c_int };
    let settings = settings(hub, fd);
    if settings.nonblocking {
        return with_errno(call()) as c_int;
    }
    let set = |on: c_int| {
        let mut on = on;
        // SAFETY: an int of ours.
        unsafe {
            kernel(libc::SYS_ioctl, [fd as usize, libc::FIONBIO as usize, &raw mut on as usize, 0, 0, 0])
        }
    };
    if set(1) < 0 {
        return with_errno(call()) as c_int;
    }
    let deadline = deadline(hub, settings, Direction::Write);
    // A Unix socket whose listener's queue is full says so at once, and cannot be waited for.
    let begun = insist(hub, deadline, call);
    set(0);
    if begun != failed(libc::EINPROGRESS) {
        return with_errno(begun) as c_int;
    }
    let come_out = || match super::poll::now(fd, libc::POLLOUT) {
        0 => failed(libc::EAGAIN),
        _ => error_of(fd),
    };
    let answer = retry_until(false, hub, fd, Direction::Write, false, || Some(deadline), come_out);
    with_errno(if answer == failed(libc::EAGAIN) { failed(libc::EINPROGRESS) } else { answer }) as c_int
}

/// How a connection came out.
fn error_of(fd: c_int) -> isize {
    number_of(fd, libc::SO_ERROR).map_or_else(|refused| refused, failed)
}
