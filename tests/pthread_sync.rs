//! C's threads and locks under the patch: each green thread is a thread of its own to them, OS threads beside them
//! use the same objects, and what one thread alone can see is as the C library has it.

#![cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]

use greenline::thread::Thread;
use greenline::*;
use libc::{
    c_int, c_void, clockid_t, pthread_attr_t, pthread_barrier_t, pthread_cond_t, pthread_key_t,
    pthread_mutex_t, pthread_once_t, pthread_rwlock_t, pthread_spinlock_t, pthread_t, sem_t, timespec,
};
use std::cell::{Cell, UnsafeCell};
use std::fmt::Debug;
use std::mem::MaybeUninit;
use std::panic::AssertUnwindSafe;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize};
use std::time::{Duration, Instant};

type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// What the libc crate lacks, or declares as never unwinding.
mod c {
    use super::*;
    unsafe extern "C" {
        pub(super) fn pthread_mutex_clocklock(
            m: *mut pthread_mutex_t,
            c: clockid_t,
            t: *const timespec,
        ) -> c_int;
        pub(super) fn pthread_cond_clockwait(
            cond: *mut pthread_cond_t,
            mutex: *mut pthread_mutex_t,
            clock: clockid_t,
            until: *const timespec,
        ) -> c_int;
        pub(super) fn pthread_rwlock_timedrdlock(l: *mut pthread_rwlock_t, t: *const timespec) -> c_int;
        pub(super) fn pthread_rwlock_timedwrlock(l: *mut pthread_rwlock_t, t: *const timespec) -> c_int;
        pub(super) fn pthread_rwlock_clockrdlock(
            lock: *mut pthread_rwlock_t,
            clock: clockid_t,
            until: *const timespec,
        ) -> c_int;
        pub(super) fn pthread_rwlock_clockwrlock(
            lock: *mut pthread_rwlock_t,
            clock: clockid_t,
            until: *const timespec,
        ) -> c_int;
        pub(super) fn pthread_rwlockattr_setkind_np(
            attr: *mut libc::pthread_rwlockattr_t,
            kind: c_int,
        ) -> c_int;
        pub(super) fn sem_clockwait(sem: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int;
        pub(super) fn pthread_clockjoin_np(
            thread: pthread_t,
            result: *mut *mut c_void,
            clock: clockid_t,
            until: *const timespec,
        ) -> c_int;
        pub(super) fn pthread_create(
            out: *mut pthread_t,
            attr: *const pthread_attr_t,
            start: Start,
            arg: *mut c_void,
        ) -> c_int;
        pub(super) fn pthread_attr_getdetachstate(attr: *const pthread_attr_t, state: *mut c_int) -> c_int;
    }
    unsafe extern "C-unwind" {
        pub(super) fn pthread_once(once: *mut pthread_once_t, init: unsafe extern "C-unwind" fn()) -> c_int;
        pub(super) fn pthread_exit(result: *mut c_void) -> !;
    }
}

/// An object of the C library, which all kinds of thread use, and which does not move.
struct Shared<T>(UnsafeCell<T>);

// SAFETY: they are made for it.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: the same.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn new(value: T) -> Arc<Shared<T>> {
        Arc::new(Shared(UnsafeCell::new(value)))
    }

    fn zeroed() -> Arc<Shared<T>> {
        // SAFETY: the C library's objects are plain memory, and are initialised next.
        Shared::new(unsafe { MaybeUninit::zeroed().assume_init() })
    }

    fn get(&self) -> *mut T {
        self.0.get()
    }
}

type Mutex = Shared<pthread_mutex_t>;
type Cond = Shared<pthread_cond_t>;
type RwLock = Shared<pthread_rwlock_t>;
type Sem = Shared<sem_t>;
type Spin = Shared<pthread_spinlock_t>;
type Barrier = Shared<pthread_barrier_t>;

macro_rules! calls {
    ($($short:ident = $library:ident::$name:ident($object:ty $(, $arg:ident: $type:ty)*);)*) => {$(
        fn $short(object: &$object $(, $arg: $type)*) -> c_int {
            // SAFETY: the tests initialise what they use, and use it while it lives.
            unsafe { $library::$name(object.get() $(, $arg.into_raw())*) }
        }
    )*};
}

/// How an argument is given to C.
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
    clock_lock = c::pthread_mutex_clocklock(Mutex, clock: clockid_t, until: &timespec);
    unlock = libc::pthread_mutex_unlock(Mutex);
    destroy_mutex = libc::pthread_mutex_destroy(Mutex);
    wait = libc::pthread_cond_wait(Cond, mutex: &Mutex);
    timed_wait = libc::pthread_cond_timedwait(Cond, mutex: &Mutex, until: &timespec);
    clock_wait = c::pthread_cond_clockwait(Cond, mutex: &Mutex, clock: clockid_t, until: &timespec);
    signal = libc::pthread_cond_signal(Cond);
    broadcast = libc::pthread_cond_broadcast(Cond);
    destroy_cond = libc::pthread_cond_destroy(Cond);
    read = libc::pthread_rwlock_rdlock(RwLock);
    try_read = libc::pthread_rwlock_tryrdlock(RwLock);
    timed_read = c::pthread_rwlock_timedrdlock(RwLock, until: &timespec);
    clock_read = c::pthread_rwlock_clockrdlock(RwLock, clock: clockid_t, until: &timespec);
    write = libc::pthread_rwlock_wrlock(RwLock);
    try_write = libc::pthread_rwlock_trywrlock(RwLock);
    timed_write = c::pthread_rwlock_timedwrlock(RwLock, until: &timespec);
    clock_write = c::pthread_rwlock_clockwrlock(RwLock, clock: clockid_t, until: &timespec);
    unlock_rw = libc::pthread_rwlock_unlock(RwLock);
    destroy_rw = libc::pthread_rwlock_destroy(RwLock);
    spin_lock = libc::pthread_spin_lock(Spin);
    spin_try = libc::pthread_spin_trylock(Spin);
    spin_unlock = libc::pthread_spin_unlock(Spin);
    pass = libc::pthread_barrier_wait(Barrier);
    destroy_barrier = libc::pthread_barrier_destroy(Barrier);
    post = libc::sem_post(Sem);
    sem_wait_ = libc::sem_wait(Sem);
    sem_try_ = libc::sem_trywait(Sem);
    sem_timed_ = libc::sem_timedwait(Sem, until: &timespec);
    sem_clock_ = c::sem_clockwait(Sem, clock: clockid_t, until: &timespec);
}

/// 0, or the error's number, of a call that answers -1.
fn errno(answer: c_int) -> c_int {
    // SAFETY: the address is this thread's own.
    if answer == 0 { 0 } else { unsafe { *libc::__errno_location() } }
}

fn mutex(kind: c_int) -> Arc<Mutex> {
    let (mutex, mut attr) = (Mutex::zeroed(), MaybeUninit::uninit());
    // SAFETY: the attributes are initialised first.
    unsafe {
        libc::pthread_mutexattr_init(attr.as_mut_ptr());
        assert_eq!(libc::pthread_mutexattr_settype(attr.as_mut_ptr(), kind), 0);
        assert_eq!(libc::pthread_mutex_init(mutex.get(), attr.as_ptr()), 0);
        libc::pthread_mutexattr_destroy(attr.as_mut_ptr());
    }
    mutex
}

fn normal() -> Arc<Mutex> {
    mutex(libc::PTHREAD_MUTEX_NORMAL)
}

fn cond(clock: clockid_t) -> Arc<Cond> {
    let (cond, mut attr) = (Cond::zeroed(), MaybeUninit::uninit());
    // SAFETY: the attributes are initialised first.
    unsafe {
        libc::pthread_condattr_init(attr.as_mut_ptr());
        assert_eq!(libc::pthread_condattr_setclock(attr.as_mut_ptr(), clock), 0);
        assert_eq!(libc::pthread_cond_init(cond.get(), attr.as_ptr()), 0);
        libc::pthread_condattr_destroy(attr.as_mut_ptr());
    }
    cond
}

fn rwlock() -> Arc<RwLock> {
    RwLock::new(libc::PTHREAD_RWLOCK_INITIALIZER)
}

fn sem(value: u32) -> Arc<Sem> {
    let sem = Sem::zeroed();
    // SAFETY: memory of that type.
    assert_eq!(unsafe { libc::sem_init(sem.get(), 0, value) }, 0);
    sem
}

fn barrier(count: u32) -> Arc<Barrier> {
    let barrier = Barrier::zeroed();
    // SAFETY: memory of that type.
    assert_eq!(unsafe { libc::pthread_barrier_init(barrier.get(), null(), count) }, 0);
    barrier
}

const REALTIME: clockid_t = libc::CLOCK_REALTIME;
const MONOTONIC: clockid_t = libc::CLOCK_MONOTONIC;
/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The time of `clock` after `ahead`.
fn at(clock: clockid_t, ahead: Duration) -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is ours.
    unsafe { libc::clock_gettime(clock, &mut now) };
    let then = Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + ahead;
    timespec { tv_sec: then.as_secs() as _, tv_nsec: then.subsec_nanos() as _ }
}

const PAST: timespec = timespec { tv_sec: 1, tv_nsec: 0 };
const BEFORE_ALL: timespec = timespec { tv_sec: -1, tv_nsec: 0 };
const BAD: timespec = timespec { tv_sec: 1, tv_nsec: 1_000_000_000 };

/// Lets the others run until it is so.
#[track_caller]
fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < LONG, "it never came to pass");
        std::thread::yield_now();
    }
}

/// Lets those run that could, had something gone wrong.
fn look_around() {
    (0..50).for_each(|_| std::thread::yield_now());
}

type Joins = Box<dyn FnOnce()>;

/// A thread of either kind. What it answers joins it.
fn start(os_thread: bool, body: impl FnOnce() + Send + 'static) -> Joins {
    if os_thread {
        let thread = Thread::new(body).start().unwrap();
        Box::new(move || thread.join().unwrap())
    } else {
        let thread = spawn(body);
        Box::new(move || thread.join().unwrap())
    }
}

/// What an OS thread sees, which asks the C library, is what a green thread and the root see.
#[track_caller]
fn alike<T: PartialEq + Debug + Send + 'static>(f: fn() -> Vec<(&'static str, T)>) {
    let library = Thread::new(f).start().unwrap().join().unwrap();
    assert_eq!(spawn(f).join().unwrap(), library, "on a green thread");
    assert_eq!(f(), library, "on the root");
}

// ---- mutexes ---------------------------------------------------------------------------------------------------

#[test]
fn a_mutex_does_for_one_thread_what_the_c_library_does() {
    greenline::patch::all();
    alike(|| {
        let mut answers = Vec::new();
        let kinds =
            [libc::PTHREAD_MUTEX_NORMAL, libc::PTHREAD_MUTEX_RECURSIVE, libc::PTHREAD_MUTEX_ERRORCHECK];
        for kind in kinds {
            let mutex = &*mutex(kind);
            let mut note = |what, answer| answers.push((what, answer));
            note("a bad time for one that is free", timed_lock(mutex, &BAD));
            note("unlock", unlock(mutex));
            note("a time before all for one that is free", timed_lock(mutex, &BEFORE_ALL));
            note("unlock", unlock(mutex));
            if kind != libc::PTHREAD_MUTEX_NORMAL {
                note("unlock, not had", unlock(mutex));
                note("lock", lock(mutex));
                note("lock again", lock(mutex));
                note("unlock", unlock(mutex));
                note("unlock", unlock(mutex));
            }
            note("try", try_lock(mutex));
            note("try again", try_lock(mutex));
            note("past", timed_lock(mutex, &PAST));
            note("before all", timed_lock(mutex, &BEFORE_ALL));
            note("bad", timed_lock(mutex, &BAD));
            note("soon", timed_lock(mutex, &at(REALTIME, ms(10))));
            note("soon, monotonic", clock_lock(mutex, MONOTONIC, &at(MONOTONIC, ms(10))));
            note("soon, realtime", clock_lock(mutex, REALTIME, &at(REALTIME, ms(10))));
            note("a clock that there is not", clock_lock(mutex, 99, &PAST));
            note("a clock that is not for it", clock_lock(mutex, libc::CLOCK_PROCESS_CPUTIME_ID, &PAST));
            let times = if kind == libc::PTHREAD_MUTEX_RECURSIVE { 9 } else { 1 };
            (0..times).for_each(|_| note("unlock", unlock(mutex)));
            note("a clock that there is not, and free", clock_lock(mutex, 99, &PAST));
            if kind != libc::PTHREAD_MUTEX_NORMAL {
                note("unlock, not had", unlock(mutex));
            }
            note("destroy", destroy_mutex(mutex));
        }
        answers
    });
}

#[test]
fn the_owner_of_a_mutex_is_the_green_thread() {
    greenline::patch::all();
    for kind in [libc::PTHREAD_MUTEX_RECURSIVE, libc::PTHREAD_MUTEX_ERRORCHECK, libc::PTHREAD_MUTEX_NORMAL] {
        let mutex = mutex(kind);
        assert_eq!(lock(&mutex), 0);
        // Neither another green thread of this OS thread, nor another OS thread.
        for os_thread in [false, true] {
            let (inside, had) = (mutex.clone(), Arc::new(AtomicU32::new(0)));
            let counts = had.clone();
            let joins = start(os_thread, move || {
                assert_eq!(try_lock(&inside), libc::EBUSY);
                assert_eq!(timed_lock(&inside, &PAST), libc::ETIMEDOUT);
                if kind != libc::PTHREAD_MUTEX_NORMAL {
                    assert_eq!(unlock(&inside), libc::EPERM);
                }
                counts.store(1, SeqCst);
                assert_eq!(lock(&inside), 0);
                counts.store(2, SeqCst);
                // The owner may park with it.
                std::thread::sleep(ms(2));
                if kind == libc::PTHREAD_MUTEX_ERRORCHECK {
                    assert_eq!(lock(&inside), libc::EDEADLK);
                }
                assert_eq!(unlock(&inside), 0);
            });
            until(|| had.load(SeqCst) == 1);
            look_around();
            assert_eq!(had.load(SeqCst), 1, "it waits");
            assert_eq!(unlock(&mutex), 0);
            until(|| had.load(SeqCst) == 2);
            assert_eq!(lock(&mutex), 0, "after the other has slept");
            joins();
        }
        assert_eq!(unlock(&mutex), 0);
        assert_eq!(destroy_mutex(&mutex), 0);
    }
}

#[test]
fn a_mutex_is_held_across_a_sleep_by_one_at_a_time() {
    greenline::patch::all();
    let (mutex, inside) = (normal(), Arc::new(AtomicU32::new(0)));
    let start_of_all = Instant::now();
    let joins: Vec<_> = (0..9)
        .map(|n| {
            let (mutex, inside) = (mutex.clone(), inside.clone());
            start(n % 3 == 0, move || {
                for _ in 0..4 {
                    assert_eq!(lock(&mutex), 0);
                    assert_eq!(inside.fetch_add(1, SeqCst), 0);
                    std::thread::sleep(ms(1));
                    inside.fetch_sub(1, SeqCst);
                    assert_eq!(unlock(&mutex), 0);
                }
            })
        })
        .collect();
    joins.into_iter().for_each(|join| join());
    assert!(start_of_all.elapsed() >= ms(36));
}

#[test]
fn nothing_is_lost_of_a_contended_mutex() {
    greenline::patch::all();
    for kind in [libc::PTHREAD_MUTEX_NORMAL, libc::PTHREAD_MUTEX_RECURSIVE, 3 /* adaptive */] {
        let (mutex, count) = (mutex(kind), Shared::new(0u64));
        let body = || {
            let (mutex, count) = (mutex.clone(), count.clone());
            move || {
                for round in 0..300 {
                    let had = match round % 3 {
                        0 => lock(&mutex),
                        1 => timed_lock(&mutex, &at(REALTIME, LONG)),
                        _ => clock_lock(&mutex, MONOTONIC, &at(MONOTONIC, LONG)),
                    };
                    assert_eq!(had, 0);
                    // SAFETY: we have the lock.
                    unsafe {
                        let before = count.get().read();
                        if round % 8 == 0 {
                            std::thread::yield_now();
                        }
                        count.get().write(before + 1);
                    }
                    assert_eq!(unlock(&mutex), 0);
                }
            }
        };
        // A hub here, one there, and OS threads without.
        let (one, other) = (body(), body());
        let mut joins = vec![start(true, move || {
            let both = [spawn(one), spawn(other)];
            both.into_iter().for_each(|green| green.join().unwrap());
        })];
        joins.extend([start(true, body()), start(true, body())]);
        joins.extend((0..3).map(|_| start(false, body())));
        joins.into_iter().for_each(|join| join());
        // SAFETY: all have ended.
        assert_eq!(unsafe { *count.get() }, 7 * 300);
        assert_eq!(destroy_mutex(&mutex), 0);
    }
}

#[test]
fn a_mutex_is_shared_with_a_forked_child() {
    greenline::patch::all();
    struct Page {
        mutex: Mutex,
        count: AtomicU32,
    }
    let (read_write, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    let mut pipe = [0; 2];
    // SAFETY: fresh memory, zeroed, aligned to a page, and never unmapped; attributes that are initialised first.
    let page: &'static Page = unsafe {
        let at = libc::mmap(null_mut(), 4096, read_write, shared, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        let page = &*at.cast::<Page>();
        let mut attr = MaybeUninit::uninit();
        libc::pthread_mutexattr_init(attr.as_mut_ptr());
        libc::pthread_mutexattr_setpshared(attr.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
        assert_eq!(libc::pthread_mutex_init(page.mutex.get(), attr.as_ptr()), 0);
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        page
    };
    // On a green thread: the child goes on with it.
    let whole = spawn(move || {
        // SAFETY: the child makes no calls but system calls, and those that are tested.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut bad = lock(&page.mutex);
            page.count.store(1, SeqCst);
            let mut byte = 0u8;
            // SAFETY: descriptors of ours, and a byte.
            unsafe {
                libc::close(pipe[1]);
                libc::read(pipe[0], (&raw mut byte).cast(), 1);
            }
            page.count.store(2, SeqCst);
            bad |= unlock(&page.mutex);
            // SAFETY: no preconditions.
            unsafe { libc::_exit(bad) };
        }
        assert!(child > 0);
        until(|| page.count.load(SeqCst) == 1);
        assert_eq!(try_lock(&page.mutex), libc::EBUSY);
        assert_eq!(timed_lock(&page.mutex, &at(REALTIME, ms(20))), libc::ETIMEDOUT);
        let waits = spawn(|| {
            assert_eq!(lock(&page.mutex), 0);
            assert_eq!(page.count.load(SeqCst), 2);
            assert_eq!(unlock(&page.mutex), 0);
        });
        // Others run meanwhile.
        spawn(|| (0..20).for_each(|_| std::thread::sleep(ms(1)))).join().unwrap();
        assert!(!waits.is_finished());
        // SAFETY: a byte of ours, and a child of ours.
        unsafe {
            assert_eq!(libc::write(pipe[1], c"x".as_ptr().cast(), 1), 1);
            waits.join().unwrap();
            let mut status = 1;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            assert_eq!(status, 0);
            libc::close(pipe[0]);
            libc::close(pipe[1]);
        }
    });
    whole.join().unwrap();
}

// ---- conditions ------------------------------------------------------------------------------------------------

#[test]
fn a_condition_does_for_one_thread_what_the_c_library_does() {
    greenline::patch::all();
    alike(|| {
        let mut answers = Vec::new();
        for clock in [REALTIME, MONOTONIC] {
            let mut note = |what, answer| answers.push((what, answer));
            let (cond, mutex) = (&*cond(clock), &*mutex(libc::PTHREAD_MUTEX_ERRORCHECK));
            note("signal nobody", signal(cond));
            note("broadcast to nobody", broadcast(cond));
            note("without the mutex", wait(cond, mutex));
            note("without the mutex, timed", timed_wait(cond, mutex, &PAST));
            lock(mutex);
            let started = Instant::now();
            note("soon", timed_wait(cond, mutex, &at(clock, ms(20))));
            note("not too soon", (started.elapsed() >= ms(19)) as c_int);
            note("past", timed_wait(cond, mutex, &PAST));
            note("before all", timed_wait(cond, mutex, &BEFORE_ALL));
            note("bad", timed_wait(cond, mutex, &BAD));
            note("negative nanoseconds", timed_wait(cond, mutex, &timespec { tv_sec: 1, tv_nsec: -1 }));
            note("soon, realtime", clock_wait(cond, mutex, REALTIME, &at(REALTIME, ms(5))));
            note("soon, monotonic", clock_wait(cond, mutex, MONOTONIC, &at(MONOTONIC, ms(5))));
            note("bad, monotonic", clock_wait(cond, mutex, MONOTONIC, &BAD));
            note("a clock that there is not", clock_wait(cond, mutex, 99, &PAST));
            note(
                "a clock that is not for it",
                clock_wait(cond, mutex, libc::CLOCK_PROCESS_CPUTIME_ID, &PAST),
            );
            note("still had", unlock(mutex));
            note("destroy", destroy_cond(cond));
        }
        answers
    });
}

/// A queue as C has it: a number of things, and two conditions.
struct Queue {
    mutex: Arc<Mutex>,
    some: Arc<Cond>,
    room: Arc<Cond>,
    len: Cell<u32>,
}

// SAFETY: the length is used by who has the mutex.
unsafe impl Sync for Queue {}
// SAFETY: the same.
unsafe impl Send for Queue {}

impl Queue {
    fn new(clock: clockid_t) -> Arc<Queue> {
        Arc::new(Queue { mutex: normal(), some: cond(clock), room: cond(clock), len: Cell::new(0) })
    }

    /// Waits until the length is not `not`, changes it by `by`, and signals the other side.
    fn change(&self, not: u32, by: i32, wait_on: &Cond, tell: &Cond, all: bool) {
        assert_eq!(lock(&self.mutex), 0);
        while self.len.get() == not {
            assert_eq!(wait(wait_on, &self.mutex), 0);
        }
        self.len.set(self.len.get().checked_add_signed(by).unwrap());
        assert_eq!(if all { broadcast(tell) } else { signal(tell) }, 0);
        assert_eq!(unlock(&self.mutex), 0);
    }

    fn put(&self, all: bool) {
        self.change(3, 1, &self.room, &self.some, all);
    }

    fn take(&self, all: bool) {
        self.change(0, -1, &self.some, &self.room, all);
    }
}

#[test]
fn no_wake_up_of_a_condition_is_lost() {
    greenline::patch::all();
    for (clock, all) in [(REALTIME, false), (MONOTONIC, true)] {
        let queue = Queue::new(clock);
        const EACH: u32 = 400;
        let side = |puts: bool| {
            let queue = queue.clone();
            move || (0..EACH).for_each(|_| if puts { queue.put(all) } else { queue.take(all) })
        };
        let (puts, takes) = (side(true), side(false));
        let mut joins = vec![start(true, move || {
            let both = [spawn(puts), spawn(takes)];
            both.into_iter().for_each(|green| green.join().unwrap());
        })];
        for os_thread in [false, true] {
            joins.extend([true, false, true, false].map(|puts| start(os_thread, side(puts))));
        }
        joins.into_iter().for_each(|join| join());
        assert_eq!(queue.len.get(), 0);
        assert_eq!(destroy_cond(&queue.some), 0);
    }
}

#[test]
fn a_condition_wakes_one_or_all_of_both_kinds() {
    greenline::patch::all();
    let (mutex, cond) = (normal(), cond(REALTIME));
    let (waits, woken) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (go, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let joins: Vec<_> = (0..6)
        .map(|n| {
            let (mutex, cond, waits, woken) = (mutex.clone(), cond.clone(), waits.clone(), woken.clone());
            let (go, stop) = (go.clone(), stop.clone());
            start(n % 2 == 0, move || {
                assert_eq!(lock(&mutex), 0);
                waits.fetch_add(1, SeqCst);
                // Each that is woken may take one of `go`.
                while !stop.load(SeqCst) && go.load(SeqCst) == 0 {
                    assert_eq!(wait(&cond, &mutex), 0);
                }
                if !stop.load(SeqCst) {
                    go.fetch_sub(1, SeqCst);
                }
                woken.fetch_add(1, SeqCst);
                assert_eq!(unlock(&mutex), 0);
            })
        })
        .collect();
    // Who waits has released the mutex: so who gets it after the sixth has begun to wait finds all of them.
    until(|| waits.load(SeqCst) == 6);
    for (n, os_thread) in [(1, false), (2, true)] {
        let (mutex, cond, go) = (mutex.clone(), cond.clone(), go.clone());
        start(os_thread, move || {
            assert_eq!(lock(&mutex), 0);
            go.fetch_add(1, SeqCst);
            assert_eq!(signal(&cond), 0);
            assert_eq!(unlock(&mutex), 0);
        })();
        until(|| woken.load(SeqCst) == n);
        look_around();
        assert_eq!(woken.load(SeqCst), n, "one signal, one of them");
    }
    assert_eq!(lock(&mutex), 0);
    stop.store(true, SeqCst);
    assert_eq!(broadcast(&cond), 0);
    assert_eq!(woken.load(SeqCst), 2, "they want the mutex, which we have");
    assert_eq!(unlock(&mutex), 0);
    joins.into_iter().for_each(|join| join());
    assert_eq!(woken.load(SeqCst), 6);
}

#[test]
fn an_os_thread_that_waits_releases_the_mutex_to_green_threads() {
    greenline::patch::all();
    let (mutex, cond, state) = (normal(), cond(MONOTONIC), Arc::new(AtomicU32::new(0)));
    for timed in [false, true] {
        state.store(0, SeqCst);
        let (inside, there, says) = (mutex.clone(), cond.clone(), state.clone());
        let os_thread = start(true, move || {
            assert_eq!(lock(&inside), 0);
            says.store(1, SeqCst);
            until(|| says.load(SeqCst) == 2);
            while says.load(SeqCst) != 3 {
                let answer = match timed {
                    true => timed_wait(&there, &inside, &at(MONOTONIC, LONG)),
                    false => wait(&there, &inside),
                };
                assert_eq!(answer, 0);
            }
            assert_eq!(unlock(&inside), 0);
        });
        until(|| state.load(SeqCst) == 1);
        let (inside, there, says) = (mutex.clone(), cond.clone(), state.clone());
        let green = start(false, move || {
            says.store(2, SeqCst);
            assert_eq!(lock(&inside), 0); // parks: the OS thread has it, and will wait with it
            says.store(3, SeqCst);
            assert_eq!(signal(&there), 0);
            assert_eq!(unlock(&inside), 0);
        });
        green();
        os_thread();
    }
}

#[test]
fn a_killed_wait_for_a_condition_ends_early_with_the_mutex() {
    greenline::patch::all();
    let (mutex, cond) = (mutex(libc::PTHREAD_MUTEX_ERRORCHECK), cond(REALTIME));
    let (inside, there) = (mutex.clone(), cond.clone());
    let green = spawn(move || {
        assert_eq!(lock(&inside), 0);
        assert_eq!(wait(&there, &inside), 0); // for no reason, as conditions may
        assert_eq!(unlock(&inside), 0, "it has it");
        yield_now();
        unreachable!("the kill is delivered");
    });
    yield_now();
    assert_eq!(try_lock(&mutex), 0, "it waits");
    assert_eq!(unlock(&mutex), 0);
    green.kill();
    assert!(matches!(green.join(), Err(JoinError::Killed)));
    assert_eq!((try_lock(&mutex), unlock(&mutex)), (0, 0));
}

#[test]
fn an_observer_may_use_locks_on_a_green_thread() {
    greenline::patch::all();
    // Where blocking is not to be had, the C library is asked; by the same owner.
    let (mutex, recursive, rw) =
        (mutex(libc::PTHREAD_MUTEX_ERRORCHECK), mutex(libc::PTHREAD_MUTEX_RECURSIVE), rwlock());
    let seen = Arc::new(AtomicU32::new(0));
    let (bad, count) = (Arc::new(AtomicU32::new(0)), seen.clone());
    let (errors, locks) = (bad.clone(), (mutex.clone(), recursive.clone(), rw.clone()));
    trace::observe(move |event| {
        if !matches!(event, trace::Event::Park(_) | trace::Event::Spawn(_)) {
            return;
        }
        let (mutex, recursive, rw) = &locks;
        let answers = [
            [lock(mutex), lock(mutex) - libc::EDEADLK, unlock(mutex)],
            [lock(recursive), unlock(recursive), timed_lock(mutex, &PAST)],
            [unlock(mutex), write(rw), unlock_rw(rw)],
            [read(rw), unlock_rw(rw), try_write(rw)],
            [unlock_rw(rw), timed_write(rw, &PAST), unlock_rw(rw)],
        ];
        count.fetch_add(1, SeqCst);
        errors.fetch_add(answers.iter().flatten().filter(|&&answer| answer != 0).count() as u32, SeqCst);
    });
    spawn(|| {
        for _ in 0..3 {
            std::thread::sleep(ms(1));
            spawn(|| ()).join().unwrap();
        }
    })
    .join()
    .unwrap();
    trace::stop_observing();
    assert!(seen.load(SeqCst) >= 7, "{seen:?}");
    assert_eq!(bad.load(SeqCst), 0);
    assert_eq!((destroy_mutex(&mutex), destroy_mutex(&recursive), try_write(&rw)), (0, 0, 0));
}

/// Locks of a hub that cannot have the file descriptor by which others would wake it.
fn unreachable() {
    greenline::patch::all();
    let kinds = [libc::PTHREAD_MUTEX_ERRORCHECK, libc::PTHREAD_MUTEX_RECURSIVE, libc::PTHREAD_MUTEX_NORMAL];
    let (mutexes, rw) = (kinds.map(mutex), rwlock());
    mutexes.iter().for_each(|mutex| assert_eq!(lock(mutex), 0));
    assert_eq!(write(&rw), 0);
    let (theirs, other) = (mutexes.clone(), rw.clone());
    let (here, says) = (cond(REALTIME), Arc::new(AtomicU32::new(0)));
    let (there, stage) = (here.clone(), says.clone());
    let thread = Thread::new(move || {
        spawn(|| sleep(ms(1))).join().unwrap(); // a hub is there, and has what it sleeps in
        let limit = libc::rlimit { rlim_cur: 0, rlim_max: 4096 };
        // SAFETY: a limit of ours.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        spawn(move || {
            for mutex in &theirs {
                assert_eq!(lock(mutex), 0); // blocks the OS thread
                assert_eq!(unlock(mutex), 0);
                assert_eq!((try_lock(mutex), unlock(mutex)), (0, 0));
            }
            assert_eq!((write(&other), unlock_rw(&other)), (0, 0));
            assert_eq!((try_write(&other), unlock_rw(&other)), (0, 0));
            // It releases the mutex, for green threads elsewhere too.
            assert_eq!(lock(&theirs[0]), 0);
            stage.store(1, SeqCst);
            while stage.load(SeqCst) == 1 {
                assert_eq!(wait(&there, &theirs[0]), 0);
            }
            assert_eq!(timed_wait(&there, &theirs[0], &at(REALTIME, ms(5))), libc::ETIMEDOUT);
            assert_eq!(unlock(&theirs[0]), 0);
        })
        .join()
        .unwrap();
    });
    let thread = thread.start().unwrap();
    for mutex in &mutexes {
        // 2: somebody waits in the kernel.
        // SAFETY: the first word of a mutex, which is changed atomically.
        until(|| unsafe { (*mutex.get().cast::<AtomicU32>()).load(SeqCst) == 2 });
        assert_eq!(unlock(mutex), 0);
    }
    look_around();
    assert_eq!(unlock_rw(&rw), 0);
    until(|| says.load(SeqCst) == 1);
    assert_eq!(lock(&mutexes[0]), 0);
    says.store(2, SeqCst);
    assert_eq!(signal(&here), 0);
    assert_eq!(unlock(&mutexes[0]), 0);
    thread.join().unwrap();
}

#[test]
fn without_file_descriptors_locks_are_as_in_c() {
    const CASE: &str = "GREENLINE_TEST_UNREACHABLE";
    if std::env::var_os(CASE).is_some() {
        return unreachable();
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", "without_file_descriptors_locks_are_as_in_c"]).env(CASE, "").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn who_waits_for_a_lock_gets_it_though_killed() {
    greenline::patch::all();
    let (mutex, rw, got) = (normal(), rwlock(), Arc::new(AtomicU32::new(0)));
    assert_eq!((lock(&mutex), write(&rw)), (0, 0));
    let (inside, other, says) = (mutex.clone(), rw.clone(), got.clone());
    let green = spawn(move || {
        assert_eq!(lock(&inside), 0);
        assert_eq!(unlock(&inside), 0);
        says.store(1, SeqCst);
        assert_eq!(read(&other), 0);
        assert_eq!(unlock_rw(&other), 0);
        says.store(2, SeqCst);
        yield_now();
        unreachable!("the kill is delivered");
    });
    yield_now();
    green.kill();
    look_around();
    assert_eq!(got.load(SeqCst), 0);
    assert_eq!(unlock(&mutex), 0);
    until(|| got.load(SeqCst) == 1);
    look_around();
    assert_eq!(got.load(SeqCst), 1);
    assert_eq!(unlock_rw(&rw), 0);
    assert!(matches!(green.join(), Err(JoinError::Killed)));
    assert_eq!(got.load(SeqCst), 2);
}

// ---- read-write locks ------------------------------------------------------------------------------------------

#[test]
fn a_rwlock_does_for_one_thread_what_the_c_library_does() {
    greenline::patch::all();
    alike(|| {
        let mut answers = Vec::new();
        let mut note = |what, answer| answers.push((what, answer));
        let lock = &*rwlock();
        note("read", read(lock));
        note("read again", try_read(lock));
        note("and again", timed_read(lock, &at(REALTIME, LONG)));
        note("write, tried", try_write(lock));
        note("write, past", timed_write(lock, &PAST));
        note("write, soon", timed_write(lock, &at(REALTIME, ms(10))));
        note("write, soon, monotonic", clock_write(lock, MONOTONIC, &at(MONOTONIC, ms(10))));
        note("write, bad", timed_write(lock, &BAD));
        note("write, before all", timed_write(lock, &BEFORE_ALL));
        note("write, by no clock", clock_write(lock, 99, &PAST));
        (0..3).for_each(|_| note("unlock", unlock_rw(lock)));
        for how in [write, try_write] {
            note("write", how(lock));
            note("write, tried", try_write(lock));
            note("read, tried", try_read(lock));
            note("read, had by itself", read(lock));
            note("write, had by itself", write(lock));
            note("read, timed, had by itself", timed_read(lock, &at(REALTIME, ms(10))));
            note("write, timed, had by itself", clock_write(lock, MONOTONIC, &at(MONOTONIC, ms(10))));
            note("unlock", unlock_rw(lock));
        }
        note("read, before all", timed_read(lock, &BEFORE_ALL));
        note("unlock", unlock_rw(lock));
        note("write, past, free", clock_write(lock, REALTIME, &PAST));
        note("unlock", unlock_rw(lock));
        note("read, by no clock, free", clock_read(lock, 99, &PAST));
        note("read, bad, free", clock_read(lock, MONOTONIC, &BAD));
        note("write, free", try_write(lock));
        note("unlock", unlock_rw(lock));
        note("destroy", destroy_rw(lock));
        answers
    });
}

#[test]
fn readers_come_together_and_a_writer_alone() {
    greenline::patch::all();
    let lock = rwlock();
    // Readers of all kinds have it at once.
    let (met, leave) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = (0..6)
        .map(|n| {
            let (lock, met, leave) = (lock.clone(), met.clone(), leave.clone());
            start(n % 2 == 0, move || {
                assert_eq!(read(&lock), 0);
                met.fetch_add(1, SeqCst);
                until(|| leave.load(SeqCst));
                assert_eq!(unlock_rw(&lock), 0);
            })
        })
        .collect();
    until(|| met.load(SeqCst) == 6);
    assert_eq!(timed_write(&lock, &at(REALTIME, ms(10))), libc::ETIMEDOUT);
    let written = Arc::new(AtomicU32::new(0));
    let writers: Vec<_> = [false, true]
        .map(|os_thread| {
            let (lock, met, written) = (lock.clone(), met.clone(), written.clone());
            start(os_thread, move || {
                assert_eq!(write(&lock), 0);
                assert_eq!(met.load(SeqCst), 6);
                assert_eq!(written.fetch_add(1, SeqCst) % 2, 0);
                std::thread::sleep(ms(5));
                written.fetch_add(1, SeqCst);
                assert_eq!(unlock_rw(&lock), 0);
            })
        })
        .into();
    look_around();
    assert_eq!(written.load(SeqCst), 0);
    leave.store(true, SeqCst);
    readers.into_iter().chain(writers).for_each(|join| join());
    assert_eq!(written.load(SeqCst), 4);
    assert_eq!((try_write(&lock), unlock_rw(&lock)), (0, 0));
}

#[test]
fn readers_go_on_when_a_writer_whom_they_let_go_first_gives_up() {
    greenline::patch::all();
    let (lock, mut attr) = (RwLock::zeroed(), MaybeUninit::uninit());
    // SAFETY: the attributes are initialised first.
    unsafe {
        libc::pthread_rwlockattr_init(attr.as_mut_ptr());
        // PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP
        assert_eq!(c::pthread_rwlockattr_setkind_np(attr.as_mut_ptr(), 2), 0);
        assert_eq!(libc::pthread_rwlock_init(lock.get(), attr.as_ptr()), 0);
    }
    assert_eq!(read(&lock), 0);
    let inside = lock.clone();
    let writer = start(true, move || {
        assert_eq!(timed_write(&inside, &at(REALTIME, ms(200))), libc::ETIMEDOUT);
    });
    // SAFETY: the first word of a rwlock, which is changed atomically; bit 1: a writer has come.
    until(|| unsafe { (*lock.get().cast::<AtomicU32>()).load(SeqCst) & 2 != 0 });
    let (inside, got) = (lock.clone(), Arc::new(AtomicBool::new(false)));
    let says = got.clone();
    let reader = start(false, move || {
        assert_eq!(read(&inside), 0);
        says.store(true, SeqCst);
        assert_eq!(unlock_rw(&inside), 0);
    });
    writer();
    until(|| got.load(SeqCst)); // the first reader is still there
    reader();
    assert_eq!((unlock_rw(&lock), destroy_rw(&lock)), (0, 0));
}

#[test]
fn nothing_is_lost_of_a_contended_rwlock() {
    greenline::patch::all();
    let (lock, pair) = (rwlock(), Shared::new((0u64, 0u64)));
    let side = |writes: bool| {
        let (lock, pair) = (lock.clone(), pair.clone());
        move || {
            for round in 0..200 {
                let far = at(if round % 2 == 0 { MONOTONIC } else { REALTIME }, LONG);
                // SAFETY: we have the lock.
                unsafe {
                    if writes {
                        let had = match round % 4 {
                            0 => clock_write(&lock, MONOTONIC, &far),
                            1 => timed_write(&lock, &far),
                            2 if try_write(&lock) == 0 => 0,
                            _ => write(&lock),
                        };
                        assert_eq!(had, 0);
                        (*pair.get()).0 += 1;
                        if round % 4 == 0 {
                            std::thread::yield_now();
                        }
                        (*pair.get()).1 += 1;
                    } else {
                        let had = match round % 4 {
                            0 => clock_read(&lock, MONOTONIC, &far),
                            1 => timed_read(&lock, &far),
                            2 if try_read(&lock) == 0 => 0,
                            _ => read(&lock),
                        };
                        assert_eq!(had, 0);
                        let (one, other) = *pair.get();
                        assert_eq!(one, other);
                        if round % 4 == 0 {
                            std::thread::yield_now();
                        }
                    }
                }
                assert_eq!(unlock_rw(&lock), 0);
                std::thread::yield_now();
            }
        }
    };
    let (reads, writes) = (side(false), side(true));
    let mut joins = vec![start(true, move || {
        let both = [spawn(reads), spawn(writes)];
        both.into_iter().for_each(|green| green.join().unwrap());
    })];
    for os_thread in [false, true] {
        joins.extend([false, true, false].map(|writes| start(os_thread, side(writes))));
    }
    joins.into_iter().for_each(|join| join());
    // SAFETY: all have ended.
    assert_eq!(unsafe { *pair.get() }, (600, 600));
}

// ---- spin locks ------------------------------------------------------------------------------------------------

#[test]
fn a_spin_lock_may_be_had_by_one_that_is_parked() {
    greenline::patch::all();
    let spin = Spin::zeroed();
    // SAFETY: memory of that type.
    assert_eq!(unsafe { libc::pthread_spin_init(spin.get(), 0) }, 0);
    assert_eq!(spin_lock(&spin), 0);
    let (had, count) = (Arc::new(AtomicU32::new(0)), 4);
    let joins: Vec<_> = (0..count)
        .map(|n| {
            let (spin, had) = (spin.clone(), had.clone());
            start(n == 3, move || {
                assert_eq!(spin_try(&spin), libc::EBUSY);
                had.fetch_add(1, SeqCst);
                assert_eq!(spin_lock(&spin), 0);
                let before = had.load(SeqCst);
                std::thread::sleep(ms(3));
                had.store(before + 10, SeqCst);
                assert_eq!(spin_unlock(&spin), 0);
            })
        })
        .collect();
    until(|| had.load(SeqCst) == count);
    std::thread::sleep(ms(5));
    assert_eq!(had.load(SeqCst), count);
    assert_eq!(spin_unlock(&spin), 0);
    joins.into_iter().for_each(|join| join());
    assert_eq!(had.load(SeqCst), 11 * count);
}

// ---- barriers --------------------------------------------------------------------------------------------------

#[test]
fn all_pass_a_barrier_together_and_one_of_them_is_told() {
    greenline::patch::all();
    const ROUNDS: usize = 100;
    const ALL: usize = 7;
    let (inside, told): (_, Arc<Vec<AtomicUsize>>) =
        (barrier(ALL as u32), Arc::new((0..ROUNDS).map(|_| AtomicUsize::new(0)).collect()));
    let arrived = Arc::new(AtomicUsize::new(0));
    let body = || {
        let (barrier, told, arrived) = (inside.clone(), told.clone(), arrived.clone());
        move || {
            for (round, told) in told.iter().enumerate() {
                arrived.fetch_add(1, SeqCst);
                match pass(&barrier) {
                    0 => {}
                    libc::PTHREAD_BARRIER_SERIAL_THREAD => drop(told.fetch_add(1, SeqCst)),
                    answer => panic!("{answer}"),
                }
                assert!(arrived.load(SeqCst) >= (round + 1) * ALL);
            }
        }
    };
    let (one, other) = (body(), body());
    let mut joins = vec![start(true, move || {
        let both = [spawn(one), spawn(other)];
        both.into_iter().for_each(|green| green.join().unwrap());
    })];
    joins.extend([true, true, false, false, false].map(|os_thread| start(os_thread, body())));
    joins.into_iter().for_each(|join| join());
    assert!(told.iter().all(|told| told.load(SeqCst) == 1));
    assert_eq!(destroy_barrier(&inside), 0);
    // SAFETY: memory of that type.
    assert_eq!(unsafe { libc::pthread_barrier_init(inside.get(), null(), 0) }, libc::EINVAL);
}

#[test]
fn a_barrier_may_be_destroyed_by_the_first_that_is_through() {
    greenline::patch::all();
    for round in 0..100 {
        let memory = barrier(3);
        let joins: Vec<_> = (0..3)
            .map(|n| {
                let barrier = memory.clone();
                start(n != 0 && round % 2 == 0, move || {
                    if pass(&barrier) == libc::PTHREAD_BARRIER_SERIAL_THREAD {
                        assert_eq!(destroy_barrier(&barrier), 0);
                        // SAFETY: nobody uses it any more: that is what is tested.
                        unsafe {
                            barrier.get().cast::<u8>().write_bytes(0xa5, size_of::<pthread_barrier_t>())
                        };
                    }
                })
            })
            .collect();
        joins.into_iter().for_each(|join| join());
        // SAFETY: all have ended.
        let bytes = unsafe { *memory.get().cast::<[u8; size_of::<pthread_barrier_t>()]>() };
        assert!(bytes.iter().all(|&byte| byte == 0xa5), "{bytes:x?}");
    }
}

#[test]
fn more_may_come_to_a_barrier_than_it_waits_for() {
    greenline::patch::all();
    // Two pass at a time, of four that come at once: nobody is left behind, and two are told.
    const ROUNDS: usize = 6000;
    let (two, all) = (barrier(2), barrier(4));
    let told: Arc<Vec<AtomicUsize>> = Arc::new((0..ROUNDS).map(|_| AtomicUsize::new(0)).collect());
    let joins: Vec<_> = (0..4)
        .map(|n| {
            let (two, all, told) = (two.clone(), all.clone(), told.clone());
            start(n != 0, move || {
                for told in told.iter() {
                    if pass(&two) != 0 {
                        told.fetch_add(1, SeqCst);
                    }
                    pass(&all);
                    assert_eq!(told.load(SeqCst), 2);
                }
            })
        })
        .collect();
    joins.into_iter().for_each(|join| join());
}

// ---- once ------------------------------------------------------------------------------------------------------

#[test]
fn an_initialiser_that_sleeps_runs_once() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static DONE: AtomicBool = AtomicBool::new(false);
    extern "C-unwind" fn init() {
        RUNS.fetch_add(1, SeqCst);
        std::thread::sleep(ms(20));
        DONE.store(true, SeqCst);
    }
    greenline::patch::all();
    let once = Shared::new(libc::PTHREAD_ONCE_INIT);
    let joins: Vec<_> = (0..8)
        .map(|n| {
            let once = once.clone();
            start(n % 2 == 1, move || {
                // SAFETY: initialised, and a function that may be called.
                assert_eq!(unsafe { c::pthread_once(once.get(), init) }, 0);
                assert!(DONE.load(SeqCst));
            })
        })
        .collect();
    joins.into_iter().for_each(|join| join());
    assert_eq!(RUNS.load(SeqCst), 1);
}

#[test]
fn an_initialiser_that_unwinds_is_run_again() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    extern "C-unwind" fn init() {
        std::thread::sleep(ms(5));
        if RUNS.fetch_add(1, SeqCst) < 2 {
            std::panic::resume_unwind(Box::new("not this time"));
        }
    }
    greenline::patch::all();
    let (once, unwound) = (Shared::new(libc::PTHREAD_ONCE_INIT), Arc::new(AtomicU32::new(0)));
    let joins: Vec<_> = (0..6)
        .map(|n| {
            let (once, unwound) = (once.clone(), unwound.clone());
            start(n % 2 == 1, move || {
                // SAFETY: initialised, and a function that may be called.
                let call = AssertUnwindSafe(|| unsafe { c::pthread_once(once.get(), init) });
                match std::panic::catch_unwind(call) {
                    Ok(answer) => assert_eq!(answer, 0),
                    Err(_) => drop(unwound.fetch_add(1, SeqCst)),
                }
            })
        })
        .collect();
    joins.into_iter().for_each(|join| join());
    assert_eq!((RUNS.load(SeqCst), unwound.load(SeqCst)), (3, 2));
}

// ---- semaphores ------------------------------------------------------------------------------------------------

#[test]
fn a_semaphore_does_for_one_thread_what_the_c_library_does() {
    greenline::patch::all();
    alike(|| {
        let mut answers = Vec::new();
        let mut note = |what, answer| answers.push((what, errno(answer)));
        let sem = &*sem(2);
        note("wait", sem_wait_(sem));
        note("try", sem_try_(sem));
        note("try again", sem_try_(sem));
        note("past", sem_timed_(sem, &PAST));
        note("before all", sem_timed_(sem, &BEFORE_ALL));
        note("soon", sem_timed_(sem, &at(REALTIME, ms(10))));
        note("soon, monotonic", sem_clock_(sem, MONOTONIC, &at(MONOTONIC, ms(10))));
        note("bad", sem_timed_(sem, &BAD));
        note("post", post(sem));
        note("bad, and there", sem_timed_(sem, &BAD));
        note("no clock, and there", sem_clock_(sem, 99, &PAST));
        note("wait", sem_wait_(sem));
        note("no clock", sem_clock_(sem, 99, &PAST));
        note("a clock that is not for it", sem_clock_(sem, libc::CLOCK_PROCESS_CPUTIME_ID, &PAST));
        (0..3).for_each(|_| note("post", post(sem)));
        note("past, and there", sem_timed_(sem, &PAST));
        note("monotonic, and there", sem_clock_(sem, MONOTONIC, &BEFORE_ALL));
        note("wait", sem_wait_(sem));
        note("try", sem_try_(sem));
        answers
    });
}

#[test]
fn each_post_lets_one_of_either_kind_go_on() {
    greenline::patch::all();
    let (sem, back) = (sem(0), sem(0));
    let gone_on = Arc::new(AtomicU32::new(0));
    let body = |n: u32| {
        let (sem, back, gone_on) = (sem.clone(), back.clone(), gone_on.clone());
        move || {
            for round in 0..100 {
                let answer = match (round + n) % 3 {
                    0 => sem_wait_(&sem),
                    1 => sem_timed_(&sem, &at(REALTIME, LONG)),
                    _ => sem_clock_(&sem, MONOTONIC, &at(MONOTONIC, LONG)),
                };
                assert_eq!(errno(answer), 0);
                gone_on.fetch_add(1, SeqCst);
                assert_eq!(post(&back), 0);
            }
        }
    };
    let (one, other) = (body(0), body(1));
    let mut joins = vec![start(true, move || {
        let both = [spawn(one), spawn(other)];
        both.into_iter().for_each(|green| green.join().unwrap());
    })];
    joins.extend((0..6).map(|n| start(n % 2 == 0, body(n))));
    // One at a time, from here and from an OS thread, and then many at once.
    for n in 0..200 {
        assert_eq!(post(&sem), 0);
        assert_eq!(errno(sem_wait_(&back)), 0);
        assert_eq!(gone_on.load(SeqCst), n + 1);
    }
    look_around();
    assert_eq!(gone_on.load(SeqCst), 200);
    let inside = sem.clone();
    joins.push(start(true, move || (0..300).for_each(|_| assert_eq!(post(&inside), 0))));
    (0..300).for_each(|_| assert_eq!(post(&sem), 0));
    joins.into_iter().for_each(|join| join());
    assert_eq!(gone_on.load(SeqCst), 800);
    assert_eq!(errno(sem_try_(&sem)), libc::EAGAIN);
}

#[test]
fn a_killed_wait_for_a_semaphore_is_interrupted_once() {
    greenline::patch::all();
    let (sem, cut) = (sem(0), Arc::new(AtomicU32::new(0)));
    let (inside, says) = (sem.clone(), cut.clone());
    let green = spawn(move || {
        assert_eq!(errno(sem_wait_(&inside)), libc::EINTR);
        says.store(1, SeqCst);
        assert_eq!(errno(sem_wait_(&inside)), 0);
        says.store(2, SeqCst);
        yield_now();
        unreachable!("the kill is delivered");
    });
    yield_now();
    green.kill();
    until(|| cut.load(SeqCst) == 1);
    look_around();
    assert_eq!(cut.load(SeqCst), 1, "it waits again");
    assert_eq!(post(&sem), 0);
    assert!(matches!(green.join(), Err(JoinError::Killed)));
    assert_eq!(cut.load(SeqCst), 2);
}

// ---- threads ---------------------------------------------------------------------------------------------------

/// Runs `body` as a C thread: a green one, where a hub is.
fn create(attr: Option<&pthread_attr_t>, body: impl FnOnce() -> usize + Send + 'static) -> pthread_t {
    unsafe extern "C-unwind" fn run<F: FnOnce() -> usize>(arg: *mut c_void) -> *mut c_void {
        // SAFETY: the Box below, once.
        let body = unsafe { Box::from_raw(arg.cast::<F>()) };
        body() as *mut c_void
    }
    fn start_of<F: FnOnce() -> usize>(_: &F) -> Start {
        run::<F>
    }
    let (start, arg) = (start_of(&body), Box::into_raw(Box::new(body)));
    let (mut thread, attr) = (0, attr.map_or(null(), |attr| &raw const *attr));
    // SAFETY: attributes that are initialised, or none; and a function that takes the Box.
    assert_eq!(unsafe { c::pthread_create(&raw mut thread, attr, start, arg.cast()) }, 0);
    thread
}

/// Attributes, as `set` has them.
fn attr(set: impl FnOnce(*mut pthread_attr_t) -> c_int) -> pthread_attr_t {
    let mut attr = MaybeUninit::uninit();
    // SAFETY: initialised by the first call. (That they are not destroyed loses nothing.)
    unsafe {
        libc::pthread_attr_init(attr.as_mut_ptr());
        assert_eq!(set(attr.as_mut_ptr()), 0);
        attr.assume_init()
    }
}

fn join(thread: pthread_t) -> (c_int, usize) {
    let mut result = null_mut();
    // SAFETY: the tests join each thread once, and only if it is joinable.
    (unsafe { libc::pthread_join(thread, &raw mut result) }, result as usize)
}

fn try_join(thread: pthread_t) -> (c_int, usize) {
    let mut result = null_mut();
    // SAFETY: as in `join`.
    (unsafe { libc::pthread_tryjoin_np(thread, &raw mut result) }, result as usize)
}

fn timed_join(thread: pthread_t, until: &timespec) -> (c_int, usize) {
    let mut result = null_mut();
    // SAFETY: as in `join`.
    (unsafe { libc::pthread_timedjoin_np(thread, &raw mut result, until) }, result as usize)
}

fn clock_join(thread: pthread_t, clock: clockid_t, until: &timespec) -> (c_int, usize) {
    let mut result = null_mut();
    // SAFETY: as in `join`.
    (unsafe { c::pthread_clockjoin_np(thread, &raw mut result, clock, until) }, result as usize)
}

fn this() -> pthread_t {
    // SAFETY: no preconditions.
    unsafe { libc::pthread_self() }
}

fn exit(result: usize) -> ! {
    // SAFETY: what is above us may be unwound.
    unsafe { c::pthread_exit(result as *mut c_void) }
}

/// From the lowest byte that may be used, to the end.
fn stack_of(thread: pthread_t) -> (std::ops::Range<usize>, c_int) {
    let (mut attr, mut at, mut len, mut state) = (MaybeUninit::uninit(), null_mut(), 0, -1);
    // SAFETY: initialised by the first call.
    unsafe {
        assert_eq!(libc::pthread_getattr_np(thread, attr.as_mut_ptr()), 0);
        assert_eq!(libc::pthread_attr_getstack(attr.as_ptr(), &raw mut at, &raw mut len), 0);
        c::pthread_attr_getdetachstate(attr.as_ptr(), &raw mut state);
        libc::pthread_attr_destroy(attr.as_mut_ptr());
    }
    (at as usize..at as usize + len, state)
}

/// Whether it runs on this OS thread.
fn is_green(os_thread: i64) -> bool {
    // SAFETY: no arguments.
    unsafe { libc::syscall(libc::SYS_gettid) as i64 == os_thread }
}

fn os_thread() -> i64 {
    // SAFETY: no arguments.
    unsafe { libc::syscall(libc::SYS_gettid) as i64 }
}

#[test]
fn c_threads_are_green_and_give_their_results() {
    greenline::patch::all();
    let here = os_thread();
    // Together, on this OS thread; each slept while the others did.
    let started = Instant::now();
    let threads: Vec<_> = (0..20)
        .map(|n| {
            create(None, move || {
                assert!(is_green(here));
                std::thread::sleep(ms(50));
                n + 100
            })
        })
        .collect();
    for (n, &thread) in threads.iter().enumerate() {
        assert_eq!(join(thread), (0, n + 100));
    }
    assert!(started.elapsed() < 20 * ms(50));

    // By pthread_exit, which runs the destructors on the stack.
    struct Note(Arc<AtomicU32>);
    impl Drop for Note {
        fn drop(&mut self) {
            std::thread::sleep(ms(1)); // a destructor may block
            self.0.fetch_add(1, SeqCst);
        }
    }
    let dropped = Arc::new(AtomicU32::new(0));
    let notes = dropped.clone();
    let thread = create(None, move || {
        let _note = Note(notes.clone());
        let deeper = move || -> usize {
            let _note = Note(notes);
            exit(77)
        };
        deeper()
    });
    assert_eq!(join(thread), (0, 77));
    assert_eq!(dropped.load(SeqCst), 2);

    // One of greenline's own can end so, too; it has no result.
    assert!(matches!(spawn(|| exit(7)).join(), Err::<(), _>(JoinError::Killed)));

    // Joined by a green thread, and by an OS thread without a hub, while it runs and after.
    for os_thread in [false, true] {
        for late in [false, true] {
            let (go, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let (inside, says) = (go.clone(), ended.clone());
            let thread = create(None, move || {
                until(|| inside.load(SeqCst));
                says.store(true, SeqCst);
                5
            });
            let joins = start(os_thread, move || {
                if late {
                    until(|| ended.load(SeqCst));
                }
                assert_eq!(join(thread), (0, 5));
            });
            look_around();
            go.store(true, SeqCst);
            joins();
        }
    }
}

#[test]
fn joins_that_wait_for_so_long_and_detaching() {
    greenline::patch::all();
    let go = Arc::new(AtomicBool::new(false));
    let wait_for_it = || {
        let go = go.clone();
        move || {
            until(|| go.load(SeqCst));
            9
        }
    };
    let (one, two, three) =
        (create(None, wait_for_it()), create(None, wait_for_it()), create(None, wait_for_it()));
    assert_eq!(try_join(one).0, libc::EBUSY);
    let started = Instant::now();
    assert_eq!(timed_join(one, &at(REALTIME, ms(20))).0, libc::ETIMEDOUT);
    assert_eq!(clock_join(one, MONOTONIC, &at(MONOTONIC, ms(20))).0, libc::ETIMEDOUT);
    assert!(started.elapsed() >= ms(38));
    assert_eq!(timed_join(one, &PAST).0, libc::ETIMEDOUT);
    assert_eq!(timed_join(one, &BEFORE_ALL).0, libc::ETIMEDOUT);
    assert_eq!(clock_join(one, 99, &PAST).0, libc::EINVAL);
    go.store(true, SeqCst);
    until(|| try_join(one) == (0, 9));
    assert_eq!(timed_join(two, &at(REALTIME, LONG)), (0, 9));
    assert_eq!(clock_join(three, MONOTONIC, &at(MONOTONIC, LONG)), (0, 9));

    // By an OS thread without a hub.
    go.store(false, SeqCst);
    let (one, two) = (create(None, wait_for_it()), create(None, wait_for_it()));
    let then = go.clone();
    start(true, move || {
        assert_eq!(try_join(one).0, libc::EBUSY);
        assert_eq!(timed_join(one, &at(REALTIME, ms(20))).0, libc::ETIMEDOUT);
        assert_eq!(timed_join(one, &PAST).0, libc::ETIMEDOUT);
        assert_eq!(timed_join(one, &BEFORE_ALL).0, libc::ETIMEDOUT);
        then.store(true, SeqCst);
        assert_eq!(timed_join(one, &at(REALTIME, LONG)), (0, 9));
        assert_eq!(clock_join(two, MONOTONIC, &at(MONOTONIC, LONG)), (0, 9));
    })();

    // Oneself, on whichever kind of thread.
    let answer = create(None, || join(this()).0 as usize);
    assert_eq!(join(answer), (0, libc::EDEADLK as usize));
    assert_eq!(join(this()).0, libc::EDEADLK);

    // Detached from the start, later, and after the end: it runs to its end, and nobody can join it.
    let ended = Arc::new(AtomicU32::new(0));
    let body = || {
        let (go, ended) = (go.clone(), ended.clone());
        move || {
            until(|| go.load(SeqCst));
            ended.fetch_add(1, SeqCst);
            0
        }
    };
    go.store(false, SeqCst);
    // SAFETY: attributes that are initialised.
    let detached =
        attr(|attr| unsafe { libc::pthread_attr_setdetachstate(attr, libc::PTHREAD_CREATE_DETACHED) });
    let first = create(Some(&detached), body());
    let second = create(None, body());
    let third = create(None, body());
    look_around();
    assert_eq!(stack_of(first).1, libc::PTHREAD_CREATE_DETACHED);
    assert_eq!(stack_of(second).1, libc::PTHREAD_CREATE_JOINABLE);
    // SAFETY: they live.
    let detach = |thread| unsafe { libc::pthread_detach(thread) };
    assert_eq!(detach(second), 0);
    assert_eq!(detach(second), libc::EINVAL);
    assert_eq!((join(first).0, join(second).0), (libc::EINVAL, libc::EINVAL));
    go.store(true, SeqCst);
    until(|| ended.load(SeqCst) == 3);
    look_around();
    assert_eq!(detach(third), 0);
}

#[test]
fn a_c_thread_has_the_stack_that_was_asked_for() {
    greenline::patch::all();
    let mine = stack_of(this()).0;
    let local = 0u8;
    assert!(mine.contains(&(&raw const local as usize)));
    // By the default, which is C's; and others.
    let mut usual = 0;
    // SAFETY: initialised attributes.
    attr(|attr| unsafe { libc::pthread_attr_getstacksize(attr, &raw mut usual) });
    for size in [None, Some(16 << 10), Some(64 << 10), Some(1 << 20)] {
        // SAFETY: the same.
        let attr = size.map(|size| attr(|attr| unsafe { libc::pthread_attr_setstacksize(attr, size) }));
        let thread = create(attr.as_ref(), move || {
            let local = 0u8;
            let (stack, state) = stack_of(this());
            assert!(stack.contains(&(&raw const local as usize)));
            assert!(stack.len() >= size.unwrap_or(usual) - 4096, "{stack:x?} of {size:?}");
            assert_eq!(state, libc::PTHREAD_CREATE_JOINABLE);
            // All of it can be used.
            let most = stack.len() - 12 * 1024;
            fn deep(to: usize) -> usize {
                let frame = std::hint::black_box([1u8; 1024]);
                match (&raw const frame as usize) < to {
                    true => frame[7] as usize,
                    false => deep(to) + frame[9] as usize,
                }
            }
            if size.is_some_and(|size| size >= 64 << 10) {
                assert!(deep(stack.end - most) > 4);
            }
            stack.start
        });
        let (there, _) = stack_of(thread);
        assert!(!there.contains(&(&raw const local as usize)));
        assert_eq!(join(thread), (0, there.start));
    }
    // Those of greenline's own have one, too.
    let green = Builder::new().stack_size(64 << 10).spawn(|| {
        let local = 0u8;
        assert!(stack_of(this()).0.contains(&(&raw const local as usize)));
    });
    green.unwrap().join().unwrap();
}

#[test]
fn each_green_thread_is_a_thread_of_its_own() {
    greenline::patch::all();
    let equal = |one, other| {
        // SAFETY: plain numbers.
        unsafe { libc::pthread_equal(one, other) != 0 }
    };
    let bodies: Vec<_> = (0..10).map(|_| spawn(|| (yield_now(), this(), yield_now(), this()))).collect();
    let mut all = vec![this()];
    for (_, before, _, after) in bodies.into_iter().map(|green| green.join().unwrap()) {
        assert!(equal(before, after));
        assert!(!all.iter().any(|&other| equal(other, before)));
        all.push(before);
    }
    let thread = create(None, || this() as usize);
    assert_eq!(join(thread), (0, thread as usize));
    assert!(!equal(thread, this()));
}

/// What C sets up in each thread when it begins.
#[test]
fn character_classes_are_known_in_green_threads() {
    patch::all();
    // SAFETY: letters.
    let known = || unsafe {
        libc::isalpha(i32::from(b'a')) != 0 && libc::toupper(i32::from(b'a')) == i32::from(b'A')
    };
    assert!(known() && std::thread::spawn(known).join().unwrap() && greenline::spawn(known).join().unwrap());
}

#[test]
fn a_name_is_the_green_threads_own() {
    greenline::patch::all();
    let set = |thread, name: &std::ffi::CStr| {
        // SAFETY: a thread that lives, and a name that ends in 0.
        unsafe { libc::pthread_setname_np(thread, name.as_ptr()) }
    };
    let get = |thread, len| {
        let mut name = [1u8; 32];
        // SAFETY: a thread that lives, and memory of that length.
        let answer = unsafe { libc::pthread_getname_np(thread, name.as_mut_ptr().cast(), len) };
        match answer {
            0 => Ok(std::ffi::CStr::from_bytes_until_nul(&name).unwrap().to_str().unwrap().to_owned()),
            answer => Err(answer),
        }
    };
    let of_mine = get(this(), 16).unwrap();
    let go = Arc::new(AtomicBool::new(false));
    let inside = go.clone();
    let thread = create(None, move || {
        assert_eq!(set(this(), c"self"), 0);
        assert_eq!(&*current().name(), "self");
        until(|| inside.load(SeqCst));
        assert_eq!(get(this(), 16).unwrap(), "fifteen letters");
        0
    });
    until(|| get(thread, 16).unwrap() == "self");
    assert_eq!(set(thread, c"sixteen letters!"), libc::ERANGE);
    assert_eq!(get(thread, 15), Err(libc::ERANGE));
    assert_eq!(get(thread, 16).unwrap(), "self");
    assert_eq!(set(thread, c"fifteen letters"), 0);
    assert_eq!(get(thread, 32).unwrap(), "fifteen letters");
    assert_eq!(get(this(), 16).unwrap(), of_mine);
    go.store(true, SeqCst);
    assert_eq!(join(thread), (0, 0));
    // std's.
    let thread = std::thread::Builder::new().name("of std".into());
    let name = thread.spawn(move || get(this(), 16).unwrap()).unwrap().join().unwrap();
    assert_eq!(name, "of std");
}

#[test]
fn a_signal_is_handled_by_the_os_thread_of_a_green_one() {
    static HANDLED: AtomicI32 = AtomicI32::new(0);
    static BY: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handler(_: c_int) {
        HANDLED.fetch_add(1, SeqCst);
        BY.store(os_thread() as usize, SeqCst);
    }
    greenline::patch::all();
    // SAFETY: a handler that does what handlers may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &raw const action, null_mut()), 0);
    }
    // SAFETY: threads that live, or were not joined yet.
    let kill = |thread, signal| unsafe { libc::pthread_kill(thread, signal) };
    // SAFETY: the same.
    let cancel = |thread| unsafe { libc::pthread_cancel(thread) };
    let go = Arc::new(AtomicBool::new(false));
    let inside = go.clone();
    let thread = create(None, move || {
        until(|| inside.load(SeqCst));
        3
    });
    assert_eq!(kill(thread, 0), 0);
    assert_eq!(kill(thread, 10_000), libc::EINVAL);
    assert_eq!(HANDLED.load(SeqCst), 0);
    assert_eq!(kill(thread, libc::SIGUSR2), 0);
    until(|| HANDLED.load(SeqCst) == 1);
    assert_eq!(BY.load(SeqCst), os_thread() as usize);
    let here = os_thread() as usize;
    start(true, move || {
        assert_eq!(kill(thread, libc::SIGUSR2), 0);
        until(|| HANDLED.load(SeqCst) == 2);
        assert_eq!(BY.load(SeqCst), here);
    })();
    assert_eq!(cancel(thread), libc::ENOTSUP);
    look_around();
    go.store(true, SeqCst);
    look_around();
    // It has ended, and nobody is there to be signalled; C says 0.
    assert_eq!(kill(thread, libc::SIGUSR2), 0);
    look_around();
    assert_eq!(HANDLED.load(SeqCst), 2);
    assert_eq!(join(thread), (0, 3));
}

/// Calls of key destructors, by the value that was destroyed.
static DESTROYED: [AtomicUsize; 128] = [const { AtomicUsize::new(0) }; 128];

fn key(destructor: Option<unsafe extern "C" fn(*mut c_void)>) -> pthread_key_t {
    let mut key = 0;
    // SAFETY: a key of ours is written.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, destructor) }, 0);
    key
}

fn set(key: pthread_key_t, value: usize) {
    // SAFETY: a key that exists.
    assert_eq!(unsafe { libc::pthread_setspecific(key, value as *const c_void) }, 0);
}

fn get(key: pthread_key_t) -> usize {
    // SAFETY: any number may be asked for.
    unsafe { libc::pthread_getspecific(key) as usize }
}

fn delete(key: pthread_key_t) -> c_int {
    // SAFETY: any number may be given.
    unsafe { libc::pthread_key_delete(key) }
}

#[test]
fn keys_have_values_for_each_green_thread_and_are_destroyed() {
    unsafe extern "C" fn note(value: *mut c_void) {
        std::thread::sleep(ms(1)); // it may block
        DESTROYED[value as usize].fetch_add(1, SeqCst);
    }
    greenline::patch::all();
    let seen = || DESTROYED[..100].iter().map(|count| count.swap(0, SeqCst)).collect::<Vec<_>>();
    // More than lie in the first table.
    let keys: Arc<Vec<_>> = Arc::new((0..80).map(|_| key(Some(note))).collect());
    let silent = key(None);
    let body = |from: usize| {
        let keys = keys.clone();
        move || {
            for (n, &key) in keys.iter().enumerate().skip(from) {
                assert_eq!(get(key), 0);
                set(key, n + 1);
            }
            set(silent, 99);
            std::thread::sleep(ms(2));
            assert!(keys.iter().enumerate().skip(from).all(|(n, &key)| get(key) == n + 1));
            0
        }
    };
    // C's threads, then greenline's own, and then on blocks that were used.
    for round in 0..3 {
        let mut threads = Vec::new();
        for from in [0, 40, 79] {
            match round {
                1 => drop(spawn(body(from)).join().unwrap()),
                _ => threads.push(create(None, body(from))),
            }
        }
        threads.into_iter().for_each(|thread| assert_eq!(join(thread), (0, 0)));
        let seen = seen();
        let expected =
            |value: usize| [1, 41, 80].iter().filter(|&&from| (from..=80).contains(&value)).count();
        assert!((0..100).all(|value| seen[value] == expected(value)), "round {round}: {seen:?}");
        assert!(keys.iter().all(|&key| get(key) == 0));
    }
    // A key that is deleted meanwhile, and one that takes its place.
    let (go, all) = (Arc::new(AtomicU32::new(0)), keys.clone());
    let inside = go.clone();
    let thread = create(None, move || {
        set(all[5], 5);
        set(all[70], 70);
        set(all[71], 71);
        inside.store(1, SeqCst);
        until(|| inside.load(SeqCst) == 2);
        0
    });
    until(|| go.load(SeqCst) == 1);
    assert_eq!((delete(keys[5]), delete(keys[70])), (0, 0));
    assert_eq!(delete(keys[5]), libc::EINVAL);
    let again = key(Some(note));
    go.store(2, SeqCst);
    assert_eq!(join(thread), (0, 0));
    let seen = seen();
    assert_eq!((seen[5], seen[70], seen[71], seen.iter().sum::<usize>()), (0, 0, 1, 1));
    assert_eq!(delete(again), 0);
    for (n, &key) in keys.iter().enumerate() {
        assert_eq!(delete(key), if n == 5 || n == 70 { libc::EINVAL } else { 0 });
    }
    assert_eq!(delete(silent), 0);
}

#[test]
fn destructors_of_keys_may_set_them_again() {
    static KEYS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    // Counts down to nothing, by way of the other key.
    unsafe extern "C" fn again(value: *mut c_void) {
        CALLS.fetch_add(1, SeqCst);
        let left = value as usize;
        if left > 1 {
            set(KEYS[left % 2].load(SeqCst), left - 1);
        }
    }
    greenline::patch::all();
    KEYS.iter().for_each(|place| place.store(key(Some(again)), SeqCst));
    // Whatever the order of keys, no more rounds than C promises (4).
    let body = || {
        set(KEYS[0].load(SeqCst), 4);
        0
    };
    assert_eq!(join(create(None, body)), (0, 0));
    assert_eq!(CALLS.swap(0, SeqCst), 4);
    assert_eq!(spawn(body).join().unwrap(), 0);
    assert_eq!(CALLS.swap(0, SeqCst), 4);
    assert_eq!(KEYS.each_ref().map(|key| delete(key.load(SeqCst))), [0, 0]);
}

#[test]
fn an_os_thread_is_joined_while_the_others_run() {
    greenline::patch::all();
    // A C thread made where no hub is, is a real one.
    let here = os_thread();
    let (give, take) = std::sync::mpsc::channel();
    let (go, wait_for_it) = std::sync::mpsc::channel::<()>();
    start(true, move || {
        let thread = create(None, move || {
            assert!(!is_green(here));
            wait_for_it.recv().unwrap();
            31
        });
        give.send(thread).unwrap();
    })();
    let thread = take.recv().unwrap();
    assert_eq!(try_join(thread).0, libc::EBUSY);
    assert_eq!(timed_join(thread, &at(REALTIME, ms(10))).0, libc::ETIMEDOUT);
    let joined = Arc::new(AtomicUsize::new(0));
    let says = joined.clone();
    let joins = spawn(move || {
        let (answer, value) = join(thread);
        assert_eq!(answer, 0);
        says.store(value, SeqCst);
    });
    // Others run meanwhile, and it takes one of them to end it.
    let ticks = spawn(|| (0..20).for_each(|_| std::thread::sleep(ms(1))));
    ticks.join().unwrap();
    assert_eq!(joined.load(SeqCst), 0);
    go.send(()).unwrap();
    joins.join().unwrap();
    assert_eq!(joined.load(SeqCst), 31);
}

#[test]
fn threads_made_and_joined_by_the_thousand() {
    greenline::patch::all();
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        let threads: Vec<_> = (0..100)
            .map(|n| {
                let count = count.clone();
                create(None, move || {
                    if n % 3 == 0 {
                        std::thread::yield_now();
                    }
                    count.fetch_add(1, SeqCst);
                    if n % 2 == 0 { n } else { exit(n) }
                })
            })
            .collect();
        // From the last to the first: nobody minds the order.
        for (n, &thread) in threads.iter().enumerate().rev() {
            assert_eq!(join(thread), (0, n));
        }
    }
    assert_eq!(count.load(SeqCst), 2000);
}
