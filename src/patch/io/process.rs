//! Waiting for a child: by a descriptor that stands for it (`pidfd_open`, Linux 5.3), so without a signal handler.

use super::{failed, hub, kernel, pause, with_errno};
use crate::fds;
use crate::reactor::Direction;
use crate::time::NEVER;
use libc::{c_int, pid_t, rusage};

/// See wait4(2). One child parks; any of several, and children that are stopped, are waited for in the kernel.
///
/// # Safety
/// As wait4(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    let call = |options: c_int| {
        let args = [pid as usize, status as usize, options as usize, usage as usize, 0, 0];
        // SAFETY: the caller's.
        unsafe { kernel(libc::SYS_wait4, args) }
    };
    let Some(hub) = hub().filter(|_| pid > 0 && options == 0) else {
        return with_errno(call(options)) as pid_t;
    };
    with_errno(loop {
        let ended = call(libc::WNOHANG);
        if ended != 0 {
            break ended;
        }
        // SAFETY: no pointers.
        let child = unsafe { kernel(libc::SYS_pidfd_open, [pid as usize, 0, 0, 0, 0, 0]) };
        if child < 0 {
            // An old kernel, or no descriptor left.
            break call(0);
        }
        fds::forget(child as c_int);
        let waited = pause(hub, child as c_int, Direction::Read, NEVER, false);
        fds::forget(child as c_int);
        // SAFETY: no pointers; it is ours.
        unsafe { kernel(libc::SYS_close, [child as usize, 0, 0, 0, 0, 0]) };
        if let Err(number) = waited {
            break failed(number);
        }
    }) as pid_t
}

/// See waitpid(2).
///
/// # Safety
/// As waitpid(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // SAFETY: the caller's.
    unsafe { wait4(pid, status, options, std::ptr::null_mut()) }
}
