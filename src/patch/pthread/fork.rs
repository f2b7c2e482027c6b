//! `fork` and what the C library makes of it: in the child, nothing of the parent's hubs goes on.

use super::{real, set_errno};
use crate::hub::try_current;
use crate::sys::tid::gettid;
use crate::tls;
use libc::{c_char, c_int, pid_t, termios, winsize};

/// glibc's `fork` walks its list of threads, and takes the one whose block is loaded for the one that goes on. So it
/// is called with the OS thread's own.
fn fork_at_home(fork: unsafe fn() -> pid_t) -> pid_t {
    crate::hub::before_fork();
    let mut answer = -1;
    let mut errno = 0;
    let mut with_os_thread_tcb = || {
        // SAFETY: no preconditions but those that every fork in a program with threads has.
        unsafe {
            answer = fork();
            errno = *libc::__errno_location();
        }
    };
    match try_current().filter(|_| tls::is_green()) {
        // Nobody parks: what runs at a fork (pthread_atfork) may find locks taken.
        Some(hub) => hub.with_blocking_disabled(|| hub.with_os_thread_tcb(with_os_thread_tcb)),
        None => with_os_thread_tcb(),
    }
    match answer {
        0 => {
            refresh_tid();
            crate::hub::futex::reset_after_fork();
            crate::hub::reset_after_fork();
            crate::patch::io::reset_after_fork();
        }
        1.. => crate::patch::io::forked(),
        _ => set_errno(errno),
    }
    answer
}

/// Notes the new thread id of the OS thread in the green thread's block: the OS thread is the only one of a forked child.
fn refresh_tid() {
    if tls::is_green() {
        // SAFETY: a green thread's block, which is loaded.
        unsafe { tls::Tcb::loaded().set_tid(gettid() as u32) };
    }
}

/// See fork(2).
#[unsafe(no_mangle)]
extern "C" fn fork() -> pid_t {
    fork_at_home(real::fork)
}

/// See vfork(2): it is `fork`, as POSIX allows, for the child of a true one would run in our memory, where the descriptors
/// that it closes before its `exec` are taken for ours.
#[unsafe(no_mangle)]
extern "C" fn vfork() -> pid_t {
    fork()
}

/// See _Fork(3).
#[unsafe(no_mangle)]
extern "C" fn _Fork() -> pid_t {
    fork_at_home(real::_Fork)
}

/// See forkpty(3).
///
/// # Safety
/// As forkpty(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn forkpty(
    terminal: *mut c_int,
    name: *mut c_char,
    settings: *const termios,
    size: *const winsize,
) -> pid_t {
    let (mut ours, mut childs) = (-1, -1);
    // SAFETY: the caller's, and two numbers of ours.
    unsafe {
        if libc::openpty(&raw mut ours, &raw mut childs, name, settings.cast_mut(), size.cast_mut()) != 0 {
            return -1;
        }
        let child = fork();
        if child == 0 {
            libc::close(ours);
            if libc::login_tty(childs) != 0 {
                libc::_exit(1);
            }
            return 0;
        }
        let errno = *libc::__errno_location();
        libc::close(childs);
        if child < 0 {
            libc::close(ours);
            set_errno(errno);
        } else {
            *terminal = ours;
        }
        child
    }
}

/// See daemon(3).
#[unsafe(no_mangle)]
extern "C" fn daemon(stays: c_int, keeps_streams: c_int) -> c_int {
    match fork() {
        -1 => return -1,
        0 => {}
        // SAFETY: no preconditions.
        _ => unsafe { libc::_exit(0) },
    }
    // SAFETY: strings that end in 0; numbers of open descriptors.
    unsafe {
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
            (0..3).for_each(|stream| {
                libc::dup2(null, stream);
            });
            if null > 2 {
                libc::close(null);
            }
        }
    }
    0
}
