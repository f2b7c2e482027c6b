//! Messages: several pieces at once, with descriptors and other control data; and several messages at once.

use super::retry::retry;
use super::socket::{is_whole, share_listeners};
use super::write_all::send_slices;
use super::{failed, file, hub, kernel, length, timespec_of, with_errno};
use crate::fd_table;
use crate::hub::Hub;
use crate::ids::Direction;
use crate::patch::offload_blocking;
use crate::thread::offload::WorkKind;
use libc::{c_int, c_uint, mmsghdr, msghdr, ssize_t, timespec};
use std::ptr::null_mut;
use std::time::Instant;

/// # Safety
/// As recvmsg(2) or sendmsg(2).
unsafe fn call(number: libc::c_long, fd: c_int, message: *const msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's.
    unsafe { kernel(number, [fd as usize, message as usize, flags as usize, 0, 0, 0]) }
}

/// The numbers that have come with a message may have been others', closed where it was not seen.
///
/// # Safety
/// The kernel has just filled it in.
unsafe fn note_descriptors(message: *const msghdr) {
    // SAFETY: the caller's.
    unsafe { each_descriptor(message, fd_table::forget) };
}

/// Whoever has received a listener with a message may accept from it, too.
///
/// # Safety
/// The kernel has just sent it.
unsafe fn note_recipient(message: *const msghdr) {
    let share = |fd| {
        if fd_table::is_own_listener(fd) {
            share_listeners();
        }
    };
    // SAFETY: the caller's.
    unsafe { each_descriptor(message, share) };
}

/// # Safety
/// The control data is as the kernel has written it, or read it.
unsafe fn each_descriptor(message: *const msghdr, mut note: impl FnMut(c_int)) {
    // SAFETY: the caller's.
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

/// Receives from a stream until all that was asked for is there, or it has ended, as the kernel does. No control data is
/// asked for.
///
/// # Safety
/// As recvmsg(2).
unsafe fn receive_whole(hub: &Hub, fd: c_int, message: *mut msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's. Whether its slices are where they are said to be only the kernel knows: so they are looked at
    // when it has written to them.
    unsafe {
        let piece = |message: *const msghdr| {
            retry(hub, fd, Direction::Read, false, || {
                call(libc::SYS_recvmsg, fd, message, flags | libc::MSG_DONTWAIT)
            })
        };
        let (slices, count) = ((*message).msg_iov.cast_const(), (*message).msg_iovlen);
        let first = piece(message);
        if first <= 0 {
            return first;
        }
        let (mut got, len) = (first as usize, file::length(slices, count));
        while got < len {
            let left = file::left(slices, count, got);
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

/// See recvmsg(2).
///
/// # Safety
/// As recvmsg(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let at = message as usize;
    // SAFETY: the caller's; who calls waits until it has returned.
    let receive = move |flags| unsafe { call(libc::SYS_recvmsg, fd, at as *const msghdr, flags) };
    let answer = match hub().filter(|_| flags & libc::MSG_DONTWAIT == 0) {
        // SAFETY: the caller's.
        Some(hub) if is_whole(fd, flags) => unsafe {
            match message.as_ref() {
                Some(plain) if plain.msg_controllen == 0 => receive_whole(hub, fd, message, flags),
                // Which control data comes with how much of it is for the kernel to say.
                _ => offload_blocking(WorkKind::ExternalWait, "all of a message", move || receive(flags)),
            }
        },
        Some(hub) => retry(hub, fd, Direction::Read, false, || receive(flags | libc::MSG_DONTWAIT)),
        None => receive(flags),
    };
    if answer >= 0 {
        // SAFETY: it was filled in.
        unsafe { note_descriptors(message) };
    }
    with_errno(answer)
}

/// Sends all of it, as a blocking socket does.
///
/// # Safety
/// As sendmsg(2).
unsafe fn send(hub: &Hub, fd: c_int, message: *const msghdr, flags: c_int) -> isize {
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: the caller's. What control data there is goes with the first piece.
    unsafe {
        let (slices, count) = ((*message).msg_iov, (*message).msg_iovlen);
        send_slices(hub, fd, slices, count, false, |gone, slices, count| {
            if gone == 0 {
                return call(libc::SYS_sendmsg, fd, message, flags);
            }
            let mut message = *message;
            (message.msg_iov, message.msg_iovlen) = (slices.cast_mut(), count);
            (message.msg_control, message.msg_controllen) = (null_mut(), 0);
            call(libc::SYS_sendmsg, fd, &raw const message, flags)
        })
    }
}

/// With a hub or without.
///
/// # Safety
/// As sendmsg(2).
unsafe fn transmit(fd: c_int, message: *const msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's; it was sent.
    unsafe {
        let answer = match hub().filter(|_| flags & libc::MSG_DONTWAIT == 0) {
            Some(hub) => send(hub, fd, message, flags),
            None => call(libc::SYS_sendmsg, fd, message, flags),
        };
        if answer >= 0 {
            note_recipient(message);
        }
        answer
    }
}

/// See sendmsg(2).
///
/// # Safety
/// As sendmsg(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's.
    with_errno(unsafe { transmit(fd, message, flags) })
}

/// Receives until there are `count`, or one, if that was asked for, and no more are there.
///
/// # Safety
/// As recvmmsg(2).
unsafe fn receive_all(
    hub: &Hub,
    fd: c_int,
    all: *mut mmsghdr,
    count: usize,
    flags: c_int,
    until: Option<Instant>,
) -> isize {
    let mut got = 0;
    while got < count {
        let answer = retry(hub, fd, Direction::Read, false, || {
            // One at a time where there is a timeout: the kernel, too, looks at the clock after each.
            let most = if until.is_some() { 1 } else { count - got };
            let flags = flags | libc::MSG_DONTWAIT;
            // SAFETY: the caller's, within its messages.
            unsafe {
                kernel(libc::SYS_recvmmsg, [fd as usize, all.add(got) as usize, most, flags as usize, 0, 0])
            }
        });
        match answer {
            more @ 1.. => {
                for at in got..got + more as usize {
                    // SAFETY: it was filled in.
                    unsafe { note_descriptors(&raw const (*all.add(at)).msg_hdr) };
                }
                got += more as usize;
            }
            nothing if got == 0 => return nothing,
            _ => break,
        }
        // SAFETY: it was filled in.
        let urgent = unsafe { (*all.add(got - 1)).msg_hdr.msg_flags } & libc::MSG_OOB != 0;
        let expired = until.is_some_and(|until| Instant::now() >= until);
        if urgent || expired || flags & libc::MSG_WAITFORONE != 0 {
            break;
        }
    }
    got as isize
}

/// See recvmmsg(2). The timeout does not end a wait: it is looked at after each message, as the kernel does.
///
/// # Safety
/// As recvmmsg(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn recvmmsg(
    fd: c_int,
    all: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    let waits = flags & libc::MSG_DONTWAIT == 0 && count > 0;
    // Several messages of a stream, each of them whole: nobody asks for that.
    let Some(hub) = hub().filter(|_| waits && !is_whole(fd, flags)) else {
        let args = [fd as usize, all as usize, count as usize, flags as usize, timeout as usize, 0];
        // SAFETY: the caller's.
        return with_errno(unsafe { kernel(libc::SYS_recvmmsg, args) }) as c_int;
    };
    // SAFETY: null, or the caller's.
    let limit = match unsafe { timeout.as_ref() }.copied().map(length).transpose() {
        Ok(limit) => limit,
        Err(number) => return with_errno(failed(number)) as c_int,
    };
    let until = limit.and_then(|limit| Instant::now().checked_add(limit));
    // The kernel takes no more by one call.
    let count = (count as usize).min(1024);
    // SAFETY: the caller's.
    let answer = unsafe { receive_all(hub, fd, all, count, flags, until) };
    if let Some(until) = until.filter(|_| answer > 0) {
        // SAFETY: the caller's: it is not null.
        unsafe { *timeout = timespec_of(until.saturating_duration_since(Instant::now())) };
    }
    with_errno(answer) as c_int
}

/// See sendmmsg(2).
///
/// # Safety
/// As sendmmsg(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sendmmsg(fd: c_int, all: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
    let Some(hub) = hub().filter(|_| flags & libc::MSG_DONTWAIT == 0 && count > 0) else {
        let args = [fd as usize, all as usize, count as usize, flags as usize, 0, 0];
        // SAFETY: the caller's.
        return with_errno(unsafe { kernel(libc::SYS_sendmmsg, args) }) as c_int;
    };
    // The kernel takes no more by one call.
    let count = (count as usize).min(1024);
    let (mut sent, mut error) = (0, 0);
    while sent < count {
        // SAFETY: the caller's, within its messages. The kernel reads before we do: what comes before is by `send`.
        match unsafe { send(hub, fd, &raw const (*all.add(sent)).msg_hdr, flags) } {
            // SAFETY: the caller's.
            len @ 0.. => unsafe { (*all.add(sent)).msg_len = len as c_uint },
            number => {
                error = number;
                break;
            }
        }
        sent += 1;
    }
    with_errno(if sent > 0 { sent as isize } else { error }) as c_int
}
