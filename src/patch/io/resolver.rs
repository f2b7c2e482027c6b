//! Looking names up. The C library does it by files, sockets and locks of its own, which no interposed function
//! reaches. So an OS thread of the pool does it while the other green threads run.
//!
//! Next: `thread/offload/mod.rs`, the pool.

use super::blocking::{hub, offload};
use crate::green::Interruptible;
use crate::hub::Hub;
use crate::hub::futex;
use crate::hub::futex::Waiter;
use crate::patch::symbol::interpose;
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

/// Calls `call`: on an OS thread of the pool if there is a hub, else here.
///
/// # Safety
/// Any OS thread may call `call`, as long as the caller waits.
unsafe fn look_up<T: Send + 'static>(hub: Option<&'static Hub>, call: impl FnOnce() -> T) -> T {
    let Some(hub) = hub else { return call() };
    acquire_lookup_slot(hub);
    // SAFETY: the caller's contract.
    let answer = unsafe { offload(Some(hub), WorkKind::LibcCall, "a name to be looked up", call) };
    FREE.fetch_add(1, AcqRel);
    futex::wake(FREE.as_ptr() as usize, 1, u32::MAX);
    answer
}

/// Parks while too many lookups go on.
fn acquire_lookup_slot(hub: &'static Hub) {
    let take = |free: u32| free.checked_sub(1);
    while FREE.fetch_update(AcqRel, Acquire, take).is_err() {
        let waiter = Waiter::Green { hub, deadline: NEVER, interruptible: Interruptible::No };
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
    // SAFETY: the caller's contract.
    let call = |hints: *const addrinfo| unsafe { Real::getaddrinfo(node, service, hints, out) };
    let Some(hub) = hub().filter(|_| !node.is_null()) else { return call(hints) };
    // An address that is written in numbers is not looked up.
    // SAFETY: null, or the caller's; all zeros is a valid value.
    let mut numbers = unsafe { hints.as_ref().map_or_else(|| std::mem::zeroed(), |hints| *hints) };
    if hints.is_null() {
        numbers.ai_flags = libc::AI_V4MAPPED | libc::AI_ADDRCONFIG;
    }
    let asked_for_numbers = numbers.ai_flags & libc::AI_NUMERICHOST != 0;
    numbers.ai_flags |= libc::AI_NUMERICHOST;
    let answer = call(&raw const numbers);
    if answer != libc::EAI_NONAME || asked_for_numbers {
        return answer;
    }
    // SAFETY: the caller's contract.
    unsafe { look_up(Some(hub), || call(hints)) }
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
        // Numbers are not looked up.
        let in_numbers = (host.is_null() || flags & libc::NI_NUMERICHOST != 0)
            && (service.is_null() || flags & libc::NI_NUMERICSERV != 0);
        look_up(hub().filter(|_| !in_numbers), || {
            Real::getnameinfo(address, len, host, host_len, service, service_len, flags)
        })
    }

    /// See gethostbyname(3). The result is the C library's, good until the next call of any thread.
    fn gethostbyname(name: *const c_char) -> *mut hostent, "C" => "the same";
    {
        let (answer, error) =
            look_up(hub(), || (Real::gethostbyname(name) as usize, *__h_errno_location()));
        *__h_errno_location() = error;
        answer as _
    }

    /// See gethostbyname_r(3).
    fn gethostbyname_r(name: *const c_char, out: *mut hostent, buffer: *mut c_char, len: usize,
        result: *mut *mut hostent, error: *mut c_int) -> c_int, "C" => "the same";
    { look_up(hub(), || Real::gethostbyname_r(name, out, buffer, len, result, error)) }
}
