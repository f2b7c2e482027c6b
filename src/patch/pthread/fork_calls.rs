//! `fork`, and the C library's functions that call it. In the child, the parent's hubs do not go on.
//!
//! Next: `hub/forked_child.rs`, the child's new hub.

use crate::hub::{keep_errno, try_current};
use crate::patch::symbol::{interpose, set_errno};
use crate::sys::tid::gettid;
use crate::tls;
use libc::{c_char, c_int, pid_t, termios, winsize};

/// Calls `fork` with the OS thread's own thread control block loaded. glibc's `fork` walks its list of threads, and takes
/// the one whose block is loaded for the one that goes on.
///
/// # Safety
/// As fork(2).
unsafe fn fork_on_os_thread_tcb(fork: unsafe fn() -> pid_t) -> pid_t {
    crate::hub::before_fork();
    let (mut pid, mut errno) = (-1, 0);
    let mut call = || {
        // SAFETY: the caller upholds the contract of fork(2).
        unsafe {
            pid = fork();
            errno = *libc::__errno_location();
        }
    };
    match try_current().filter(|_| tls::is_green()) {
        // No green thread parks: functions that run at a fork (pthread_atfork) may find locks taken.
        Some(hub) => hub.with_blocking_disabled(|| hub.with_os_thread_tcb(call)),
        None => call(),
    }
    match pid {
        0 => {
            if tls::is_green() {
                // The green thread's block notes the new thread id of the OS thread, the only one of the child.
                // SAFETY: a green thread's block, which is loaded.
                unsafe { *tls::Tcb::loaded().tid_word() = gettid() as u32 };
            }
            crate::hub::futex::reset_after_fork();
            crate::hub::reset_after_fork();
            crate::patch::io::reset_after_fork();
        }
        1.. => crate::patch::io::forked(),
        _ => set_errno(errno),
    }
    pid
}

interpose! { Locks;
    /// See fork(2).
    fn fork() -> pid_t, "C, std::process" => "runs on the OS thread's own thread control block"; {
        fork_on_os_thread_tcb(Real::fork)
    }

    /// See _Fork(3).
    fn _Fork() -> pid_t, "C" => "the same"; {
        fork_on_os_thread_tcb(Real::_Fork)
    }

    /// See vfork(2). It is `fork`, as POSIX allows. The child of a true one would run in our memory, where the descriptors
    /// that it closes before its `exec` are taken for ours.
    fn vfork() -> pid_t, "C" => "is fork, patched or not"; {
        fork()
    }

    /// See forkpty(3).
    fn forkpty(
        terminal: *mut c_int,
        name: *mut c_char,
        settings: *const termios,
        size: *const winsize,
    ) -> pid_t, "C" => "as fork";
    {
        let (mut ours, mut childs) = (-1, -1);
        if libc::openpty(&raw mut ours, &raw mut childs, name, settings.cast_mut(), size.cast_mut()) != 0 {
            return -1;
        }
        let child = fork();
        match child {
            0 => {
                libc::close(ours);
                if libc::login_tty(childs) != 0 {
                    libc::_exit(1);
                }
            }
            -1 => keep_errno(|| {
                libc::close(childs);
                libc::close(ours);
            }),
            _ => {
                libc::close(childs);
                *terminal = ours;
            }
        }
        child
    }

    /// See daemon(3).
    fn daemon(stays: c_int, keeps_streams: c_int) -> c_int, "C" => "as fork"; {
        match fork() {
            -1 => return -1,
            0 => {}
            _ => libc::_exit(0),
        }
        if libc::setsid() == -1 {
            return -1;
        }
        if stays == 0 {
            libc::chdir(c"/".as_ptr());
        }
        if keeps_streams == 0 {
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            if null < 0 {
                return -1;
            }
            (0..3).for_each(|stream| _ = libc::dup2(null, stream));
            if null > 2 {
                libc::close(null);
            }
        }
        0
    }
}
