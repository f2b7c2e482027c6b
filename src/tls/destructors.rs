//! What is run when a green thread with a block of its own ends, as the C library does for a thread: first the
//! destructors of its thread-locals, the last to be registered first, then those of its keys.
//!
//! std registers the destructor of a `thread_local!` by `__cxa_thread_atexit_impl`, and its own last clean-up
//! by a key. Both calls are interposed (`patch/pthread`), and noted here.

use super::{BLOCK, has_own, own_block};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize};

/// A function, and what it is called with.
pub(crate) type Destructor = (unsafe extern "C" fn(*mut c_void), *mut c_void);

/// The most keys that there are: `PTHREAD_KEYS_MAX`.
const KEYS_MAX: usize = 1024;
/// The destructor of each key; null for one that has none, or does not exist.
static OF_KEY: [AtomicPtr<c_void>; KEYS_MAX] = [const { AtomicPtr::new(null_mut()) }; KEYS_MAX];
/// One more than the largest key that ever had one.
static KEYS: AtomicU32 = AtomicU32::new(0);
/// How many have one.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A key was made, with this destructor.
pub(crate) fn note_key(key: libc::pthread_key_t, destructor: Option<unsafe extern "C" fn(*mut c_void)>) {
    let (Some(of_key), Some(destructor)) = (OF_KEY.get(key as usize), destructor) else { return };
    if of_key.swap(destructor as *mut c_void, Relaxed).is_null() {
        COUNT.fetch_add(1, Relaxed);
    }
    KEYS.fetch_max(key + 1, Relaxed);
}

/// A key was deleted.
pub(crate) fn forget_key(key: libc::pthread_key_t) {
    if let Some(of_key) = OF_KEY.get(key as usize) {
        if !of_key.swap(null_mut(), Relaxed).is_null() {
            COUNT.fetch_sub(1, Relaxed);
        }
    }
}

/// Has `destructor` run at the end of who calls. `false`: that is an OS thread, whose own list it belongs on.
pub(crate) fn push_destructor(destructor: Destructor) -> bool {
    own_block(|block| {
        // SAFETY: only the green thread itself uses its list, and `push` calls nothing that does.
        unsafe { (*block.destructors.get()).push(destructor) };
    })
    .is_some()
}

/// Whether who calls, a green thread that ends, may have something to run.
#[inline]
pub(crate) fn has_tls_destructors() -> bool {
    BLOCK.with(|block| {
        // SAFETY: as above.
        block.is_ours() && (COUNT.load(Relaxed) > 0 || unsafe { !(*block.destructors.get()).is_empty() })
    })
}

/// Runs what there is to run by now; what that registers anew is for the next call. Answers whether there was
/// anything.
pub(crate) fn run_destructors() -> bool {
    if !has_own() {
        // They are the OS thread's, for its end.
        return false;
    }
    let mut any = false;
    while let Some((destructor, value)) = own_block(pop).flatten() {
        any = true;
        note_destruction();
        // SAFETY: who registered it says that it may be called so, once, by this thread when it ends.
        unsafe { destructor(value) };
    }
    for key in 0..KEYS.load(Relaxed) {
        let destructor = OF_KEY[key as usize].load(Relaxed);
        if destructor.is_null() {
            continue;
        }
        // SAFETY: a key that exists, or did a moment ago: then the answers are null and an error number. The
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

/// A thread-local of who calls is about to be destroyed.
pub(crate) fn note_destruction() {
    BLOCK.with(|block| block.ending.set(block.ending.get() + 1));
}

fn pop(block: &super::GreenTls) -> Option<Destructor> {
    // SAFETY: as above; the list's memory goes with its last entry, for nobody drops it.
    unsafe {
        let list = &mut *block.destructors.get();
        let last = list.pop();
        if list.is_empty() {
            **list = Vec::new();
        }
        last
    }
}
