//! Waiting for signals: by a descriptor that is readable while one of them is pending (`signalfd`), which is only
//! waited for and never read from.
//!
//! `ppoll`, `pselect` and `epoll_pwait` put another mask in the place of the OS thread's while they wait, so that a
//! signal that is blocked otherwise is handled then and at no other time. The other green threads must not run with
//! that mask. So the mask is put in place only while the call looks, which takes no time, and it looks when one of the
//! signals that the mask lets in is pending. Signals that only the mask blocks are not: they are handled by whoever runs.

use super::{ZERO, failed, hub, kernel, length, wait_any, with_errno};
use crate::fd_table;
use crate::hub::Hub;
use crate::ids::Direction;
use crate::sys::sigset::Signals;
use libc::{c_int, siginfo_t, sigset_t, timespec};
use std::ptr::{null, null_mut};
use std::time::Duration;

/// The kernel's set of signals, and its size in bytes.
type Set = u64;
const SIZE: usize = size_of::<Set>();

/// The signals that are blocked while a call waits, and no others. `None`: those that are blocked anyway.
#[derive(Clone, Copy)]
pub(super) struct Mask(Option<Set>);

impl Mask {
    pub(super) const NONE: Mask = Mask(None);

    /// # Safety
    /// `mask` is null, or points to a set.
    pub(super) unsafe fn new(mask: *const sigset_t) -> Mask {
        // SAFETY: the caller's; a set begins with the kernel's.
        Mask((!mask.is_null()).then(|| unsafe { *mask.cast::<Set>() }))
    }

    /// For the kernel: null, or where the set is.
    pub(super) fn as_ptr(&self) -> *const Set {
        self.0.as_ref().map_or(null(), |set| &raw const *set)
    }

    /// Has those handled that are pending and that it lets in: then EINTR, else 0.
    pub(super) fn deliver(&self) -> isize {
        match self.0 {
            None => 0,
            // SAFETY: no descriptors, a time and a set.
            Some(_) => unsafe {
                kernel(libc::SYS_ppoll, [0, 0, &raw const ZERO as usize, self.as_ptr() as usize, SIZE, 0])
            },
        }
    }

    /// Is readable while one is pending that is blocked, and that the mask lets in.
    pub(super) fn pending(&self) -> Option<Pending> {
        let mask = self.0?;
        let mut blocked: Set = 0;
        let args = [libc::SIG_BLOCK as usize, 0, &raw mut blocked as usize, SIZE, 0, 0];
        // SAFETY: room for a set.
        unsafe { kernel(libc::SYS_rt_sigprocmask, args) };
        Pending::new(blocked & !mask).filter(|_| blocked & !mask != 0)
    }
}

/// A descriptor that is readable while one of a set of signals is pending. Nobody reads from it.
pub(super) struct Pending(c_int);

impl Pending {
    /// `None`: there is no descriptor left. Then nobody is woken by a signal that comes later.
    fn new(set: Set) -> Option<Pending> {
        if let Some(hub) = hub() {
            hub.hold(Signals::from_bits(set));
        }
        let flags = (libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) as usize;
        // SAFETY: a set.
        let fd =
            unsafe { kernel(libc::SYS_signalfd4, [usize::MAX, &raw const set as usize, SIZE, flags, 0, 0]) };
        let fd = c_int::try_from(fd).ok().filter(|&fd| fd >= 0)?;
        fd_table::forget(fd);
        Some(Pending(fd))
    }

    pub(super) fn fd(&self) -> c_int {
        self.0
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        super::fd::close_ours(self.0);
    }
}

/// See signalfd(2). What who calls has blocked, it means to wait for.
///
/// # Safety
/// As signalfd(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn signalfd(fd: c_int, set: *const sigset_t, flags: c_int) -> c_int {
    let args = [fd as usize, set as usize, SIZE, flags as usize, 0, 0];
    // SAFETY: the caller's.
    let answer = unsafe { kernel(libc::SYS_signalfd4, args) };
    if let Some(hub) = hub().filter(|_| answer >= 0) {
        // SAFETY: the kernel has read it; a set begins with the kernel's.
        hub.hold(Signals::from_bits(unsafe { *set.cast::<Set>() }));
    }
    with_errno(answer) as c_int
}

/// Waits for one of a set of signals, which the program has blocked. Answers its number.
///
/// # Safety
/// As sigtimedwait(2).
unsafe fn wait_for(set: *const sigset_t, info: *mut siginfo_t, timeout: *const timespec) -> isize {
    let call = |timeout: *const timespec| {
        let args = [set as usize, info as usize, timeout as usize, SIZE, 0, 0];
        // SAFETY: the caller's.
        unsafe { kernel(libc::SYS_rt_sigtimedwait, args) }
    };
    let Some(hub) = hub() else { return call(timeout) };
    // SAFETY: null, or the caller's.
    let limit = match unsafe { timeout.as_ref() }.copied().map(length).transpose() {
        Ok(limit) => limit,
        Err(number) => return failed(number),
    };
    let first = call(&raw const ZERO);
    if first != failed(libc::EAGAIN) || limit == Some(Duration::ZERO) {
        return first;
    }
    // SAFETY: the kernel has read it.
    let Some(pending) = Pending::new(unsafe { *set.cast::<Set>() }) else { return call(timeout) };
    let look = || match call(&raw const ZERO) {
        nothing if nothing == failed(libc::EAGAIN) => 0,
        answer => answer,
    };
    match wait_any::wait(hub, limit, &Mask::NONE, || vec![(pending.fd(), Direction::Read)], look) {
        0 => failed(libc::EAGAIN),
        answer => answer,
    }
}

/// See sigtimedwait(2).
///
/// # Safety
/// As sigtimedwait(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sigtimedwait(
    set: *const sigset_t,
    info: *mut siginfo_t,
    timeout: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let answer = wait_for(set, info, timeout);
        // What `raise` sends looks like what `kill` does, as C has it.
        if let Some(info) = info.as_mut().filter(|_| answer > 0) {
            if info.si_code == libc::SI_TKILL {
                info.si_code = libc::SI_USER;
            }
        }
        with_errno(answer) as c_int
    }
}

/// See sigwaitinfo(2).
///
/// # Safety
/// As sigwaitinfo(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sigwaitinfo(set: *const sigset_t, info: *mut siginfo_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { sigtimedwait(set, info, null()) }
}

/// See sigwait(3): answers 0 or an error number, and not EINTR.
///
/// # Safety
/// As sigwait(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn sigwait(set: *const sigset_t, signal: *mut c_int) -> c_int {
    loop {
        // SAFETY: the caller's.
        match unsafe { wait_for(set, null_mut(), null()) } {
            again if again == failed(libc::EINTR) => {}
            number @ 1.. => {
                // SAFETY: the caller's.
                unsafe { *signal = number as c_int };
                return 0;
            }
            error => return -error as c_int,
        }
    }
}

/// Waits until a signal is handled.
fn wait_for_handler(hub: &Hub, mask: Mask) -> isize {
    wait_any::wait(hub, None, &mask, Vec::new, || mask.deliver())
}

/// See pause(2). A handler is noticed if the hub was idle when it ran: not if another green thread was running. At the
/// end of the process it is how std keeps those who exit as well; they are waited for no more (`thread/non_daemon.rs`).
#[unsafe(no_mangle)]
extern "C" fn pause() -> c_int {
    with_errno(match hub().filter(|_| !crate::sys::at_exit::has_begun()) {
        Some(hub) => wait_for_handler(hub, Mask::NONE),
        // Not every processor has the call of that name.
        // SAFETY: no descriptors, no time, no mask.
        None => unsafe { kernel(libc::SYS_ppoll, [0; 6]) },
    }) as c_int
}

/// See sigsuspend(2).
///
/// # Safety
/// As sigsuspend(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sigsuspend(mask: *const sigset_t) -> c_int {
    with_errno(match hub().filter(|_| !mask.is_null()) {
        // SAFETY: the caller's.
        Some(hub) => wait_for_handler(hub, unsafe { Mask::new(mask) }),
        // SAFETY: the caller's.
        None => unsafe { kernel(libc::SYS_rt_sigsuspend, [mask as usize, SIZE, 0, 0, 0, 0]) },
    }) as c_int
}
