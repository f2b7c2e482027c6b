//! The destructors that run when a green thread with a thread control block of its own ends.
//!
//! They run in the C library's order: first those of the thread-locals, last registered first, then those of the keys.
//! std registers the destructor of a `thread_local!` by `__cxa_thread_atexit_impl` and its own last clean-up by a key.
//! `patch/pthread/pthread_key.rs` interposes both calls and notes them here.
//!
//! Next: `tls/tcb.rs`, the thread control block.

use super::green_tls::{Destructor, GreenTls, is_green, with_green_tls, with_loaded};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU32};

/// glibc's `PTHREAD_KEYS_MAX`.
const KEYS_MAX: usize = 1024;
/// Destructor of each key; null if the key has none or does not exist.
static KEY_DESTRUCTORS: [AtomicPtr<c_void>; KEYS_MAX] = [const { AtomicPtr::new(null_mut()) }; KEYS_MAX];
/// One more than the largest key that ever had a destructor.
static KEYS_END: AtomicU32 = AtomicU32::new(0);

/// Notes that `key` was made with `destructor`.
pub(crate) fn note_key(key: libc::pthread_key_t, destructor: Option<unsafe extern "C" fn(*mut c_void)>) {
    let (Some(entry), Some(destructor)) = (KEY_DESTRUCTORS.get(key as usize), destructor) else { return };
    entry.store(destructor as *mut c_void, Relaxed);
    KEYS_END.fetch_max(key + 1, Relaxed);
}

/// Notes that `key` was deleted.
pub(crate) fn forget_key(key: libc::pthread_key_t) {
    if let Some(entry) = KEY_DESTRUCTORS.get(key as usize) {
        entry.store(null_mut(), Relaxed);
    }
}

/// Registers `destructor` for the end of the calling green thread. Returns `false` if the caller has no thread control
/// block of its own: then `destructor` belongs on the OS thread's list.
pub(crate) fn push_destructor(destructor: Destructor) -> bool {
    // SAFETY: only the green thread itself uses its list, and `push` calls nothing that does.
    with_green_tls(|green| unsafe { (*green.destructors.get()).push(destructor) }).is_some()
}

/// Returns whether the caller, a green thread that ends, may have destructors to run.
#[inline]
pub(crate) fn has_tls_destructors() -> bool {
    with_loaded(|green| {
        green.is_green()
            // SAFETY: only the green thread itself uses its list.
            && (KEYS_END.load(Relaxed) > 0 || unsafe { !(*green.destructors.get()).is_empty() })
    })
}

/// Runs the destructors that are registered now. A destructor may register others, which are for the next call.
/// Returns whether there were any.
pub(crate) fn run_destructors() -> bool {
    if !is_green() {
        // The C library runs those of an OS thread when the OS thread ends.
        return false;
    }
    let mut any = false;
    while let Some((destructor, value)) = with_green_tls(pop).flatten() {
        any = true;
        note_destruction();
        // SAFETY: the code that registered it promises that this thread may call it once, when it ends.
        unsafe { destructor(value) };
    }
    for key in 0..KEYS_END.load(Relaxed) {
        let destructor = KEY_DESTRUCTORS[key as usize].load(Relaxed);
        if destructor.is_null() {
            continue;
        }
        // SAFETY: the key exists or did a moment ago; if it is deleted, the calls return null and an error number. The
        // pointer is the function that `note_key` was given.
        unsafe {
            let value = libc::pthread_getspecific(key);
            if !value.is_null() {
                any = true;
                note_destruction();
                libc::pthread_setspecific(key, null_mut());
                let destructor: unsafe extern "C" fn(*mut c_void) = std::mem::transmute(destructor);
                destructor(value.cast());
            }
        }
    }
    any
}

/// Notes that a thread-local of the caller is about to be destroyed.
pub(crate) fn note_destruction() {
    with_loaded(|green| green.tls_destructors_run.set(green.tls_destructors_run.get() + 1));
}

fn pop(green: &GreenTls) -> Option<Destructor> {
    // SAFETY: only the green thread itself uses its list. The list is never dropped, so its memory is freed with the last
    // entry.
    unsafe {
        let list = &mut *green.destructors.get();
        let last = list.pop();
        if list.is_empty() {
            **list = Vec::new();
        }
        last
    }
}
