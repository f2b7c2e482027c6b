//! The C library's own functions. The interposed functions call them when there is nothing to interpose.
//!
//! `dlsym` finds a function when it is first needed, in the objects behind this one (`RTLD_NEXT`).
//!
//! Next: `patch/io/mod.rs`.

#![allow(non_snake_case, reason = "the names are the C library's")]

use libc::{
    c_int, c_void, clockid_t, pid_t, pthread_attr_t, pthread_barrier_t, pthread_barrierattr_t,
    pthread_cond_t, pthread_key_t, pthread_mutex_t, pthread_once_t, pthread_rwlock_t, pthread_spinlock_t,
    pthread_t, sem_t, timespec,
};
use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;

/// Finds a function, of this version if one is named.
///
/// # Panics
/// If there is none. A lock, for example, could do nothing else.
fn find(name: &CStr, version: Option<&CStr>) -> *mut c_void {
    // SAFETY: CStrs end in 0.
    let found = unsafe {
        match version {
            Some(version) => libc::dlvsym(libc::RTLD_NEXT, name.as_ptr(), version.as_ptr()),
            None => libc::dlsym(libc::RTLD_NEXT, name.as_ptr()),
        }
    };
    if found.is_null() {
        panic!("the C library has no {}", name.to_string_lossy());
    }
    found
}

macro_rules! real {
    ($($(#[$version:meta])* $name:ident: ($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        /// Calls the C library's function.
        ///
        /// # Safety
        /// As the C library's function.
        #[inline]
        pub(super) unsafe fn $name($($arg: $type),*) $(-> $result)? {
            static AT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
            let mut at = AT.load(Relaxed);
            if at.is_null() {
                const NAME: &CStr =
                    match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                        Ok(name) => name,
                        Err(_) => unreachable!(),
                    };
                at = find(NAME, version(NAME));
                AT.store(at, Relaxed);
            }
            // SAFETY: the C library's function of that name has this type. The caller upholds its contract.
            unsafe {
                let call: unsafe extern "C-unwind" fn($($type),*) $(-> $result)? = std::mem::transmute(at);
                call($($arg),*)
            }
        }
    )*};
}

/// Returns the version to look for. glibc has conditions of an older layout, for programs from before 2003, which `dlsym`
/// may find.
fn version(name: &CStr) -> Option<&'static CStr> {
    let is_condition = name.to_bytes().starts_with(b"pthread_cond_") && name != c"pthread_cond_clockwait";
    (cfg!(target_arch = "x86_64") && is_condition).then_some(c"GLIBC_2.3.2")
}

pub(super) type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;
pub(super) type KeyDestructor = Option<unsafe extern "C" fn(*mut c_void)>;
pub(super) type ThreadDestructor = unsafe extern "C" fn(*mut c_void);

real! {
    pthread_create: (out: *mut pthread_t, attr: *const pthread_attr_t, start: Start, arg: *mut c_void) -> c_int;
    pthread_join: (thread: pthread_t, result: *mut *mut c_void) -> c_int;
    pthread_tryjoin_np: (thread: pthread_t, result: *mut *mut c_void) -> c_int;
    pthread_clockjoin_np:
        (thread: pthread_t, result: *mut *mut c_void, clock: clockid_t, until: *const timespec) -> c_int;
    pthread_detach: (thread: pthread_t) -> c_int;
    pthread_exit: (result: *mut c_void) -> !;
    pthread_cancel: (thread: pthread_t) -> c_int;
    pthread_sigmask: (how: c_int, set: *const libc::sigset_t, old: *mut libc::sigset_t) -> c_int;
    pthread_kill: (thread: pthread_t, signal: c_int) -> c_int;
    pthread_getattr_np: (thread: pthread_t, attr: *mut pthread_attr_t) -> c_int;
    pthread_setname_np: (thread: pthread_t, name: *const libc::c_char) -> c_int;
    pthread_getname_np: (thread: pthread_t, name: *mut libc::c_char, len: usize) -> c_int;
    __cxa_thread_atexit_impl: (f: ThreadDestructor, value: *mut c_void, dso: *mut c_void) -> c_int;
    pthread_key_create: (key: *mut pthread_key_t, destructor: KeyDestructor) -> c_int;
    pthread_key_delete: (key: pthread_key_t) -> c_int;
    getaddrinfo: (node: *const libc::c_char, service: *const libc::c_char, hints: *const libc::addrinfo,
        out: *mut *mut libc::addrinfo) -> c_int;
    closefrom: (first: c_int);
    pclose: (stream: *mut libc::FILE) -> c_int;
    system: (command: *const libc::c_char) -> c_int;
    getnameinfo: (address: *const libc::sockaddr, len: libc::socklen_t, host: *mut libc::c_char,
        host_len: libc::socklen_t, service: *mut libc::c_char, service_len: libc::socklen_t, flags: c_int) -> c_int;
    gethostbyname: (name: *const libc::c_char) -> *mut libc::hostent;
    gethostbyname_r: (name: *const libc::c_char, out: *mut libc::hostent, buffer: *mut libc::c_char, len: usize,
        result: *mut *mut libc::hostent, error: *mut c_int) -> c_int;
    fork: () -> pid_t;
    _Fork: () -> pid_t;
    pthread_mutex_lock: (mutex: *mut pthread_mutex_t) -> c_int;
    pthread_mutex_trylock: (mutex: *mut pthread_mutex_t) -> c_int;
    pthread_mutex_timedlock: (mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int;
    pthread_mutex_clocklock: (mutex: *mut pthread_mutex_t, clock: clockid_t, until: *const timespec) -> c_int;
    pthread_mutex_unlock: (mutex: *mut pthread_mutex_t) -> c_int;
    pthread_cond_wait: (cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int;
    pthread_cond_timedwait:
        (cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int;
    pthread_cond_clockwait:
        (cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, clock: clockid_t, until: *const timespec) -> c_int;
    pthread_cond_signal: (cond: *mut pthread_cond_t) -> c_int;
    pthread_cond_broadcast: (cond: *mut pthread_cond_t) -> c_int;
    pthread_rwlock_rdlock: (lock: *mut pthread_rwlock_t) -> c_int;
    pthread_rwlock_tryrdlock: (lock: *mut pthread_rwlock_t) -> c_int;
    pthread_rwlock_trywrlock: (lock: *mut pthread_rwlock_t) -> c_int;
    pthread_rwlock_wrlock: (lock: *mut pthread_rwlock_t) -> c_int;
    pthread_rwlock_clockrdlock: (lock: *mut pthread_rwlock_t, clock: clockid_t, until: *const timespec) -> c_int;
    pthread_rwlock_clockwrlock: (lock: *mut pthread_rwlock_t, clock: clockid_t, until: *const timespec) -> c_int;
    pthread_rwlock_unlock: (lock: *mut pthread_rwlock_t) -> c_int;
    pthread_spin_lock: (lock: *mut pthread_spinlock_t) -> c_int;
    pthread_barrier_init:
        (barrier: *mut pthread_barrier_t, attr: *const pthread_barrierattr_t, count: libc::c_uint) -> c_int;
    pthread_barrier_wait: (barrier: *mut pthread_barrier_t) -> c_int;
    pthread_barrier_destroy: (barrier: *mut pthread_barrier_t) -> c_int;
    pthread_once: (once: *mut pthread_once_t, init: unsafe extern "C-unwind" fn()) -> c_int;
    sem_clockwait: (sem: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int;
    sem_wait: (sem: *mut sem_t) -> c_int;
    sem_post: (sem: *mut sem_t) -> c_int;
}
