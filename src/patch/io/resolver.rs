//! Looking a name up. The C library does it by files, sockets and locks of its own, which nothing here reaches; so an OS
//! thread of the pool does it while the others run.

use super::hub;
use crate::hub::Hub;
use crate::hub::futex;
use crate::hub::futex::Waiter;
use crate::patch::offload_blocking;
use crate::patch::pthread::real;
use crate::thread::offload::WorkKind;
use crate::time::NEVER;
use libc::{addrinfo, c_char, c_int, hostent, sockaddr, socklen_t};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// How many may be looked up at once: no more than half of what is done elsewhere by itself, so that a name server that
/// does not answer keeps no file from being read.
const MOST: u32 = 32;

/// How many more.
static FREE: AtomicU32 = AtomicU32::new(MOST);

/// In the child of a fork nobody looks anything up.
pub(super) fn reset_after_fork() {
    FREE.store(MOST, Release);
}

/// See getaddrinfo(3).
///
/// # Safety
/// As getaddrinfo(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    out: *mut *mut addrinfo,
) -> c_int {
    let Some(hub) = hub().filter(|_| !node.is_null()) else {
        // SAFETY: the caller's.
        return unsafe { real::getaddrinfo(node, service, hints, out) };
    };
    // An address that is written in numbers is not looked up.
    // SAFETY: null, or the caller's; all zeros is a value of it.
    let mut numbers = unsafe { hints.as_ref().map_or_else(|| std::mem::zeroed(), |hints| *hints) };
    if hints.is_null() {
        numbers.ai_flags = libc::AI_V4MAPPED | libc::AI_ADDRCONFIG;
    }
    let asked_for_numbers = numbers.ai_flags & libc::AI_NUMERICHOST != 0;
    numbers.ai_flags |= libc::AI_NUMERICHOST;
    // SAFETY: the caller's, and hints of ours.
    let answer = unsafe { real::getaddrinfo(node, service, &raw const numbers, out) };
    if answer != libc::EAI_NONAME || asked_for_numbers {
        return answer;
    }
    let args = (node as usize, service as usize, hints as usize, out as usize);
    look_up(hub, move || {
        let (node, service, hints, out) = args;
        // SAFETY: the caller's; it waits until we have done.
        unsafe { real::getaddrinfo(node as _, service as _, hints as _, out as _) }
    })
}

/// See getnameinfo(3).
///
/// # Safety
/// As getnameinfo(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn getnameinfo(
    address: *const sockaddr,
    len: socklen_t,
    host: *mut c_char,
    host_len: socklen_t,
    service: *mut c_char,
    service_len: socklen_t,
    flags: c_int,
) -> c_int {
    let args = (address as usize, host as usize, service as usize);
    let call = move || {
        let (address, host, service) = (args.0 as _, args.1 as _, args.2 as _);
        // SAFETY: the caller's; it waits until we have done.
        unsafe { real::getnameinfo(address, len, host, host_len, service, service_len, flags) }
    };
    // Numbers are not looked up.
    let in_numbers = (host.is_null() || flags & libc::NI_NUMERICHOST != 0)
        && (service.is_null() || flags & libc::NI_NUMERICSERV != 0);
    match hub().filter(|_| !in_numbers) {
        Some(hub) => look_up(hub, call),
        None => call(),
    }
}

/// See gethostbyname(3). The answer is the C library's, good until the next call, whoever makes it.
///
/// # Safety
/// As gethostbyname(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyname(name: *const c_char) -> *mut hostent {
    let name = name as usize;
    let Some(hub) = hub() else {
        // SAFETY: the caller's.
        return unsafe { real::gethostbyname(name as _) };
    };
    // SAFETY: the caller's, which waits until we have done; a thread's own error number.
    let (answer, error) = look_up(hub, move || unsafe {
        let answer = real::gethostbyname(name as _) as usize;
        (answer, *__h_errno_location())
    });
    // SAFETY: this thread's own.
    unsafe { *__h_errno_location() = error };
    answer as _
}

/// See gethostbyname_r(3).
///
/// # Safety
/// As gethostbyname_r(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyname_r(
    name: *const c_char,
    out: *mut hostent,
    buffer: *mut c_char,
    len: usize,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    let args = (name as usize, out as usize, buffer as usize, result as usize, error as usize);
    let call = move || {
        let (name, out, buffer) = (args.0 as _, args.1 as _, args.2 as _);
        // SAFETY: the caller's; it waits until we have done.
        unsafe { real::gethostbyname_r(name, out, buffer, len, args.3 as _, args.4 as _) }
    };
    match hub() {
        Some(hub) => look_up(hub, call),
        None => call(),
    }
}

unsafe extern "C" {
    /// `h_errno`; not in the libc crate.
    fn __h_errno_location() -> *mut c_int;
}

/// Has an OS thread of the pool look something up. `errno` is as that has it, since some of these set it.
fn look_up<T: Send + 'static>(hub: &'static Hub, call: impl FnOnce() -> T + Send) -> T {
    take_turn(hub);
    let (answer, errno) = offload_blocking(WorkKind::LibcCall, "a name to be looked up", || {
        // SAFETY: a thread's own.
        unsafe {
            *libc::__errno_location() = 0;
            let answer = call();
            (answer, *libc::__errno_location())
        }
    });
    if errno != 0 {
        // SAFETY: this thread's own.
        unsafe { *libc::__errno_location() = errno };
    }
    FREE.fetch_add(1, AcqRel);
    futex::wake(FREE.as_ptr() as usize, 1, u32::MAX);
    answer
}

/// Parks while too many are looked up.
fn take_turn(hub: &'static Hub) {
    let take = |free: u32| free.checked_sub(1);
    while FREE.fetch_update(AcqRel, Acquire, take).is_err() {
        let who = Waiter::Green { hub, deadline: NEVER, shield: true };
        futex::wait(who, FREE.as_ptr() as usize, u32::MAX, || FREE.load(Acquire) == 0);
    }
}
