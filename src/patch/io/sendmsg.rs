//! Messages: several pieces at once, with descriptors and other control data; and several messages at once.
//!
//! Next: `patch/io/write_all.rs`, which sends the rest of a message.

use super::blocking::{hub, retry};
use super::iovec::{iovec_len, iovec_skip};
use super::recv_send::{share_listeners, waits_for_all};
use super::wait_any::with_limit;
use super::write_all::write_all_slices;
use crate::fd_table;
use crate::hub::{Hub, Tracking};
use crate::ids::Direction;
use crate::patch::kind::offload_blocking;
use crate::patch::symbol::{interpose, kernel, with_errno};
use crate::sys::timespec::timespec_of;
use crate::thread::offload::WorkKind;
use libc::{c_int, c_uint, mmsghdr, msghdr, ssize_t, timespec};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// The most messages that the kernel takes by one call.
const MAX_MESSAGES: usize = 1024;

/// # Safety
/// As recvmsg(2) or sendmsg(2).
unsafe fn call(number: libc::c_long, fd: c_int, message: *const msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's contract.
    unsafe { kernel(number, [fd as usize, message as usize, flags as usize]) }
}

/// Tells `fd_table` of the descriptors that have come with a message. The last owners of their numbers may have been
/// closed unseen.
///
/// # Safety
/// The kernel has just filled the message in.
unsafe fn note_descriptors(message: *const msghdr) {
    // SAFETY: the caller's contract.
    unsafe { for_each_descriptor(message, fd_table::invalidate) };
}

/// Notes that a process that has received a listener with a message may accept from it, too.
///
/// # Safety
/// The kernel has just sent the message.
unsafe fn note_recipient(message: *const msghdr) {
    let share = |fd| {
        if fd_table::is_own_listener(fd) {
            share_listeners();
        }
    };
    // SAFETY: the caller's contract.
    unsafe { for_each_descriptor(message, share) };
}

/// # Safety
/// The control data is as the kernel has written it, or read it.
unsafe fn for_each_descriptor(message: *const msghdr, mut note: impl FnMut(c_int)) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = control.as_ref() {
            if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let data = libc::CMSG_DATA(control);
                let len = (control as usize + header.cmsg_len).saturating_sub(data as usize);
                for at in 0..len / size_of::<c_int>() {
                    note(data.cast::<c_int>().add(at).read_unaligned());
                }
            }
            control = libc::CMSG_NXTHDR(message, control);
        }
    }
}

/// Receives from a stream until all that was asked for is there, or it has ended, as the kernel does. No control data
/// is asked for.
///
/// # Safety
/// As recvmsg(2).
unsafe fn receive_whole(hub: &Hub, fd: c_int, message: *mut msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's contract. Only the kernel knows whether the slices are where they are said to be. So this
    // function looks at them after the kernel has written to them.
    unsafe {
        let piece = |message: *const msghdr| {
            retry(hub, fd, Direction::Read, Tracking::Complete, || {
                call(libc::SYS_recvmsg, fd, message, flags | libc::MSG_DONTWAIT)
            })
        };
        let (slices, count) = ((*message).msg_iov.cast_const(), (*message).msg_iovlen);
        let first = piece(message);
        if first <= 0 {
            return first;
        }
        let (mut got, len) = (first as usize, iovec_len(slices, count));
        while got < len {
            let left = iovec_skip(slices, count, got);
            let mut rest = *message;
            (rest.msg_iov, rest.msg_iovlen) = (left.as_ptr().cast_mut(), left.len());
            match piece(&raw const rest) {
                more @ 1.. => got += more as usize,
                _ => break,
            }
        }
        got as isize
    }
}

/// # Safety
/// As recvmsg(2).
unsafe fn receive(fd: c_int, message: *mut msghdr, flags: c_int) -> isize {
    let at = message as usize;
    // SAFETY: the caller's contract; the caller waits until the call has returned.
    let receive = move |flags| unsafe { call(libc::SYS_recvmsg, fd, at as *const msghdr, flags) };
    let answer = match hub().filter(|_| flags & libc::MSG_DONTWAIT == 0) {
        // SAFETY: the caller's contract.
        Some(hub) if waits_for_all(fd, flags) => unsafe {
            match message.as_ref() {
                Some(plain) if plain.msg_controllen == 0 => receive_whole(hub, fd, message, flags),
                // Only the kernel can say which control data comes with how many bytes.
                _ => offload_blocking(WorkKind::ExternalWait, "all of a message", move || receive(flags)),
            }
        },
        Some(hub) => {
            let attempt = || receive(flags | libc::MSG_DONTWAIT);
            retry(hub, fd, Direction::Read, Tracking::Complete, attempt)
        }
        None => receive(flags),
    };
    if answer >= 0 {
        // SAFETY: the kernel has filled it in.
        unsafe { note_descriptors(message) };
    }
    answer
}

/// Sends all of a message, as a blocking socket does.
///
/// # Safety
/// As sendmsg(2).
unsafe fn send_whole(hub: &Hub, fd: c_int, message: *const msghdr, flags: c_int) -> isize {
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: the caller's contract. All control data goes with the first piece.
    unsafe {
        let (slices, count) = ((*message).msg_iov, (*message).msg_iovlen);
        write_all_slices(hub, fd, slices, count, Tracking::Complete, |sent, slices, count| {
            if sent == 0 {
                return call(libc::SYS_sendmsg, fd, message, flags);
            }
            let mut message = *message;
            (message.msg_iov, message.msg_iovlen) = (slices.cast_mut(), count);
            (message.msg_control, message.msg_controllen) = (null_mut(), 0);
            call(libc::SYS_sendmsg, fd, &raw const message, flags)
        })
    }
}

/// # Safety
/// As sendmsg(2).
unsafe fn transmit(fd: c_int, message: *const msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's contract. If the answer is no error, the kernel has read the message.
    unsafe {
        let answer = match hub().filter(|_| flags & libc::MSG_DONTWAIT == 0) {
            Some(hub) => send_whole(hub, fd, message, flags),
            None => call(libc::SYS_sendmsg, fd, message, flags),
        };
        if answer >= 0 {
            note_recipient(message);
        }
        answer
    }
}

/// Receives until there are `count` messages; or, with MSG_WAITFORONE, until there is one, and no more are there.
///
/// # Safety
/// As recvmmsg(2).
unsafe fn receive_all(
    hub: &Hub,
    fd: c_int,
    (all, count): (*mut mmsghdr, usize),
    flags: c_int,
    until: Option<Instant>,
) -> isize {
    let mut got = 0;
    while got < count {
        // One at a time where there is a timeout, because the kernel, too, looks at the clock after each.
        let most = if until.is_some() { 1 } else { count - got };
        let answer = retry(hub, fd, Direction::Read, Tracking::Complete, || {
            let flags = flags | libc::MSG_DONTWAIT;
            // SAFETY: the caller's contract, within the caller's messages.
            unsafe {
                kernel(libc::SYS_recvmmsg, [fd as usize, all.add(got) as usize, most, flags as usize, 0])
            }
        });
        match answer {
            more @ 1.. => {
                for at in got..got + more as usize {
                    // SAFETY: the kernel has filled it in.
                    unsafe { note_descriptors(&raw const (*all.add(at)).msg_hdr) };
                }
                got += more as usize;
            }
            nothing if got == 0 => return nothing,
            _ => break,
        }
        // SAFETY: the kernel has filled it in.
        let urgent = unsafe { (*all.add(got - 1)).msg_hdr.msg_flags } & libc::MSG_OOB != 0;
        let expired = until.is_some_and(|until| Instant::now() >= until);
        if urgent || expired || flags & libc::MSG_WAITFORONE != 0 {
            break;
        }
    }
    got as isize
}

/// `recvmmsg`. Its timeout does not end a wait: it is looked at after each message, as the kernel does.
///
/// # Safety
/// As recvmmsg(2).
unsafe fn receive_several(
    fd: c_int,
    (all, count): (*mut mmsghdr, c_uint),
    flags: c_int,
    timeout: *mut timespec,
) -> isize {
    let waits = flags & libc::MSG_DONTWAIT == 0 && count > 0;
    // Nobody asks for several messages of a stream, each of them whole.
    let Some(hub) = hub().filter(|_| waits && !waits_for_all(fd, flags)) else {
        let args = [fd as usize, all as usize, count as usize, flags as usize, timeout as usize];
        // SAFETY: the caller's contract.
        return unsafe { kernel(libc::SYS_recvmmsg, args) };
    };
    let receive = |limit: Option<Duration>| {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        let all = (all, (count as usize).min(MAX_MESSAGES));
        // SAFETY: the caller's contract.
        let answer = unsafe { receive_all(hub, fd, all, flags, until) };
        if let Some(until) = until.filter(|_| answer > 0) {
            // SAFETY: the caller's contract, and not null.
            unsafe { *timeout = timespec_of(until.saturating_duration_since(Instant::now())) };
        }
        answer
    };
    // SAFETY: null, or the caller's.
    unsafe { with_limit(timeout, receive) }
}

/// `sendmmsg`.
///
/// # Safety
/// As sendmmsg(2).
unsafe fn send_several(fd: c_int, all: *mut mmsghdr, count: c_uint, flags: c_int) -> isize {
    let Some(hub) = hub().filter(|_| flags & libc::MSG_DONTWAIT == 0 && count > 0) else {
        // SAFETY: the caller's contract.
        return unsafe {
            kernel(libc::SYS_sendmmsg, [fd as usize, all as usize, count as usize, flags as usize])
        };
    };
    for sent in 0..(count as usize).min(MAX_MESSAGES) {
        // SAFETY: the caller's contract, within the caller's messages. The kernel has read a message before its length
        // is written.
        unsafe {
            match send_whole(hub, fd, &raw const (*all.add(sent)).msg_hdr, flags) {
                len @ 0.. => (*all.add(sent)).msg_len = len as c_uint,
                error => return if sent > 0 { sent as isize } else { error },
            }
        }
    }
    (count as usize).min(MAX_MESSAGES) as isize
}

interpose! { Io;
    /// See recvmsg(2).
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t, "std::os::unix::net, C" =>
        "parks until it would not block; MSG_WAITALL with control data: while another OS thread does it";
    { with_errno(receive(fd, message, flags)) }

    /// See sendmsg(2).
    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t,
        "std::os::unix::net, C" => "parks until it would not block";
    { with_errno(transmit(fd, message, flags)) }

    /// See recvmmsg(2).
    fn recvmmsg(fd: c_int, all: *mut mmsghdr, count: c_uint, flags: c_int, timeout: *mut timespec) -> c_int,
        "C" => "parks for each message; its timeout is looked at after each, as the kernel does";
    { with_errno(receive_several(fd, (all, count), flags, timeout)) }

    /// See sendmmsg(2).
    fn sendmmsg(fd: c_int, all: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int,
        "C" => "parks for each message";
    { with_errno(send_several(fd, all, count, flags)) }
}
