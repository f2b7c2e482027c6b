//! From descriptor to descriptor, without a copy of the program's: `sendfile`, `splice`, `copy_file_range`. std's
//! `io::copy` and `fs::copy` are made of these.
//!
//! Where a file is one end, an OS thread of the pool makes the call; for it not to be kept for long, it is told not to
//! wait for the other end (`SPLICE_F_NONBLOCK`), for which the green thread parks. A socket that is written to cannot be
//! told that without making it non-blocking for all who share it. So what is for a blocking socket is copied after all,
//! in pieces, by calls that can be told (`MSG_DONTWAIT`).

use super::fd_mode::settings;
use super::file::kind;
use super::read_write::{At, attempt, input};
use super::retry::{pause, retry};
use super::write_all::{send_slices, send_whole};
use super::{failed, hub, kernel, with_errno};
use crate::hub::{Hub, keep_errno};
use crate::ids::Direction;
use crate::patch::offload_blocking;
use crate::thread::offload::WorkKind;
use crate::time::NEVER;
use libc::{c_int, c_uint, c_void, iovec, off_t, size_t, ssize_t};
use std::time::Duration;

/// How much is copied at a time: what a pipe holds.
const PIECE: usize = 64 << 10;

/// The most that the kernel moves at a time.
const MOST: usize = 0x7fff_f000;

fn is_file(kind: Option<libc::mode_t>) -> bool {
    matches!(kind, Some(libc::S_IFREG | libc::S_IFBLK))
}

fn is_nonblocking(fd: c_int) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { kernel(libc::SYS_fcntl, [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0]) };
    flags >= 0 && flags & libc::O_NONBLOCK as isize != 0
}

/// Makes a system call that works on a file elsewhere.
///
/// # Safety
/// That of the system call.
unsafe fn on_file(number: libc::c_long, args: [usize; 6]) -> isize {
    // SAFETY: the caller's; it waits until it is done.
    offload_blocking(WorkKind::LibcCall, "a file", move || unsafe { kernel(number, args) })
}

/// Writes all of it to a blocking socket or pipe. Answers how much has gone, or an error if nothing has.
fn put(hub: &'static Hub, fd: c_int, bytes: &[u8], to_socket: bool) -> isize {
    send_whole(hub, fd, bytes.len(), true, |gone| {
        let rest = &bytes[gone..];
        let (at, len) = (rest.as_ptr() as usize, rest.len());
        let slice = iovec { iov_base: at as *mut c_void, iov_len: len };
        // SAFETY: bytes of ours.
        unsafe {
            match to_socket {
                true => kernel(libc::SYS_sendto, [fd as usize, at, len, libc::MSG_DONTWAIT as usize, 0, 0]),
                false => attempt(hub, At::here(fd), Direction::Write, &raw const slice, 1),
            }
        }
    })
}

/// `sendfile` to what takes its time: in pieces. The file's position, or `offset`, moves by what has gone.
///
/// # Safety
/// As sendfile(2).
unsafe fn relay(hub: &'static Hub, out: c_int, from: c_int, offset: *mut off_t, count: usize) -> isize {
    // SAFETY: the caller's; the kernel has looked at `offset` when it is used here.
    unsafe {
        // What the kernel refuses is refused.
        let refused = kernel(libc::SYS_sendfile, [out as usize, from as usize, offset as usize, 0, 0, 0]);
        if refused < 0 {
            return refused;
        }
        let seek =
            |to: usize, whence: c_int| kernel(libc::SYS_lseek, [from as usize, to, whence as usize, 0, 0, 0]);
        let start = if offset.is_null() { seek(0, libc::SEEK_CUR) } else { *offset as isize };
        let to_socket = kind(out) == Some(libc::S_IFSOCK);
        let mut piece = vec![0; PIECE.min(count)];
        let (mut gone, mut error) = (0, 0);
        while gone < count.min(MOST) {
            let slice = iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: PIECE.min(count - gone) };
            let at = At { fd: from, offset: start as usize + gone, flags: 0 };
            let got = input(hub, at, &raw const slice, 1);
            let put = if got > 0 { put(hub, out, &piece[..got as usize], to_socket) } else { got };
            gone += put.max(0) as usize;
            error = put.min(0);
            if got <= 0 || put < got {
                break;
            }
        }
        if offset.is_null() {
            seek(start as usize + gone, libc::SEEK_SET);
        } else {
            *offset = (start as usize + gone) as off_t;
        }
        if gone > 0 { gone as isize } else { error }
    }
}

/// See sendfile(2).
///
/// # Safety
/// As sendfile(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile(out: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
    let args = [out as usize, from as usize, offset as usize, count, 0, 0];
    // SAFETY: the caller's.
    with_errno(unsafe {
        match hub().filter(|_| is_file(kind(from))) {
            Some(_) if is_file(kind(out)) => on_file(libc::SYS_sendfile, args),
            Some(hub)
                if matches!(kind(out), Some(libc::S_IFSOCK | libc::S_IFIFO)) && !is_nonblocking(out) =>
            {
                relay(hub, out, from, offset, count)
            }
            _ => kernel(libc::SYS_sendfile, args),
        }
    })
}

/// See sendfile(2): what it was when offsets were short.
///
/// # Safety
/// As sendfile(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile64(out: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { sendfile(out, from, offset, count) }
}

/// See copy_file_range(2).
///
/// # Safety
/// As copy_file_range(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_offset: *mut off_t,
    out: c_int,
    out_offset: *mut off_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    let (from_offset, out_offset) = (from_offset as usize, out_offset as usize);
    let args = [from as usize, from_offset, out as usize, out_offset, len, flags as usize];
    // SAFETY: the caller's.
    with_errno(unsafe {
        match hub() {
            Some(_) => on_file(libc::SYS_copy_file_range, args),
            None => kernel(libc::SYS_copy_file_range, args),
        }
    })
}

/// Calls `attempt`, which does not wait, when there is something in `from`, until it answers something else than EAGAIN:
/// then there was no room in `out`.
fn from_end_to_end(hub: &Hub, from: c_int, out: c_int, attempt: impl Fn() -> isize) -> isize {
    loop {
        let waits = if super::poll::now(from, libc::POLLIN) == 0 {
            Some((from, Direction::Read))
        } else {
            let answer = attempt();
            if answer != failed(libc::EAGAIN) {
                return answer;
            }
            (super::poll::now(out, libc::POLLOUT) == 0).then_some((out, Direction::Write))
        };
        let Some((fd, direction)) = waits else {
            // Somebody else was quicker.
            keep_errno(|| hub.yield_now());
            continue;
        };
        hub.revalidate_fd(fd);
        let deadline = match settings(hub, fd).timeout(direction) {
            0 => NEVER,
            nanos => hub.clock().after(Duration::from_nanos(nanos)),
        };
        hub.reactor().drained(fd, direction);
        match pause(hub, fd, direction, deadline) {
            Ok(true) => {}
            Ok(false) => return failed(libc::EAGAIN),
            Err(number) => return failed(number),
        }
    }
}

/// From a pipe to a blocking socket: what is there, up to a piece, by a copy.
fn pipe_to_socket(hub: &'static Hub, from: c_int, out: c_int, len: usize) -> isize {
    let mut piece = vec![0; PIECE.min(len)];
    let slice = iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() };
    // SAFETY: room of ours.
    let got = unsafe { input(hub, At::here(from), &raw const slice, 1) };
    let Ok(len @ 1..) = usize::try_from(got) else { return got };
    // What was read cannot be put back. So what a kill or a timeout has cut short, once, goes on.
    let mut gone = put(hub, out, &piece[..len], true);
    if (1..got).contains(&gone) || gone == failed(libc::EINTR) {
        let first = gone.max(0);
        gone = match put(hub, out, &piece[first as usize..len], true) {
            more @ 0.. => first + more,
            _ if first > 0 => first,
            error => error,
        };
    }
    gone
}

/// See splice(2).
///
/// # Safety
/// As splice(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn splice(
    from: c_int,
    from_offset: *mut off_t,
    out: c_int,
    out_offset: *mut off_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    let (from_offset, out_offset) = (from_offset as usize, out_offset as usize);
    let args = |flags: c_uint| [from as usize, from_offset, out as usize, out_offset, len, flags as usize];
    let no_wait = args(flags | libc::SPLICE_F_NONBLOCK);
    // SAFETY: the caller's.
    let plain = || unsafe { kernel(libc::SYS_splice, args(flags)) };
    let Some(hub) = hub().filter(|_| flags & libc::SPLICE_F_NONBLOCK == 0 && len > 0) else {
        return with_errno(plain());
    };
    let (source, target) = (kind(from), kind(out));
    with_errno(match (source, target) {
        // What the kernel refuses, or knows better, it is asked at once.
        _ if is_nonblocking(from) || is_nonblocking(out) => plain(),
        (Some(libc::S_IFIFO), Some(libc::S_IFSOCK)) if from_offset == 0 && out_offset == 0 => {
            pipe_to_socket(hub, from, out, len)
        }
        (Some(libc::S_IFIFO), _) | (_, Some(libc::S_IFIFO)) if is_file(source) || is_file(target) => {
            // SAFETY: the caller's.
            from_end_to_end(hub, from, out, || unsafe { on_file(libc::SYS_splice, no_wait) })
        }
        (Some(libc::S_IFIFO | libc::S_IFSOCK), Some(libc::S_IFIFO)) => {
            // SAFETY: the caller's.
            from_end_to_end(hub, from, out, || unsafe { kernel(libc::SYS_splice, no_wait) })
        }
        _ => plain(),
    })
}

/// See tee(2).
#[unsafe(no_mangle)]
extern "C" fn tee(from: c_int, out: c_int, len: size_t, flags: c_uint) -> ssize_t {
    let call = |flags: c_uint| {
        // SAFETY: no pointers.
        unsafe { kernel(libc::SYS_tee, [from as usize, out as usize, len, flags as usize, 0, 0]) }
    };
    let waits = flags & libc::SPLICE_F_NONBLOCK == 0 && len > 0;
    with_errno(match hub().filter(|_| waits && !is_nonblocking(from) && !is_nonblocking(out)) {
        Some(hub) if (kind(from), kind(out)) == (Some(libc::S_IFIFO), Some(libc::S_IFIFO)) => {
            from_end_to_end(hub, from, out, || call(flags | libc::SPLICE_F_NONBLOCK))
        }
        _ => call(flags),
    })
}

/// See vmsplice(2).
///
/// # Safety
/// As vmsplice(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn vmsplice(fd: c_int, slices: *const iovec, count: size_t, flags: c_uint) -> ssize_t {
    let call = |slices: *const iovec, count: usize, flags: c_uint| {
        // SAFETY: the caller's.
        unsafe { kernel(libc::SYS_vmsplice, [fd as usize, slices as usize, count, flags as usize, 0, 0]) }
    };
    let Some(hub) = hub().filter(|_| flags & libc::SPLICE_F_NONBLOCK == 0) else {
        return with_errno(call(slices, count, flags));
    };
    // SAFETY: no pointers.
    let mode = unsafe { kernel(libc::SYS_fcntl, [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0]) };
    let flags = flags | libc::SPLICE_F_NONBLOCK;
    with_errno(match mode as c_int & libc::O_ACCMODE {
        libc::O_RDONLY => retry(hub, fd, Direction::Read, true, || call(slices, count, flags)),
        // SAFETY: the caller's.
        _ => unsafe {
            send_slices(hub, fd, slices, count, true, |_, slices, count| call(slices, count, flags))
        },
    })
}
