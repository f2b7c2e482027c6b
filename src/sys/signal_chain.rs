//! Signal chaining: installing a handler, and calling the one that was installed before.
//!
//! Next: `sys/constant_name.rs`.
#![allow(unsafe_code)]

use libc::{c_int, c_void, sigaction, siginfo_t};
use std::io;
use std::mem::zeroed;
use std::ptr::{from_ref, null};

/// A signal handler, as SA_SIGINFO calls it.
pub(crate) type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Returns the action of `signal`, and replaces it if there is a `new` one.
///
/// Errors: there is no such signal, or it is one of the C library's own.
///
/// # Safety
/// The handler of `new` may run anywhere at any time.
pub(crate) unsafe fn exchange(signal: c_int, new: Option<&sigaction>) -> io::Result<sigaction> {
    let new = new.map_or(null(), from_ref);
    // SAFETY: `new` is null or a valid action; all zeros is a valid action to be overwritten.
    unsafe {
        let mut old = zeroed();
        match libc::sigaction(signal, new, &raw mut old) {
            0 => Ok(old),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Returns the action of `signal`, which exists.
pub(crate) fn current(signal: c_int) -> sigaction {
    // SAFETY: no handler is installed.
    unsafe { exchange(signal, None) }.expect("the signal exists")
}

/// Installs `handler` for `signal`, to be called on the alternate signal stack, with these flags besides. Returns the former
/// action.
///
/// Errors: as for [`exchange`].
///
/// # Safety
/// `handler` may run anywhere at any time.
pub(crate) unsafe fn install(signal: c_int, handler: Handler, flags: c_int) -> io::Result<sigaction> {
    // SAFETY: all zeros is a valid action. The rest is the caller's promise.
    unsafe {
        let mut action: sigaction = zeroed();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
        action.sa_sigaction = handler as *const () as usize;
        exchange(signal, Some(&action))
    }
}

/// Calls the handler of `action`, with the arguments that its flags ask for. Returns `false` if it has no handler: the
/// default action, or none.
///
/// # Safety
/// sigaction has returned `action` for `signal`; the other arguments are those of our handler.
pub(crate) unsafe fn call(
    action: &sigaction,
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
