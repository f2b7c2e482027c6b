//! Name, stack and signals of a thread.
//!
//! Next: `patch/pthread/pthread_key.rs`.

use crate::hub::try_current;
use crate::patch::symbol::{interpose, kernel};
use crate::sys::page::page_size;
use crate::tls::{DETACHED, ENDED, GreenTls, Tcb};
use libc::{c_char, c_int, c_void, pthread_attr_t, pthread_t};
use std::ffi::CStr;
use std::sync::atomic::Ordering::Relaxed;

/// Returns the `GreenTls` of `thread` if that is a green thread.
///
/// # Safety
/// The `pthread_t` is valid: its thread was not joined, and has not ended detached.
unsafe fn green<'a>(thread: pthread_t) -> Option<&'a GreenTls> {
    // SAFETY: the caller upholds that the thread is alive.
    unsafe { Tcb::of_pthread(thread).map(|tcb| tcb.green_tls()) }
}

interpose! { Threads;
    /// See pthread_cancel(3). Green threads cannot be cancelled, because their interposed calls are never unwound.
    fn pthread_cancel(thread: pthread_t) -> c_int, "C" => "ENOTSUP for a green thread"; {
        match Tcb::of_pthread(thread) {
            Some(_) => libc::ENOTSUP,
            None => Real::pthread_cancel(thread),
        }
    }

    /// See pthread_kill(3). The handler runs on the green thread's OS thread, on top of any green thread that runs there.
    fn pthread_kill(thread: pthread_t, signal: c_int) -> c_int,
        "C" => "for a green thread, signals its OS thread";
    {
        let Some(tcb) = Tcb::of_pthread(thread) else { return Real::pthread_kill(thread, signal) };
        if tcb.green_tls().join_state.load(Relaxed) & ENDED != 0 {
            // The thread is still to be joined. To C that is no error, and no thread is signalled.
            return 0;
        }
        let args = [libc::getpid() as usize, *tcb.tid_word() as usize, signal as usize];
        -kernel(libc::SYS_tgkill, args) as c_int
    }

    /// See pthread_getattr_np(3). std calls it for the bounds of its stack, and demands a guard page in the answer.
    fn pthread_getattr_np(thread: pthread_t, attr: *mut pthread_attr_t) -> c_int,
        "std::thread" => "the green thread's stack, guard page included";
    {
        let Some(green) = green(thread) else { return Real::pthread_getattr_np(thread, attr) };
        let ((bottom, top), page) = (green.stack.get(), page_size());
        let number = libc::pthread_attr_init(attr);
        if number != 0 {
            return number;
        }
        libc::pthread_attr_setguardsize(attr, page);
        let is_detached = green.join_state.load(Relaxed) & DETACHED != 0;
        let state = if is_detached { libc::PTHREAD_CREATE_DETACHED } else { libc::PTHREAD_CREATE_JOINABLE };
        libc::pthread_attr_setdetachstate(attr, state);
        libc::pthread_attr_setstack(attr, (bottom + page) as *mut c_void, (top - bottom - page) & !15)
    }

    /// See pthread_setname_np(3). A name has up to 15 bytes.
    fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int,
        "std::thread" => "names the green thread, not the OS thread";
    {
        let Some(green) = green(thread) else { return Real::pthread_setname_np(thread, name) };
        let text = CStr::from_ptr(name).to_bytes();
        let mut bytes = [0; 16];
        let Some(prefix) = bytes[..15].get_mut(..text.len()) else { return libc::ERANGE };
        prefix.copy_from_slice(text);
        green.name.set(bytes);
        if let Some(hub) = try_current().filter(|_| thread == libc::pthread_self()) {
            hub.rename_current(&full_name(text));
        }
        0
    }

    /// See pthread_getname_np(3).
    fn pthread_getname_np(thread: pthread_t, name: *mut c_char, len: usize) -> c_int,
        "C" => "the green thread's name";
    {
        let Some(green) = green(thread) else { return Real::pthread_getname_np(thread, name, len) };
        if len < 16 {
            return libc::ERANGE;
        }
        name.cast::<[u8; 16]>().write(green.name.get());
        0
    }
}

/// Returns the whole name. std cuts it to 15 bytes for `pthread_setname_np`, and knows all of it.
fn full_name(text: &[u8]) -> String {
    let current = std::thread::current();
    let whole = current.name().filter(|name| text.len() == 15 && name.as_bytes().starts_with(text));
    whole.map_or_else(|| String::from_utf8_lossy(text).into(), String::from)
}
