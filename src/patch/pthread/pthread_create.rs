//! Making threads.
//!
//! Next: `patch/pthread/pthread_exit.rs`.

use crate::green::catch_body;
use crate::hub::{Hub, finish_current};
use crate::patch::kind::{Kind, patched_hub};
use crate::patch::symbol::interpose;
use crate::stack::StackSize;
use crate::sys::os_thread::is_making_os_thread;
use crate::tls;
use crate::tls::PthreadKind;
use libc::{c_int, c_void, pthread_attr_t, pthread_t};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

unsafe extern "C" {
    /// Not in the libc crate.
    fn pthread_attr_getdetachstate(attr: *const pthread_attr_t, state: *mut c_int) -> c_int;
}

type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

interpose! { Threads;
    /// See pthread_create(3).
    fn pthread_create(out: *mut pthread_t, attr: *const pthread_attr_t, start: Start, arg: *mut c_void) -> c_int,
        "std::thread, C" => "makes a green thread";
    {
        let hub = patched_hub(Kind::Threads).filter(|_| !is_making_os_thread());
        // If other OS threads cannot reach the hub, for want of a file descriptor, `join` would block the OS thread. So an
        // OS thread is made.
        match hub.filter(|hub| hub.inbox().is_ok()) {
            Some(hub) => create(hub, out, attr, start, arg),
            None => Real::pthread_create(out, attr, start, arg),
        }
    }
}

/// Makes a green thread that runs `start(arg)`.
///
/// # Safety
/// As pthread_create(3).
unsafe fn create(
    hub: &'static Hub,
    out: *mut pthread_t,
    attr: *const pthread_attr_t,
    start: Start,
    arg: *mut c_void,
) -> c_int {
    let (mut stack, mut state) = (default_stack(), libc::PTHREAD_CREATE_JOINABLE);
    if !attr.is_null() {
        // SAFETY: the caller upholds that `attr` is initialised.
        unsafe {
            libc::pthread_attr_getstacksize(attr, &raw mut stack);
            pthread_attr_getdetachstate(attr, &raw mut state);
        }
    }
    let Ok(size) = StackSize::for_usable(stack) else { return libc::EINVAL };
    let arg = arg as usize;
    let body = Box::new(move || {
        // SAFETY: the caller of pthread_create upholds that `start(arg)` may be called once.
        let result = catch_body(|| unsafe { start(arg as *mut c_void) } as usize);
        // After an unwind, the result is the one that pthread_exit has noted. A kill has noted none.
        if let Ok(result) = result {
            tls::with_green_tls(|green| green.result.set(Some(result as *mut c_void)));
        }
        finish_current(Ok(Box::new(())));
    });
    let is_detached = state == libc::PTHREAD_CREATE_DETACHED;
    let kind = if is_detached { PthreadKind::Detached } else { PthreadKind::Joinable };
    match hub.spawn_pthread(size, kind, body) {
        Ok(tcb) => {
            // SAFETY: the caller upholds that `out` is valid for a write.
            unsafe { out.write(tcb.pthread()) };
            0
        }
        Err(error) => {
            log::error!("no green thread for pthread_create: {error}");
            libc::EAGAIN
        }
    }
}

/// Returns the stack size of threads whose maker wants no special one, in bytes.
fn default_stack() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        let (mut attr, mut size) = (MaybeUninit::uninit(), 0);
        // SAFETY: the first call initialises `attr`.
        unsafe {
            libc::pthread_attr_init(attr.as_mut_ptr());
            libc::pthread_attr_getstacksize(attr.as_ptr(), &raw mut size);
            libc::pthread_attr_destroy(attr.as_mut_ptr());
        }
        size
    })
}
