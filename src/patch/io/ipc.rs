//! Message queues and semaphores that processes share.
//!
//! POSIX message queues are descriptors on Linux, and are waited for like others. Queues and semaphores of System V are
//! not, and the kernel does not announce a change: they are polled with exponential backoff. C's `sem_t` is in
//! `pthread/sync/semaphore.rs`.
//!
//! Next: `hub/retry.rs`, which waits and polls.

use super::blocking::{hub, poll_until, retry_until};
use super::fd_mode::mode;
use super::wait_any::with_limit;
use crate::hub::{EAGAIN, Hub, Tracking};
use crate::ids::Direction;
use crate::patch::symbol::{failed, interpose, kernel, with_errno};
use crate::sys::timespec::ZERO;
use crate::time::{NEVER, Time};
use libc::{c_char, c_int, c_long, c_uint, c_void, mqd_t, sembuf, size_t, ssize_t, timespec};
use std::ptr::null;
use std::time::{Duration, UNIX_EPOCH};

/// Makes `call` with a time that has passed, so that it does not wait. Parks until there is a message, or room for one,
/// or until `until` by the real-time clock.
///
/// # Safety
/// As mq_timedreceive(3).
unsafe fn exchange(
    queue: mqd_t,
    direction: Direction,
    until: *const timespec,
    call: impl Fn(*const timespec) -> isize,
) -> isize {
    const ETIMEDOUT: isize = failed(libc::ETIMEDOUT);
    let Some(hub) = hub() else { return call(until) };
    let attempt = || match call(&raw const ZERO) {
        ETIMEDOUT => EAGAIN,
        answer => answer,
    };
    let exchange = |until: Option<Duration>| {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        let deadline = until.map_or(NEVER, |until| hub.clock().after(until.saturating_sub(now)));
        let is_nonblocking = || mode(hub, queue).is_nonblocking();
        let limit = || (!is_nonblocking()).then_some(deadline);
        match retry_until(hub, queue, direction, Tracking::MayBeStale, limit, attempt) {
            EAGAIN if !is_nonblocking() => ETIMEDOUT,
            answer => answer,
        }
    };
    // The kernel refuses a wrong time only to a caller that would wait. This function refuses it to all, which is rare.
    // SAFETY: null, or the caller's.
    unsafe { with_limit(until, exchange) }
}

/// Polls `attempt`, which must not block, until it returns something else than EAGAIN, or until `deadline`. A queue
/// that the kernel knew at the first attempt, and later does not, was removed meanwhile.
fn poll_ipc(hub: &'static Hub, deadline: Time, mut attempt: impl FnMut() -> isize) -> isize {
    const EINVAL: isize = failed(libc::EINVAL);
    let first = attempt();
    if first != EAGAIN {
        return first;
    }
    match poll_until(hub, deadline, "another process's message or semaphore", None, attempt) {
        EINVAL => failed(libc::EIDRM),
        answer => answer,
    }
}

/// `semtimedop`. Each attempt makes all of the operations or none. The kernel does not count this caller as waiting.
///
/// # Safety
/// As semtimedop(2).
unsafe fn operate(set: c_int, (operations, count): (*mut sembuf, size_t), timeout: *const timespec) -> isize {
    let call = |timeout: *const timespec| {
        let args = [set as usize, operations as usize, count, timeout as usize];
        // SAFETY: the caller's contract.
        unsafe { kernel(libc::SYS_semtimedop, args) }
    };
    let Some(hub) = hub() else { return call(timeout) };
    let operate = |limit: Option<Duration>| {
        let deadline = limit.map_or(NEVER, |limit| hub.clock().after(limit));
        let first = call(&raw const ZERO);
        if first != EAGAIN {
            return first;
        }
        // SAFETY: the kernel has read them.
        let all = unsafe { std::slice::from_raw_parts(operations, count) };
        // With IPC_NOWAIT the same number says that this operation would have to wait. The kernel knows which one.
        if all.iter().any(|one| c_int::from(one.sem_flg) & libc::IPC_NOWAIT != 0) {
            return call(timeout);
        }
        poll_ipc(hub, deadline, || call(&raw const ZERO))
    };
    // SAFETY: null, or the caller's.
    unsafe { with_limit(timeout, operate) }
}

const PARKS: &str = "parks until it would not block";
const POLLS: &str = "parks, and tries again at intervals";

interpose! { Io;
    /// See mq_receive(3).
    fn mq_receive(queue: mqd_t, buffer: *mut c_char, len: size_t, priority: *mut c_uint) -> ssize_t,
        "C" => PARKS;
    { mq_timedreceive(queue, buffer, len, priority, null()) }

    /// See mq_timedreceive(3).
    fn mq_timedreceive(queue: mqd_t, buffer: *mut c_char, len: size_t, priority: *mut c_uint,
        until: *const timespec) -> ssize_t, "C" => PARKS;
    {
        with_errno(exchange(queue, Direction::Read, until, |until| {
            let args = [queue as usize, buffer as usize, len, priority as usize, until as usize];
            kernel(libc::SYS_mq_timedreceive, args)
        }))
    }

    /// See mq_send(3).
    fn mq_send(queue: mqd_t, bytes: *const c_char, len: size_t, priority: c_uint) -> c_int, "C" => PARKS;
    { mq_timedsend(queue, bytes, len, priority, null()) }

    /// See mq_timedsend(3).
    fn mq_timedsend(queue: mqd_t, bytes: *const c_char, len: size_t, priority: c_uint,
        until: *const timespec) -> c_int, "C" => PARKS;
    {
        with_errno(exchange(queue, Direction::Write, until, |until| {
            let args = [queue as usize, bytes as usize, len, priority as usize, until as usize];
            kernel(libc::SYS_mq_timedsend, args)
        }))
    }

    /// See msgrcv(2).
    fn msgrcv(queue: c_int, message: *mut c_void, len: size_t, kind: c_long, flags: c_int) -> ssize_t,
        "C" => POLLS;
    {
        let call = |flags: c_int| {
            let args = [queue as usize, message as usize, len, kind as usize, flags as usize];
            kernel(libc::SYS_msgrcv, args)
        };
        with_errno(match hub().filter(|_| flags & libc::IPC_NOWAIT == 0) {
            Some(hub) => poll_ipc(hub, NEVER, || match call(flags | libc::IPC_NOWAIT) {
                none if none == failed(libc::ENOMSG) => EAGAIN,
                answer => answer,
            }),
            None => call(flags),
        })
    }

    /// See msgsnd(2).
    fn msgsnd(queue: c_int, message: *const c_void, len: size_t, flags: c_int) -> c_int, "C" => POLLS;
    {
        let call = |flags: c_int| {
            kernel(libc::SYS_msgsnd, [queue as usize, message as usize, len, flags as usize])
        };
        with_errno(match hub().filter(|_| flags & libc::IPC_NOWAIT == 0) {
            Some(hub) => poll_ipc(hub, NEVER, || call(flags | libc::IPC_NOWAIT)),
            None => call(flags),
        })
    }

    /// See semop(2).
    fn semop(set: c_int, operations: *mut sembuf, count: size_t) -> c_int, "C" => POLLS;
    { semtimedop(set, operations, count, null()) }

    /// See semtimedop(2).
    fn semtimedop(set: c_int, operations: *mut sembuf, count: size_t, timeout: *const timespec) -> c_int,
        "C" => POLLS;
    { with_errno(operate(set, (operations, count), timeout)) }
}
