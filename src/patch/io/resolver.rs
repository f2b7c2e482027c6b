//! Looking names up. The C library does it by files, sockets and locks of its own, which no interposed function
//! reaches. So an OS thread of the pool does it while the other green threads run.
//!
//! Next: `thread/offload/mod.rs`, the pool.

use super::blocking::hub;
use crate::hub::Hub;
use crate::hub::futex;
use crate::hub::futex::Waiter;
use crate::patch::kind::offload_blocking;
use crate::patch::symbol::{interpose, set_errno};
use crate::thread::offload::WorkKind;
use crate::time::NEVER;
use libc::{addrinfo, c_char, c_int, hostent, sockaddr, socklen_t};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// The most lookups at once. It is half of what the pool does by itself, so that a name server that does not answer
/// keeps no file from being read.
const MAX_LOOKUPS: u32 = 32;

/// How many more lookups may begin.
static FREE: AtomicU32 = AtomicU32::new(MAX_LOOKUPS);

/// In the child of a fork no lookup goes on.
pub(super) fn reset_after_fork() {
    FREE.store(MAX_LOOKUPS, Release);
}

unsafe extern "C" {
    /// `h_errno`; not in the libc crate.
    fn __h_errno_location() -> *mut c_int;
}

/// Calls `call` on an OS thread of the pool. `errno` is then as that has it, because some of these functions set it.
fn look_up<T: Send + 'static>(hub: &'static Hub, call: impl FnOnce() -> T + Send) -> T {
    acquire_lookup_slot(hub);
    let (answer, errno) = offload_blocking(WorkKind::LibcCall, "a name to be looked up", || {
        // SAFETY: the address is the calling thread's own.
        let errno = || unsafe { *libc::__errno_location() };
        set_errno(0);
        (call(), errno())
    });
    if errno != 0 {
        set_errno(errno);
    }
    FREE.fetch_add(1, AcqRel);
    futex::wake(FREE.as_ptr() as usize, 1, u32::MAX);
    answer
}

/// Parks while too many lookups go on.
fn acquire_lookup_slot(hub: &'static Hub) {
    let take = |free: u32| free.checked_sub(1);
    while FREE.fetch_update(AcqRel, Acquire, take).is_err() {
        let waiter = Waiter::Green { hub, deadline: NEVER, shield: true };
        futex::wait(waiter, FREE.as_ptr() as usize, u32::MAX, || FREE.load(Acquire) == 0);
    }
}

/// # Safety
/// As getaddrinfo(3).
unsafe fn address_info(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    out: *mut *mut addrinfo,
) -> c_int {
    let Some(hub) = hub().filter(|_| !node.is_null()) else {
        // SAFETY: the caller's contract.
        return unsafe { Real::getaddrinfo(node, service, hints, out) };
    };
    // An address that is written in numbers is not looked up.
    // SAFETY: null, or the caller's; all zeros is a valid value.
    let mut numbers = unsafe { hints.as_ref().map_or_else(|| std::mem::zeroed(), |hints| *hints) };
    if hints.is_null() {
        numbers.ai_flags = libc::AI_V4MAPPED | libc::AI_ADDRCONFIG;
    }
    let asked_for_numbers = numbers.ai_flags & libc::AI_NUMERICHOST != 0;
    numbers.ai_flags |= libc::AI_NUMERICHOST;
    // SAFETY: the caller's contract, and hints of this frame.
    let answer = unsafe { Real::getaddrinfo(node, service, &raw const numbers, out) };
    if answer != libc::EAI_NONAME || asked_for_numbers {
        return answer;
    }
    let args = (node as usize, service as usize, hints as usize, out as usize);
    look_up(hub, move || {
        let (node, service, hints, out) = args;
        // SAFETY: the caller's contract; the caller waits until the call has returned.
        unsafe { Real::getaddrinfo(node as _, service as _, hints as _, out as _) }
    })
}

const LOOKS_UP: &str = "parks while another OS thread looks the name up";

interpose! { Io;
    /// See getaddrinfo(3).
    fn getaddrinfo(node: *const c_char, service: *const c_char, hints: *const addrinfo,
        out: *mut *mut addrinfo) -> c_int, "std::net::ToSocketAddrs, C" => LOOKS_UP;
    { address_info(node, service, hints, out) }

    /// See getnameinfo(3).
    fn getnameinfo(address: *const sockaddr, len: socklen_t, host: *mut c_char, host_len: socklen_t,
        service: *mut c_char, service_len: socklen_t, flags: c_int) -> c_int, "C" => "the same";
    {
        let args = (address as usize, host as usize, service as usize);
        let call = move || {
            let (address, host, service) = (args.0 as _, args.1 as _, args.2 as _);
            Real::getnameinfo(address, len, host, host_len, service, service_len, flags)
        };
        // Numbers are not looked up.
        let in_numbers = (host.is_null() || flags & libc::NI_NUMERICHOST != 0)
            && (service.is_null() || flags & libc::NI_NUMERICSERV != 0);
        match hub().filter(|_| !in_numbers) {
            Some(hub) => look_up(hub, call),
            None => call(),
        }
    }

    /// See gethostbyname(3). The result is the C library's, good until the next call of any thread.
    fn gethostbyname(name: *const c_char) -> *mut hostent, "C" => "the same";
    {
        let Some(hub) = hub() else { return Real::gethostbyname(name) };
        let name = name as usize;
        let (answer, error) = look_up(hub, move || {
            let answer = Real::gethostbyname(name as _) as usize;
            (answer, *__h_errno_location())
        });
        *__h_errno_location() = error;
        answer as _
    }

    /// See gethostbyname_r(3).
    fn gethostbyname_r(name: *const c_char, out: *mut hostent, buffer: *mut c_char, len: usize,
        result: *mut *mut hostent, error: *mut c_int) -> c_int, "C" => "the same";
    {
        let args = (name as usize, out as usize, buffer as usize, result as usize, error as usize);
        let call = move || {
            let (name, out, buffer) = (args.0 as _, args.1 as _, args.2 as _);
            Real::gethostbyname_r(name, out, buffer, len, args.3 as _, args.4 as _)
        };
        match hub() {
            Some(hub) => look_up(hub, call),
            None => call(),
        }
    }
}
