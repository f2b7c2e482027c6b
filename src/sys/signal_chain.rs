//! Handlers that were there before ours.
#![allow(unsafe_code)]

use libc::{c_int, c_void, siginfo_t};

/// Calls the handler of `action` as its flags say that it wants to be. `false`: it has none of its own.
///
/// # Safety
/// `action` is what sigaction answered for `signal`; the rest is what our handler was called with.
pub(crate) unsafe fn call(
    action: &libc::sigaction,
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
) -> bool {
    let at = action.sa_sigaction;
    if at == libc::SIG_DFL || at == libc::SIG_IGN {
        return false;
    }
    // SAFETY: neither of those two, so a function of the signature that the flags tell.
    unsafe {
        if action.sa_flags & libc::SA_SIGINFO != 0 {
            std::mem::transmute::<usize, extern "C" fn(c_int, *mut siginfo_t, *mut c_void)>(at)(
                signal, info, context,
            );
        } else {
            std::mem::transmute::<usize, extern "C" fn(c_int)>(at)(signal);
        }
    }
    true
}
