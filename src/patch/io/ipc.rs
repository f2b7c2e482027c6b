//! The queues and semaphores that processes share.
//!
//! POSIX message queues are descriptors on Linux, and are waited for like others. Those of System V are not, and nobody
//! says when to try again: they are tried at intervals, of 20 ms at most. C's `sem_t` is in `pthread/sync/semaphore.rs`.

use super::fd_mode::settings;
use super::retry::{insist, retry_until};
use super::{ZERO, failed, hub, kernel, length, with_errno};
use crate::hub::Hub;
use crate::ids::Direction;
use crate::time::{NEVER, Time};
use libc::{c_char, c_int, c_long, c_uint, c_void, mqd_t, sembuf, size_t, ssize_t, timespec};
use std::ptr::null;
use std::time::Duration;

/// Calls `call` with a time that has passed, which has it not wait; parks until there is a message, or room for one, or
/// it is `until`, by the real-time clock.
///
/// # Safety
/// As mq_timedreceive(3).
unsafe fn message(
    queue: mqd_t,
    direction: Direction,
    until: *const timespec,
    call: impl Fn(*const timespec) -> isize,
) -> isize {
    let Some(hub) = hub() else { return call(until) };
    let attempt = || match call(&raw const ZERO) {
        nothing if nothing == failed(libc::ETIMEDOUT) => failed(libc::EAGAIN),
        answer => answer,
    };
    // SAFETY: null, or the caller's. A wrong one is refused only to who would wait; but not by us, for it is rare.
    let until = unsafe { until.as_ref() }.copied();
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    let deadline = match until.map(length).transpose() {
        Ok(None) => NEVER,
        Ok(Some(until)) => hub.clock().after(until.saturating_sub(length(now).unwrap_or(Duration::ZERO))),
        Err(number) => return failed(number),
    };
    let limit = || (!settings(hub, queue).nonblocking).then_some(deadline);
    match retry_until(false, hub, queue, direction, true, limit, attempt) {
        nothing if nothing == failed(libc::EAGAIN) && !settings(hub, queue).nonblocking => {
            failed(libc::ETIMEDOUT)
        }
        answer => answer,
    }
}

/// See mq_timedreceive(3).
///
/// # Safety
/// As mq_timedreceive(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn mq_timedreceive(
    queue: mqd_t,
    buffer: *mut c_char,
    len: size_t,
    priority: *mut c_uint,
    until: *const timespec,
) -> ssize_t {
    let call = |until: *const timespec| {
        let args = [queue as usize, buffer as usize, len, priority as usize, until as usize, 0];
        // SAFETY: the caller's.
        unsafe { kernel(libc::SYS_mq_timedreceive, args) }
    };
    // SAFETY: the caller's.
    with_errno(unsafe { message(queue, Direction::Read, until, call) })
}

/// See mq_receive(3).
///
/// # Safety
/// As mq_receive(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn mq_receive(
    queue: mqd_t,
    buffer: *mut c_char,
    len: size_t,
    priority: *mut c_uint,
) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { mq_timedreceive(queue, buffer, len, priority, null()) }
}

/// See mq_timedsend(3).
///
/// # Safety
/// As mq_timedsend(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn mq_timedsend(
    queue: mqd_t,
    bytes: *const c_char,
    len: size_t,
    priority: c_uint,
    until: *const timespec,
) -> c_int {
    let call = |until: *const timespec| {
        let args = [queue as usize, bytes as usize, len, priority as usize, until as usize, 0];
        // SAFETY: the caller's.
        unsafe { kernel(libc::SYS_mq_timedsend, args) }
    };
    // SAFETY: the caller's.
    with_errno(unsafe { message(queue, Direction::Write, until, call) }) as c_int
}

/// See mq_send(3).
///
/// # Safety
/// As mq_send(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn mq_send(queue: mqd_t, bytes: *const c_char, len: size_t, priority: c_uint) -> c_int {
    // SAFETY: the caller's.
    unsafe { mq_timedsend(queue, bytes, len, priority, null()) }
}

/// [`insist`]. What was there at the first attempt, and then is unknown, was removed meanwhile.
fn insist_on(hub: &Hub, deadline: Time, mut attempt: impl FnMut() -> isize) -> isize {
    let first = attempt();
    if first != failed(libc::EAGAIN) {
        return first;
    }
    match insist(hub, deadline, attempt) {
        unknown if unknown == failed(libc::EINVAL) => failed(libc::EIDRM),
        answer => answer,
    }
}

/// See msgrcv(2).
///
/// # Safety
/// As msgrcv(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn msgrcv(
    queue: c_int,
    message: *mut c_void,
    len: size_t,
    kind: c_long,
    flags: c_int,
) -> ssize_t {
    let call = |flags: c_int| {
        let args = [queue as usize, message as usize, len, kind as usize, flags as usize, 0];
        // SAFETY: the caller's.
        unsafe { kernel(libc::SYS_msgrcv, args) }
    };
    with_errno(match hub().filter(|_| flags & libc::IPC_NOWAIT == 0) {
        Some(hub) => insist_on(hub, NEVER, || match call(flags | libc::IPC_NOWAIT) {
            none if none == failed(libc::ENOMSG) => failed(libc::EAGAIN),
            answer => answer,
        }),
        None => call(flags),
    })
}

/// See msgsnd(2).
///
/// # Safety
/// As msgsnd(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn msgsnd(queue: c_int, message: *const c_void, len: size_t, flags: c_int) -> c_int {
    let call = |flags: c_int| {
        // SAFETY: the caller's.
        unsafe { kernel(libc::SYS_msgsnd, [queue as usize, message as usize, len, flags as usize, 0, 0]) }
    };
    with_errno(match hub().filter(|_| flags & libc::IPC_NOWAIT == 0) {
        Some(hub) => insist_on(hub, NEVER, || call(flags | libc::IPC_NOWAIT)),
        None => call(flags),
    }) as c_int
}

/// See semtimedop(2). Each attempt is all of the operations or none; the kernel does not know that we wait.
///
/// # Safety
/// As semtimedop(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn semtimedop(
    set: c_int,
    operations: *mut sembuf,
    count: size_t,
    timeout: *const timespec,
) -> c_int {
    let call = |timeout: *const timespec| {
        let args = [set as usize, operations as usize, count, timeout as usize, 0, 0];
        // SAFETY: the caller's.
        unsafe { kernel(libc::SYS_semtimedop, args) }
    };
    let Some(hub) = hub() else { return with_errno(call(timeout)) as c_int };
    // SAFETY: null, or the caller's.
    let deadline = match unsafe { timeout.as_ref() }.copied().map(length).transpose() {
        Ok(limit) => limit.map_or(NEVER, |limit| hub.clock().after(limit)),
        Err(number) => return with_errno(failed(number)) as c_int,
    };
    let first = call(&raw const ZERO);
    if first != failed(libc::EAGAIN) {
        return with_errno(first) as c_int;
    }
    // SAFETY: the kernel has read them.
    let all = unsafe { std::slice::from_raw_parts(operations, count) };
    // Then the same number says that one of these would have to wait, and is not to; the kernel knows which.
    if all.iter().any(|one| c_int::from(one.sem_flg) & libc::IPC_NOWAIT != 0) {
        return with_errno(call(timeout)) as c_int;
    }
    with_errno(insist_on(hub, deadline, || call(&raw const ZERO))) as c_int
}

/// See semop(2).
///
/// # Safety
/// As semop(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn semop(set: c_int, operations: *mut sembuf, count: size_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { semtimedop(set, operations, count, null()) }
}
