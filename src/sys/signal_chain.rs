//! Signal chaining: installing a handler, and calling the one that was installed before.
//!
//! Next: `sys/signal_name.rs`.
#![allow(unsafe_code)]

use libc::{c_int, c_void, siginfo_t};
use std::mem::zeroed;
use std::ptr::{null, null_mut};

/// A signal handler, as SA_SIGINFO calls it.
pub(crate) type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Returns the action of `signal`.
pub(crate) fn current(signal: c_int) -> libc::sigaction {
    // SAFETY: reads the action into one of this frame, for which all zeros is valid.
    unsafe {
        let mut action = zeroed();
        libc::sigaction(signal, null(), &raw mut action);
        action
    }
}

/// Installs `handler` for `signal`, to be called on the alternate signal stack, with these flags besides.
///
/// # Safety
/// `handler` may run anywhere at any time.
pub(crate) unsafe fn install(signal: c_int, handler: Handler, flags: c_int) {
    // SAFETY: all zeros is a valid action. The rest is the caller's promise.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
        action.sa_sigaction = handler as *const () as usize;
        libc::sigaction(signal, &raw const action, null_mut());
    }
}

/// Calls the handler of `action`, with the arguments that its flags ask for. Returns `false` if it has no handler: the
/// default action, or none.
///
/// # Safety
/// sigaction has returned `action` for `signal`; the other arguments are those of our handler.
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
    // SAFETY: neither of those two values, so it is a function of the signature that the flags name.
    unsafe {
        if action.sa_flags & libc::SA_SIGINFO != 0 {
            std::mem::transmute::<usize, Handler>(at)(signal, info, context);
        } else {
            std::mem::transmute::<usize, extern "C" fn(c_int)>(at)(signal);
        }
    }
    true
}
