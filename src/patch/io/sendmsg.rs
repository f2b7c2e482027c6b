//! Messages: several pieces at once, with descriptors and other control data; and several messages at once.
//!
//! Next: `patch/io/transfer.rs`, which sends the rest of a message.

use super::blocking::{hub, offload, retry};
use super::iovec::Slices;
use super::recv_send::{share_listeners, try_receive, waits_for_all};
use super::transfer::{transfer_all, transfer_slices};
use super::wait_any::with_limit;
use crate::fd_table;
use crate::hub::{Hub, Tracking};
use crate::ids::Direction;
use crate::patch::symbol::{interpose, kernel, with_errno};
use crate::sys::timespec::timespec_of;
use crate::thread::offload::WorkKind;
use libc::{c_int, c_uint, mmsghdr, msghdr, ssize_t, timespec};
use std::cell::Cell;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// The most messages that the kernel takes by one call.
const MAX_MESSAGES: usize = 1024;

/// # Safety
/// As recvmsg(2) or sendmsg(2).
unsafe fn call(direction: Direction, fd: c_int, message: *const msghdr, flags: c_int) -> isize {
    let number = if direction == Direction::Read { libc::SYS_recvmsg } else { libc::SYS_sendmsg };
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

/// Sends all of a message, as a blocking socket does; or receives all that is asked for from a stream, or what there is
/// until it ends. All control data goes with the first piece. None may be asked for.
///
/// # Safety
/// As recvmsg(2) or sendmsg(2).
unsafe fn transfer_whole(
    hub: &Hub,
    direction: Direction,
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> isize {
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: the caller's contract.
    unsafe {
        let slices = Slices { first: (*message).msg_iov, count: (*message).msg_iovlen };
        transfer_slices(hub, fd, direction, Tracking::Complete, slices, |done, slices| {
            if done == 0 {
                return call(direction, fd, message, flags);
            }
            let mut rest = *message;
            (rest.msg_iov, rest.msg_iovlen) = (slices.first.cast_mut(), slices.count);
            (rest.msg_control, rest.msg_controllen) = (null_mut(), 0);
            call(direction, fd, &raw const rest, flags)
        })
    }
}

/// # Safety
/// As recvmsg(2).
unsafe fn receive(fd: c_int, message: *mut msghdr, flags: c_int) -> isize {
    const READ: Direction = Direction::Read;
    // SAFETY: the caller's contract. If the answer is no error, the kernel has filled the message in.
    unsafe {
        let receive = |flags| call(READ, fd, message, flags);
        let answer = match hub().filter(|_| flags & libc::MSG_DONTWAIT == 0) {
            Some(hub) if waits_for_all(fd, flags) => match message.as_ref() {
                Some(plain) if plain.msg_controllen == 0 => transfer_whole(hub, READ, fd, message, flags),
                // Only the kernel can say which control data comes with how many bytes.
                _ => offload(Some(hub), WorkKind::ExternalWait, "all of a message", || receive(flags)),
            },
            Some(hub) => retry(hub, fd, READ, Tracking::Complete, || try_receive(hub, fd, flags, receive)),
            None => receive(flags),
        };
        if answer >= 0 {
            note_descriptors(message);
        }
        answer
    }
}

/// # Safety
/// As sendmsg(2).
unsafe fn transmit(fd: c_int, message: *const msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's contract. If the answer is no error, the kernel has read the message.
    unsafe {
        let answer = match hub().filter(|_| flags & libc::MSG_DONTWAIT == 0) {
            Some(hub) => transfer_whole(hub, Direction::Write, fd, message, flags),
            None => call(Direction::Write, fd, message, flags),
        };
        if answer >= 0 {
            note_recipient(message);
        }
        answer
    }
}

/// `recvmmsg`: receives until there are `count` messages; or, with MSG_WAITFORONE, until there is one, and no more are
/// there. Its timeout does not end a wait: it is looked at after each message, as the kernel does.
///
/// # Safety
/// As recvmmsg(2).
unsafe fn receive_several(
    fd: c_int,
    (all, count): (*mut mmsghdr, c_uint),
    flags: c_int,
    timeout: *mut timespec,
) -> isize {
    let call = |got: usize, most: usize, flags: c_int, timeout: *mut timespec| {
        let first = all.wrapping_add(got) as usize;
        // SAFETY: the caller's contract, within the caller's messages.
        unsafe { kernel(libc::SYS_recvmmsg, [fd as usize, first, most, flags as usize, timeout as usize]) }
    };
    let waits = flags & libc::MSG_DONTWAIT == 0 && count > 0;
    // A program that wants several messages of a stream, each of them whole, leaves the wait to the kernel.
    let Some(hub) = hub().filter(|_| waits && !waits_for_all(fd, flags)) else {
        return call(0, count as usize, flags, timeout);
    };
    let count = (count as usize).min(MAX_MESSAGES);
    let receive = |limit: Option<Duration>| {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        let wanted = Cell::new(count);
        let piece = |got: usize| {
            // One at a time where there is a timeout, because the kernel, too, looks at the clock after each.
            let most = if until.is_some() { 1 } else { count - got };
            let answer = call(got, most, flags | libc::MSG_DONTWAIT, null_mut());
            let is_expired = until.is_some_and(|until| Instant::now() >= until);
            for at in got..got + answer.max(0) as usize {
                // SAFETY: the kernel has filled it in.
                let message = unsafe { &(*all.add(at)).msg_hdr };
                // SAFETY: as above.
                unsafe { note_descriptors(message) };
                let is_urgent = message.msg_flags & libc::MSG_OOB != 0;
                if is_urgent || is_expired || flags & libc::MSG_WAITFORONE != 0 {
                    wanted.set(0);
                }
            }
            answer
        };
        let answer = transfer_all(hub, fd, Direction::Read, Tracking::Complete, || wanted.get(), piece);
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
    if flags & libc::MSG_DONTWAIT != 0 || count == 0 || hub().is_none() {
        let args = [fd as usize, all as usize, count as usize, flags as usize];
        // SAFETY: the caller's contract. The kernel has sent the messages that are noted.
        unsafe {
            let sent = kernel(libc::SYS_sendmmsg, args);
            (0..sent.max(0) as usize).for_each(|at| note_recipient(&raw const (*all.add(at)).msg_hdr));
            return sent;
        }
    }
    let count = (count as usize).min(MAX_MESSAGES);
    for sent in 0..count {
        // SAFETY: the caller's contract, within the caller's messages. The kernel has read a message before its length
        // is written.
        unsafe {
            match transmit(fd, &raw const (*all.add(sent)).msg_hdr, flags) {
                len @ 0.. => (*all.add(sent)).msg_len = len as c_uint,
                error => return if sent > 0 { sent as isize } else { error },
            }
        }
    }
    count as isize
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
