//! From descriptor to descriptor, without a copy in the program: `sendfile`, `splice`, `copy_file_range`. std's
//! `io::copy` and `fs::copy` are made of these.
//!
//! If a file is one end, an OS thread of the pool makes the call. The call does not wait for the other end
//! (`SPLICE_F_NONBLOCK`), so the OS thread is not kept for long, and the green thread parks for that end. A write to a
//! socket always waits, unless the socket is made non-blocking for all its users. So bytes for a blocking socket are
//! copied after all, in pieces, by calls that do not wait (`MSG_DONTWAIT`).
//!
//! Next: `patch/io/read_write.rs`, which copies.

use super::blocking::{hub, offload, retry};
use super::fd_mode::{FdKind, ask_kind, has_flag};
use super::file::MAX_RW_COUNT;
use super::file_pos::FilePos;
use super::iovec::Slices;
use super::read_write::{read_one, write_one};
use super::recv_send::transmit;
use super::transfer::transfer_slices;
use crate::hub::{EAGAIN, Hub, Tracking};
use crate::ids::Direction;
use crate::patch::symbol::{failed, interpose, kernel, with_errno};
use crate::sys::poll_now::poll_now;
use crate::thread::offload::WorkKind;
use FdKind::{File, Pipe, Socket};
use libc::{c_int, c_uint, iovec, off_t, size_t, ssize_t};

/// Number of bytes copied at a time: what a pipe holds.
const PIECE: usize = 64 << 10;

fn is_nonblocking(fd: c_int) -> bool {
    has_flag(fd, libc::O_NONBLOCK)
}

/// Makes a system call that works on a file: on an OS thread of the pool if there is a hub, else here.
///
/// # Safety
/// As the system call.
unsafe fn on_file(hub: Option<&Hub>, number: libc::c_long, args: [usize; 6]) -> isize {
    // SAFETY: the caller's contract.
    unsafe { offload(hub, WorkKind::LibcCall, "a file", || kernel(number, args)) }
}

/// Reads what there is, up to the length of `room`.
fn get(hub: &'static Hub, pos: FilePos, room: &mut [u8]) -> isize {
    // SAFETY: memory of this crate.
    unsafe { read_one(hub, pos, room.as_mut_ptr().cast(), room.len()) }
}

/// Writes all of it to a blocking socket or pipe. Returns how much was written, or an error if nothing was.
fn put(hub: &'static Hub, fd: c_int, bytes: &[u8], to: FdKind) -> isize {
    let (len, bytes) = (bytes.len(), bytes.as_ptr().cast_mut().cast());
    // SAFETY: bytes of this crate.
    unsafe {
        match to {
            Socket => transmit(fd, bytes, len, 0, [0, 0]),
            _ => write_one(hub, FilePos::new(fd, None, 0), bytes, len),
        }
    }
}

/// `sendfile` to a socket or a pipe, in pieces. The file's position, or `offset`, moves by what was written.
///
/// # Safety
/// As sendfile(2).
unsafe fn sendfile_in_pieces(
    hub: &'static Hub,
    (out, to): (c_int, FdKind),
    from: c_int,
    offset: *mut off_t,
    count: usize,
) -> isize {
    // SAFETY: the caller's contract. The kernel has looked at `offset` before it is used here.
    unsafe {
        // The kernel refuses here what it would refuse.
        let refused = kernel(libc::SYS_sendfile, [out as usize, from as usize, offset as usize, 0]);
        if refused < 0 {
            return refused;
        }
        let seek = |to: usize, whence: c_int| kernel(libc::SYS_lseek, [from as usize, to, whence as usize]);
        let start = if offset.is_null() { seek(0, libc::SEEK_CUR) } else { *offset as isize };
        let mut piece = vec![0; PIECE.min(count)];
        let (mut gone, mut error) = (0, 0);
        while gone < count.min(MAX_RW_COUNT) {
            let pos = FilePos { fd: from, offset: start as usize + gone, flags: 0 };
            let got = get(hub, pos, &mut piece[..PIECE.min(count - gone)]);
            let put = if got > 0 { put(hub, out, &piece[..got as usize], to) } else { got };
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

/// # Safety
/// As sendfile(2).
unsafe fn send_file(out: c_int, from: c_int, offset: *mut off_t, count: size_t) -> isize {
    let args = [out as usize, from as usize, offset as usize, count, 0, 0];
    // SAFETY: the caller's contract.
    unsafe {
        let Some(hub) = hub().filter(|_| ask_kind(from) == File) else {
            return kernel(libc::SYS_sendfile, args);
        };
        match ask_kind(out) {
            File => on_file(Some(hub), libc::SYS_sendfile, args),
            to @ (Socket | Pipe) if !is_nonblocking(out) => {
                sendfile_in_pieces(hub, (out, to), from, offset, count)
            }
            _ => kernel(libc::SYS_sendfile, args),
        }
    }
}

/// Parks until `fd` is ready. Returns 0, or an error.
fn wait_ready(hub: &Hub, fd: c_int, direction: Direction) -> isize {
    let events = if direction == Direction::Read { libc::POLLIN } else { libc::POLLOUT };
    let attempt = || if poll_now(fd, events) == 0 { EAGAIN } else { 0 };
    retry(hub, fd, direction, Tracking::MayBeStale, attempt)
}

/// Calls `attempt`, which must not block, until it returns something else than EAGAIN. Parks in between: until there is
/// something in `from`, and then until there is room in `out`.
fn from_end_to_end(hub: &Hub, from: c_int, out: c_int, attempt: impl Fn() -> isize) -> isize {
    loop {
        let source = wait_ready(hub, from, Direction::Read);
        let answer = if source < 0 { source } else { attempt() };
        if answer != EAGAIN || source < 0 {
            return answer;
        }
        let room = wait_ready(hub, out, Direction::Write);
        if room < 0 {
            return room;
        }
        // If both are ready each time, another reader or writer is quicker.
        hub.yield_if_polling();
    }
}

/// From a pipe to a blocking socket: copies what is there, up to a piece.
fn pipe_to_socket(hub: &'static Hub, from: c_int, out: c_int, len: usize) -> isize {
    let mut piece = vec![0; PIECE.min(len)];
    let got = get(hub, FilePos::new(from, None, 0), &mut piece);
    let Ok(len @ 1..) = usize::try_from(got) else { return got };
    // The bytes that were read cannot be put back. So a write that a kill or a timeout has ended early, once, goes on.
    let mut gone = put(hub, out, &piece[..len], Socket);
    if (1..got).contains(&gone) || gone == failed(libc::EINTR) {
        let first = gone.max(0);
        gone = match put(hub, out, &piece[first as usize..len], Socket) {
            more @ 0.. => first + more,
            _ if first > 0 => first,
            error => error,
        };
    }
    gone
}

/// # Safety
/// As splice(2).
unsafe fn splice_between(
    (from, from_offset): (c_int, *mut off_t),
    (out, out_offset): (c_int, *mut off_t),
    len: size_t,
    flags: c_uint,
) -> isize {
    let (from_offset, out_offset) = (from_offset as usize, out_offset as usize);
    let call = |hub: Option<&Hub>, flags: c_uint| {
        let args = [from as usize, from_offset, out as usize, out_offset, len, flags as usize];
        // SAFETY: the caller's contract.
        unsafe { on_file(hub, libc::SYS_splice, args) }
    };
    let Some(hub) = hub().filter(|_| flags & libc::SPLICE_F_NONBLOCK == 0 && len > 0) else {
        return call(None, flags);
    };
    let no_wait = flags | libc::SPLICE_F_NONBLOCK;
    match (ask_kind(from), ask_kind(out)) {
        // A call that does not wait, or that the kernel refuses, it makes at once.
        _ if is_nonblocking(from) || is_nonblocking(out) => call(None, flags),
        (Pipe, Socket) if from_offset == 0 && out_offset == 0 => pipe_to_socket(hub, from, out, len),
        (Pipe, File) | (File, Pipe) => from_end_to_end(hub, from, out, || call(Some(hub), no_wait)),
        (Pipe | Socket, Pipe) => from_end_to_end(hub, from, out, || call(None, no_wait)),
        _ => call(None, flags),
    }
}

/// # Safety
/// As vmsplice(2).
unsafe fn splice_memory(fd: c_int, slices: Slices, flags: c_uint) -> isize {
    let call = |slices: Slices, flags: c_uint| {
        let args = [fd as usize, slices.first as usize, slices.count, flags as usize];
        // SAFETY: the caller's contract.
        unsafe { kernel(libc::SYS_vmsplice, args) }
    };
    let Some(hub) = hub().filter(|_| flags & libc::SPLICE_F_NONBLOCK == 0) else {
        return call(slices, flags);
    };
    let piece = |_, slices| call(slices, flags | libc::SPLICE_F_NONBLOCK);
    // The read end of a pipe is one that cannot be written to.
    match has_flag(fd, libc::O_ACCMODE) {
        false => retry(hub, fd, Direction::Read, Tracking::MayBeStale, || piece(0, slices)),
        // SAFETY: the caller's contract.
        true => unsafe { transfer_slices(hub, fd, Direction::Write, Tracking::MayBeStale, slices, piece) },
    }
}

const SENDS: &str = "files: parks while another OS thread does it; else by read and write, which park";

interpose! { Io;
    /// See sendfile(2).
    fn sendfile(out: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t, "C" => SENDS;
    { with_errno(send_file(out, from, offset, count)) }

    /// See sendfile(2): its name for files of more than 2 GiB.
    fn sendfile64(out: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t,
        "std::io::copy, C" => "the same";
    { with_errno(send_file(out, from, offset, count)) }

    /// See splice(2).
    fn splice(from: c_int, from_offset: *mut off_t, out: c_int, out_offset: *mut off_t, len: size_t,
        flags: c_uint) -> ssize_t,
        "std::io::copy, C" => "parks until it would not block; files: while another OS thread does it";
    { with_errno(splice_between((from, from_offset), (out, out_offset), len, flags)) }

    /// See tee(2).
    fn tee(from: c_int, out: c_int, len: size_t, flags: c_uint) -> ssize_t,
        "C" => "parks until it would not block";
    {
        let call = |flags: c_uint| kernel(libc::SYS_tee, [from as usize, out as usize, len, flags as usize]);
        let waits = flags & libc::SPLICE_F_NONBLOCK == 0 && len > 0;
        with_errno(match hub().filter(|_| waits && !is_nonblocking(from) && !is_nonblocking(out)) {
            Some(hub) if (ask_kind(from), ask_kind(out)) == (Pipe, Pipe) => {
                from_end_to_end(hub, from, out, || call(flags | libc::SPLICE_F_NONBLOCK))
            }
            _ => call(flags),
        })
    }

    /// See vmsplice(2).
    fn vmsplice(fd: c_int, slices: *const iovec, count: size_t, flags: c_uint) -> ssize_t,
        "C" => "the same";
    { with_errno(splice_memory(fd, Slices { first: slices, count }, flags)) }

    /// See copy_file_range(2).
    fn copy_file_range(from: c_int, from_offset: *mut off_t, out: c_int, out_offset: *mut off_t, len: size_t,
        flags: c_uint) -> ssize_t,
        "std::fs::copy, std::io::copy, C" => "parks while another OS thread does it";
    {
        let (from_offset, out_offset) = (from_offset as usize, out_offset as usize);
        let args = [from as usize, from_offset, out as usize, out_offset, len, flags as usize];
        with_errno(on_file(hub(), libc::SYS_copy_file_range, args))
    }
}
