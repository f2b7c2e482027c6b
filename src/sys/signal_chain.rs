//! Signal chaining: calling the handler that was installed before ours.
//!
//! Next: `sys/signal_name.rs`.
#![allow(unsafe_code)]

use libc::{c_int, c_void, siginfo_t};

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
            std::mem::transmute::<usize, extern "C" fn(c_int, *mut siginfo_t, *mut c_void)>(at)(
                signal, info, context,
            );
        } else {
            std::mem::transmute::<usize, extern "C" fn(c_int)>(at)(signal);
        }
    }
    true
}
