//! Looking a name up. The C library does it by files, sockets and locks of its own, which nothing here reaches; so an OS
//! thread does it while the others run.

use super::hub;
use crate::futex::{self, Who};
use crate::hub::Hub;
use crate::offload::Load;
use crate::patch::elsewhere;
use crate::patch::pthread::real;
use crate::time::NEVER;
use libc::{addrinfo, c_char, c_int};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// How many more may be looked up at once.
static FREE: AtomicU32 = AtomicU32::new(32);

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
    take_turn(hub);
    let args = (node as usize, service as usize, hints as usize, out as usize);
    let look_up = move || {
        let (node, service, hints, out) = args;
        // SAFETY: the caller's; it waits until we have done.
        unsafe {
            let answer = real::getaddrinfo(node as _, service as _, hints as _, out as _);
            (answer, *libc::__errno_location())
        }
    };
    let (answer, errno) = elsewhere(Load::Work, "a name to be looked up", look_up);
    // SAFETY: this thread's own.
    unsafe { *libc::__errno_location() = errno };
    FREE.fetch_add(1, AcqRel);
    futex::wake(FREE.as_ptr() as usize, 1, u32::MAX);
    answer
}

/// Parks while too many are looked up.
fn take_turn(hub: &'static Hub) {
    let take = |free: u32| free.checked_sub(1);
    while FREE.fetch_update(AcqRel, Acquire, take).is_err() {
        let who = Who::Green { hub, deadline: NEVER, shield: true };
        futex::wait(who, FREE.as_ptr() as usize, u32::MAX, || FREE.load(Acquire) == 0);
    }
}
