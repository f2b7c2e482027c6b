//! Destructors of thread-locals and of keys: noted, so that a green thread's run when it ends.
//!
//! Next: `tls/destructors.rs`, which runs them.

use crate::patch::symbol::interpose;
use crate::sys::at_fork;
use crate::tls;
use libc::{c_int, c_void, pthread_key_t};

type Function = unsafe extern "C" fn(*mut c_void);

interpose! { Locks;
    /// Registers a destructor of the calling thread. glibc's contract: `f(value)` may be called when the thread ends.
    fn __cxa_thread_atexit_impl(f: Function, value: *mut c_void, dso: *mut c_void) -> c_int,
        "thread_local!, C++" => "a green thread's destructors run when it ends";
    {
        if tls::push_destructor((f, value)) {
            return 0;
        }
        // The C library runs an OS thread's destructor. The crate notes that it runs.
        let noted: *mut Noted = Box::into_raw(Box::new(((f, value), at_fork::forks())));
        Real::__cxa_thread_atexit_impl(run_noted, noted.cast(), dso)
    }

    /// See pthread_key_create(3).
    fn pthread_key_create(key: *mut pthread_key_t, destructor: Option<Function>) -> c_int,
        "std, C" => "noted, so that a green thread's destructors run";
    {
        let number = Real::pthread_key_create(key, destructor);
        if number == 0 {
            tls::note_key(*key, destructor);
        }
        number
    }

    /// The same, for libgcc.
    fn __pthread_key_create(key: *mut pthread_key_t, destructor: Option<Function>) -> c_int, "libgcc" => "the same"; {
        pthread_key_create(key, destructor)
    }

    /// See pthread_key_delete(3).
    fn pthread_key_delete(key: pthread_key_t) -> c_int, "std, C" => "noted"; {
        tls::forget_key(key);
        Real::pthread_key_delete(key)
    }
}

/// A destructor, and the number of forks before it was registered.
type Noted = (tls::Destructor, u32);

/// # Safety
/// `noted` is the pointer of such a box, and this is called once.
unsafe extern "C" fn run_noted(noted: *mut c_void) {
    // SAFETY: the caller upholds that `noted` is a box.
    let ((f, value), forks) = unsafe { *Box::from_raw(noted.cast::<Noted>()) };
    tls::note_destruction();
    // A child that ends by `exit` has a copy of its parent's thread-locals. The parent drops them.
    if at_fork::is_ours_to_run(forks) {
        // SAFETY: the code that registered it promises that it may be called when the thread ends.
        unsafe { f(value) };
    }
}
