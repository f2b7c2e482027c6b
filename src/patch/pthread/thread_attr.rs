//! What a thread is asked about itself, and what is run at its end.

use super::real::{self, KeyDestructor, ThreadDestructor};
use crate::hub::try_current;
use crate::tls;
use crate::tls::Tcb;
use libc::{c_char, c_int, c_void, pthread_attr_t, pthread_key_t, pthread_t};
use std::ffi::CStr;
use std::sync::atomic::Ordering::Relaxed;

/// Registers a destructor of the calling thread.
///
/// # Safety
/// As glibc's: `f(value)` may be called when the thread ends.
#[unsafe(no_mangle)]
unsafe extern "C" fn __cxa_thread_atexit_impl(
    f: ThreadDestructor,
    value: *mut c_void,
    dso: *mut c_void,
) -> c_int {
    if tls::push_destructor((f, value)) {
        return 0;
    }
    // An OS thread's: by the C library, but noted when it is run.
    let noted: *mut Noted = Box::into_raw(Box::new(((f, value), crate::sys::at_fork::forks())));
    // SAFETY: the caller's, and a box that is taken back once.
    unsafe { real::__cxa_thread_atexit_impl(run_noted, noted.cast(), dso) }
}

/// A destructor, and after how many forks it was registered.
type Noted = (tls::Destructor, u32);

/// # Safety
/// `noted` is such a box, and this the one time.
unsafe extern "C" fn run_noted(noted: *mut c_void) {
    // SAFETY: the caller's.
    unsafe {
        let ((f, value), forks) = *Box::from_raw(noted.cast::<Noted>());
        tls::note_destruction();
        // A child that ends by `exit` has its parent's thread-locals, which the parent drops.
        if crate::sys::at_fork::is_ours_to_run(forks) {
            f(value);
        }
    }
}

/// See pthread_key_create(3).
///
/// # Safety
/// `key` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_key_create(key: *mut pthread_key_t, destructor: KeyDestructor) -> c_int {
    // SAFETY: the caller's; on success the key was written.
    unsafe {
        let answer = real::pthread_key_create(key, destructor);
        if answer == 0 {
            tls::note_key(*key, destructor);
        }
        answer
    }
}

/// The same, for libgcc.
///
/// # Safety
/// The same.
#[unsafe(no_mangle)]
unsafe extern "C" fn __pthread_key_create(key: *mut pthread_key_t, destructor: KeyDestructor) -> c_int {
    // SAFETY: the caller's.
    unsafe { pthread_key_create(key, destructor) }
}

/// See pthread_key_delete(3).
#[unsafe(no_mangle)]
extern "C" fn pthread_key_delete(key: pthread_key_t) -> c_int {
    tls::forget_key(key);
    // SAFETY: any number may be given.
    unsafe { real::pthread_key_delete(key) }
}

/// The block of a green thread's `pthread_t`.
///
/// # Safety
/// The `pthread_t` is valid: its thread was not joined, and has not ended detached.
unsafe fn green<'a>(thread: pthread_t) -> Option<&'a tls::GreenTls> {
    // SAFETY: the caller's.
    unsafe { Tcb::of_pthread(thread).map(|tcb| tcb.green_tls()) }
}

/// See pthread_getattr_np(3). std asks it for its stack's bounds, and insists on a guard page in the answer.
///
/// # Safety
/// `thread` is valid, `attr` valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_getattr_np(thread: pthread_t, attr: *mut pthread_attr_t) -> c_int {
    // SAFETY: the caller's; `attr` is initialised before it is filled in.
    unsafe {
        let Some(green) = green(thread) else { return real::pthread_getattr_np(thread, attr) };
        let ((bottom, top), page) = (green.stack.get(), crate::sys::page::page_size());
        let answer = libc::pthread_attr_init(attr);
        if answer != 0 {
            return answer;
        }
        libc::pthread_attr_setguardsize(attr, page);
        let detached = green.join_state.load(Relaxed) & tls::DETACHED != 0;
        let state = if detached { libc::PTHREAD_CREATE_DETACHED } else { libc::PTHREAD_CREATE_JOINABLE };
        libc::pthread_attr_setdetachstate(attr, state);
        libc::pthread_attr_setstack(attr, (bottom + page) as *mut c_void, (top - bottom - page) & !15)
    }
}

/// See pthread_setname_np(3): up to 15 bytes.
///
/// # Safety
/// `thread` is valid, `name` ends in 0.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let Some(green) = green(thread) else { return real::pthread_setname_np(thread, name) };
        let text = CStr::from_ptr(name).to_bytes();
        let mut bytes = [0; 16];
        let Some(place) = bytes[..15].get_mut(..text.len()) else { return libc::ERANGE };
        place.copy_from_slice(text);
        green.name.set(bytes);
        if thread == libc::pthread_self() {
            if let Some(hub) = try_current() {
                hub.rename_current(&full_name(text));
            }
        }
        0
    }
}

/// std has cut the name to what fits here, and knows all of it.
fn full_name(text: &[u8]) -> String {
    let short = String::from_utf8_lossy(text);
    if text.len() == 15 {
        if let Some(name) = std::thread::current().name().filter(|name| name.as_bytes().starts_with(text)) {
            return name.into();
        }
    }
    short.into()
}

/// See pthread_getname_np(3).
///
/// # Safety
/// `thread` is valid, `name` valid for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_getname_np(thread: pthread_t, name: *mut c_char, len: usize) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let Some(green) = green(thread) else { return real::pthread_getname_np(thread, name, len) };
        if len < 16 {
            return libc::ERANGE;
        }
        name.cast::<[u8; 16]>().write(green.name.get());
        0
    }
}

/// See pthread_kill(3). The handler runs on the green thread's OS thread, whoever runs there then.
///
/// # Safety
/// `thread` is valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_kill(thread: pthread_t, signal: c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let Some(tcb) = Tcb::of_pthread(thread) else { return real::pthread_kill(thread, signal) };
        if tcb.green_tls().join_state.load(Relaxed) & tls::ENDED != 0 {
            // It is still to be joined. To C that is no error, and nobody is signalled.
            return 0;
        }
        let args = [libc::getpid() as usize, tcb.tid() as usize, signal as usize, 0, 0, 0];
        -crate::arch::syscall::syscall(libc::SYS_tgkill, args) as c_int
    }
}

/// See pthread_cancel(3): not to be had for green threads, whose interposed calls are never unwound.
///
/// # Safety
/// `thread` is valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cancel(thread: pthread_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        match Tcb::of_pthread(thread) {
            Some(_) => libc::ENOTSUP,
            None => real::pthread_cancel(thread),
        }
    }
}
