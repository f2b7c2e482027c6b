//! The C library's objects, the functions that make them, and the calls under test.

use crate::support::threads::LONG;
use greenline::spawn;
use greenline::thread::Thread;
use libc::{
    c_int, c_void, clockid_t, pthread_attr_t, pthread_barrier_t, pthread_cond_t, pthread_mutex_t,
    pthread_rwlock_t, pthread_spinlock_t, pthread_t, sem_t, timespec,
};
use std::cell::UnsafeCell;
use std::fmt::Debug;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

type ThreadMain = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// Functions that the libc crate lacks, or declares as never unwinding.
pub(crate) mod ffi {
    use super::*;
    use libc::pthread_once_t;

    unsafe extern "C" {
        pub(crate) fn pthread_mutex_clocklock(
            mutex: *mut pthread_mutex_t,
            clock: clockid_t,
            until: *const timespec,
        ) -> c_int;
        pub(crate) fn pthread_cond_clockwait(
            cond: *mut pthread_cond_t,
            mutex: *mut pthread_mutex_t,
            clock: clockid_t,
            until: *const timespec,
        ) -> c_int;
        pub(crate) fn pthread_rwlock_timedrdlock(
            lock: *mut pthread_rwlock_t,
            until: *const timespec,
        ) -> c_int;
        pub(crate) fn pthread_rwlock_timedwrlock(
            lock: *mut pthread_rwlock_t,
            until: *const timespec,
        ) -> c_int;
        pub(crate) fn pthread_rwlock_clockrdlock(
            lock: *mut pthread_rwlock_t,
            clock: clockid_t,
            until: *const timespec,
        ) -> c_int;
        pub(crate) fn pthread_rwlock_clockwrlock(
            lock: *mut pthread_rwlock_t,
            clock: clockid_t,
            until: *const timespec,
        ) -> c_int;
        pub(crate) fn pthread_rwlockattr_setkind_np(
            attr: *mut libc::pthread_rwlockattr_t,
            kind: c_int,
        ) -> c_int;
        pub(crate) fn sem_clockwait(sem: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int;
        pub(crate) fn pthread_clockjoin_np(
            thread: pthread_t,
            result: *mut *mut c_void,
            clock: clockid_t,
            until: *const timespec,
        ) -> c_int;
        pub(crate) fn pthread_create(
            out: *mut pthread_t,
            attr: *const pthread_attr_t,
            main: ThreadMain,
            arg: *mut c_void,
        ) -> c_int;
        pub(crate) fn pthread_attr_getdetachstate(attr: *const pthread_attr_t, state: *mut c_int) -> c_int;
    }
    unsafe extern "C-unwind" {
        pub(crate) fn pthread_once(once: *mut pthread_once_t, init: unsafe extern "C-unwind" fn()) -> c_int;
        pub(crate) fn pthread_exit(result: *mut c_void) -> !;
    }
}

/// An object of the C library that threads of all kinds use. It does not move.
pub(crate) struct Shared<T>(UnsafeCell<T>);

// SAFETY: the C library's objects are made to be used by several threads; for other contents, each test guards them.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Arc<Shared<T>> {
        Arc::new(Shared(UnsafeCell::new(value)))
    }

    pub(crate) fn zeroed() -> Arc<Shared<T>> {
        // SAFETY: the C library's objects are plain memory, and each caller initialises the object next.
        Shared::new(unsafe { MaybeUninit::zeroed().assume_init() })
    }

    pub(crate) fn get(&self) -> *mut T {
        self.0.get()
    }
}

pub(crate) type Mutex = Shared<pthread_mutex_t>;
pub(crate) type Cond = Shared<pthread_cond_t>;
pub(crate) type RwLock = Shared<pthread_rwlock_t>;
pub(crate) type Sem = Shared<sem_t>;
pub(crate) type Spin = Shared<pthread_spinlock_t>;
pub(crate) type Barrier = Shared<pthread_barrier_t>;

macro_rules! calls {
    ($($short:ident = $library:ident::$name:ident($object:ty $(, $arg:ident: $type:ty)*);)*) => {$(
        pub(crate) fn $short(object: &$object $(, $arg: $type)*) -> c_int {
            // SAFETY: each test initialises an object before it uses it, and does not use it after it destroyed it.
            unsafe { $library::$name(object.get() $(, $arg.into_raw())*) }
        }
    )*};
}

/// The conversion of an argument to what C takes.
trait IntoRaw {
    type Raw;
    fn into_raw(self) -> Self::Raw;
}

impl IntoRaw for clockid_t {
    type Raw = clockid_t;
    fn into_raw(self) -> clockid_t {
        self
    }
}

impl IntoRaw for &timespec {
    type Raw = *const timespec;
    fn into_raw(self) -> *const timespec {
        self
    }
}

impl IntoRaw for &Mutex {
    type Raw = *mut pthread_mutex_t;
    fn into_raw(self) -> *mut pthread_mutex_t {
        self.get()
    }
}

calls! {
    lock = libc::pthread_mutex_lock(Mutex);
    try_lock = libc::pthread_mutex_trylock(Mutex);
    timed_lock = libc::pthread_mutex_timedlock(Mutex, until: &timespec);
    clock_lock = ffi::pthread_mutex_clocklock(Mutex, clock: clockid_t, until: &timespec);
    unlock = libc::pthread_mutex_unlock(Mutex);
    destroy_mutex = libc::pthread_mutex_destroy(Mutex);
    wait = libc::pthread_cond_wait(Cond, mutex: &Mutex);
    timed_wait = libc::pthread_cond_timedwait(Cond, mutex: &Mutex, until: &timespec);
    clock_wait = ffi::pthread_cond_clockwait(Cond, mutex: &Mutex, clock: clockid_t, until: &timespec);
    signal = libc::pthread_cond_signal(Cond);
    broadcast = libc::pthread_cond_broadcast(Cond);
    destroy_cond = libc::pthread_cond_destroy(Cond);
    read = libc::pthread_rwlock_rdlock(RwLock);
    try_read = libc::pthread_rwlock_tryrdlock(RwLock);
    timed_read = ffi::pthread_rwlock_timedrdlock(RwLock, until: &timespec);
    clock_read = ffi::pthread_rwlock_clockrdlock(RwLock, clock: clockid_t, until: &timespec);
    write = libc::pthread_rwlock_wrlock(RwLock);
    try_write = libc::pthread_rwlock_trywrlock(RwLock);
    timed_write = ffi::pthread_rwlock_timedwrlock(RwLock, until: &timespec);
    clock_write = ffi::pthread_rwlock_clockwrlock(RwLock, clock: clockid_t, until: &timespec);
    unlock_rw = libc::pthread_rwlock_unlock(RwLock);
    destroy_rw = libc::pthread_rwlock_destroy(RwLock);
    spin_lock = libc::pthread_spin_lock(Spin);
    try_spin = libc::pthread_spin_trylock(Spin);
    spin_unlock = libc::pthread_spin_unlock(Spin);
    wait_barrier = libc::pthread_barrier_wait(Barrier);
    destroy_barrier = libc::pthread_barrier_destroy(Barrier);
    post = libc::sem_post(Sem);
    wait_sem = libc::sem_wait(Sem);
    try_sem = libc::sem_trywait(Sem);
    timed_sem = libc::sem_timedwait(Sem, until: &timespec);
    clock_sem = ffi::sem_clockwait(Sem, clock: clockid_t, until: &timespec);
}

/// Returns 0, or `errno` if the call returned -1.
pub(crate) fn errno(result: c_int) -> c_int {
    // SAFETY: the address is the calling thread's own.
    if result == 0 { 0 } else { unsafe { *libc::__errno_location() } }
}

type AttrCall<A> = unsafe extern "C" fn(*mut A) -> c_int;

/// Initialises an object with the attributes that `set` has set.
pub(crate) fn init_with<T, A>(
    object: &Shared<T>,
    init: unsafe extern "C" fn(*mut T, *const A) -> c_int,
    (init_attr, destroy_attr): AttrCalls<A>,
    set: impl FnOnce(*mut A) -> c_int,
) {
    let mut attr = MaybeUninit::uninit();
    // SAFETY: the attributes are initialised first; the object is memory of its type.
    unsafe {
        assert_eq!(init_attr(attr.as_mut_ptr()), 0);
        assert_eq!(set(attr.as_mut_ptr()), 0);
        assert_eq!(init(object.get(), attr.as_ptr()), 0);
        destroy_attr(attr.as_mut_ptr());
    }
}

/// The functions that make and destroy attributes of a kind.
type AttrCalls<A> = (AttrCall<A>, AttrCall<A>);

pub(crate) const MUTEX_ATTR: AttrCalls<libc::pthread_mutexattr_t> =
    (libc::pthread_mutexattr_init, libc::pthread_mutexattr_destroy);
pub(crate) const COND_ATTR: AttrCalls<libc::pthread_condattr_t> =
    (libc::pthread_condattr_init, libc::pthread_condattr_destroy);
pub(crate) const RWLOCK_ATTR: AttrCalls<libc::pthread_rwlockattr_t> =
    (libc::pthread_rwlockattr_init, libc::pthread_rwlockattr_destroy);

pub(crate) fn mutex(kind: c_int) -> Arc<Mutex> {
    let mutex = Mutex::zeroed();
    // SAFETY: `init_with` has initialised the attributes.
    let set = |attr| unsafe { libc::pthread_mutexattr_settype(attr, kind) };
    init_with(&mutex, libc::pthread_mutex_init, MUTEX_ATTR, set);
    mutex
}

pub(crate) fn normal_mutex() -> Arc<Mutex> {
    mutex(libc::PTHREAD_MUTEX_NORMAL)
}

pub(crate) fn cond(clock: clockid_t) -> Arc<Cond> {
    let cond = Cond::zeroed();
    // SAFETY: `init_with` has initialised the attributes.
    let set = |attr| unsafe { libc::pthread_condattr_setclock(attr, clock) };
    init_with(&cond, libc::pthread_cond_init, COND_ATTR, set);
    cond
}

pub(crate) fn rwlock() -> Arc<RwLock> {
    RwLock::new(libc::PTHREAD_RWLOCK_INITIALIZER)
}

pub(crate) fn sem(value: u32) -> Arc<Sem> {
    let sem = Sem::zeroed();
    // SAFETY: the object is memory of its type.
    assert_eq!(unsafe { libc::sem_init(sem.get(), 0, value) }, 0);
    sem
}

pub(crate) fn barrier(count: u32) -> Arc<Barrier> {
    let barrier = Barrier::zeroed();
    // SAFETY: the object is memory of its type.
    assert_eq!(unsafe { libc::pthread_barrier_init(barrier.get(), null(), count) }, 0);
    barrier
}

pub(crate) const REALTIME: clockid_t = libc::CLOCK_REALTIME;
pub(crate) const MONOTONIC: clockid_t = libc::CLOCK_MONOTONIC;

/// Returns the time of `clock` that is `ahead` from now.
pub(crate) fn at(clock: clockid_t, ahead: Duration) -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is written to this frame.
    unsafe { libc::clock_gettime(clock, &mut now) };
    let then = Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + ahead;
    timespec { tv_sec: then.as_secs() as _, tv_nsec: then.subsec_nanos() as _ }
}

pub(crate) fn far(clock: clockid_t) -> timespec {
    at(clock, LONG)
}

pub(crate) const PAST: timespec = timespec { tv_sec: 1, tv_nsec: 0 };
pub(crate) const NEGATIVE: timespec = timespec { tv_sec: -1, tv_nsec: 0 };
pub(crate) const INVALID: timespec = timespec { tv_sec: 1, tv_nsec: 1_000_000_000 };

/// Checks that `f` returns on a green thread and on the root what it returns on an OS thread without a hub, which calls
/// the C library itself.
#[track_caller]
pub(crate) fn assert_same_on_all_kinds<T: PartialEq + Debug + Send + 'static>(
    f: fn() -> Vec<(&'static str, T)>,
) {
    let library = Thread::new(f).start().unwrap().join().unwrap();
    assert_eq!(spawn(f).join().unwrap(), library, "on a green thread");
    assert_eq!(f(), library, "on the root");
}

/// Starts `body` as a C thread. On a hub that is a green thread.
pub(crate) fn create(
    attr: Option<&pthread_attr_t>,
    body: impl FnOnce() -> usize + Send + 'static,
) -> pthread_t {
    unsafe extern "C-unwind" fn main<F: FnOnce() -> usize>(arg: *mut c_void) -> *mut c_void {
        // SAFETY: `create` passes a Box of this type, to one thread.
        let body = unsafe { Box::from_raw(arg.cast::<F>()) };
        body() as *mut c_void
    }
    fn main_of<F: FnOnce() -> usize>(_: &F) -> ThreadMain {
        main::<F>
    }
    let (main, arg) = (main_of(&body), Box::into_raw(Box::new(body)));
    let (mut thread, attr) = (0, attr.map_or(null(), |attr| &raw const *attr));
    // SAFETY: the attributes are initialised or null; the function takes the Box.
    assert_eq!(unsafe { ffi::pthread_create(&raw mut thread, attr, main, arg.cast()) }, 0);
    thread
}

/// Returns attributes that `set` has set.
pub(crate) fn attr(set: impl FnOnce(*mut pthread_attr_t) -> c_int) -> pthread_attr_t {
    let mut attr = MaybeUninit::uninit();
    // SAFETY: the first call initialises them. That they are never destroyed leaks nothing in glibc.
    unsafe {
        libc::pthread_attr_init(attr.as_mut_ptr());
        assert_eq!(set(attr.as_mut_ptr()), 0);
        attr.assume_init()
    }
}

/// Returns what a call of the join family returns, and the thread's result.
fn joined(call: impl FnOnce(*mut *mut c_void) -> c_int) -> (c_int, usize) {
    let mut result = null_mut();
    (call(&raw mut result), result as usize)
}

pub(crate) fn join(thread: pthread_t) -> (c_int, usize) {
    // SAFETY: each test joins a thread once, and only if it is joinable.
    joined(|result| unsafe { libc::pthread_join(thread, result) })
}

pub(crate) fn try_join(thread: pthread_t) -> (c_int, usize) {
    // SAFETY: as in `join`.
    joined(|result| unsafe { libc::pthread_tryjoin_np(thread, result) })
}

pub(crate) fn timed_join(thread: pthread_t, until: &timespec) -> (c_int, usize) {
    // SAFETY: as in `join`.
    joined(|result| unsafe { libc::pthread_timedjoin_np(thread, result, until) })
}

pub(crate) fn clock_join(thread: pthread_t, clock: clockid_t, until: &timespec) -> (c_int, usize) {
    // SAFETY: as in `join`.
    joined(|result| unsafe { ffi::pthread_clockjoin_np(thread, result, clock, until) })
}

pub(crate) fn this() -> pthread_t {
    // SAFETY: the call has no preconditions.
    unsafe { libc::pthread_self() }
}

pub(crate) fn exit(result: usize) -> ! {
    // SAFETY: the callers' frames may be unwound.
    unsafe { ffi::pthread_exit(result as *mut c_void) }
}

/// Returns the usable addresses of a thread's stack, and its detach state.
pub(crate) fn stack_of(thread: pthread_t) -> (std::ops::Range<usize>, c_int) {
    let (mut attr, mut at, mut len, mut state) = (MaybeUninit::uninit(), null_mut(), 0, -1);
    // SAFETY: the first call initialises the attributes.
    unsafe {
        assert_eq!(libc::pthread_getattr_np(thread, attr.as_mut_ptr()), 0);
        assert_eq!(libc::pthread_attr_getstack(attr.as_ptr(), &raw mut at, &raw mut len), 0);
        ffi::pthread_attr_getdetachstate(attr.as_ptr(), &raw mut state);
        libc::pthread_attr_destroy(attr.as_mut_ptr());
    }
    (at as usize..at as usize + len, state)
}
