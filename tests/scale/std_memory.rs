//! std's threads give all their memory back: stacks, control blocks, thread-locals, the values of C's keys. The test
//! measures its whole process.

use crate::support::proc_fs::{open_fds, resident_kib};
use greenline::{patch, thread::Thread};
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;

const WAVE: usize = 1000;

/// Returns the least growth of the process in one of five rounds, in KiB. A leak grows the process in each round. A page
/// that is touched for the first time, such as a huge one of 2 MiB, grows it in one.
fn least_growth_kb(mut round: impl FnMut(usize)) -> i64 {
    let mut before = resident_kib() as i64;
    let growth = |n| {
        round(n);
        let now = resident_kib() as i64;
        now - std::mem::replace(&mut before, now)
    };
    (0..5).map(growth).min().unwrap()
}

/// Runs `body(n)` in `waves` waves of a thousand threads each. All threads of a wave are alive at once, then all are
/// joined. Returns by how many KiB the process grew in a fifth of the waves, after the first ones.
fn growth_kb(waves: usize, body: fn(usize) -> usize) -> i64 {
    let wave = |wave: usize| {
        let all_are_there = Arc::new(Barrier::new(WAVE));
        let all: Vec<_> = (0..WAVE)
            .map(|n| {
                let all_are_there = all_are_there.clone();
                thread::spawn(move || {
                    let result = body(wave * WAVE + n);
                    all_are_there.wait();
                    result
                })
            })
            .collect();
        let sum: usize = all.into_iter().map(|one| one.join().unwrap()).sum();
        assert_eq!(sum, wave * WAVE * WAVE + WAVE * (WAVE - 1) / 2);
    };
    const WARM_UP: usize = 5;
    (0..WARM_UP).for_each(wave);
    let share = (waves - WARM_UP) / 5;
    least_growth_kb(|n| (WARM_UP + n * share..WARM_UP + (n + 1) * share).for_each(wave))
}

thread_local! {
    static VALUE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A thread-local with a value of a kilobyte on the heap.
fn with_thread_local(n: usize) -> usize {
    VALUE.with_borrow_mut(|value| {
        assert!(value.is_empty(), "a new thread has a new value");
        value.resize(128, n);
        value[127]
    })
}

/// Number of keys. The first level of a control block has room for 32.
const KEYS: usize = 100;
static FREED: AtomicUsize = AtomicUsize::new(0);

fn keys() -> &'static [libc::pthread_key_t] {
    unsafe extern "C" fn free(value: *mut c_void) {
        FREED.fetch_add(1, SeqCst);
        // SAFETY: `with_keys` has made the value, and each value is freed once.
        drop(unsafe { Box::from_raw(value.cast::<[usize; 8]>()) });
    }
    static KEY: OnceLock<Vec<libc::pthread_key_t>> = OnceLock::new();
    KEY.get_or_init(|| {
        let make = |_| {
            let mut key = 0;
            // SAFETY: the key is written to this frame.
            assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(free)) }, 0);
            key
        };
        (0..KEYS).map(make).collect()
    })
}

/// Sets values on the heap for two keys: one of the first level, one of a level beyond.
fn with_keys(n: usize) -> usize {
    for key in [keys()[0], keys()[KEYS - 1 - n % 30]] {
        // SAFETY: the key exists, and its destructor frees the value.
        unsafe {
            assert!(libc::pthread_getspecific(key).is_null(), "a new thread has a new value");
            let value = Box::into_raw(Box::new([n; 8]));
            assert_eq!(libc::pthread_setspecific(key, value.cast()), 0);
        }
    }
    n
}

pub(crate) fn spawn_and_join_of_a_million_threads_leak_nothing() {
    patch::all();
    let plain = growth_kb(1000, |n| n);
    assert!(plain < 512, "200,000 threads: {plain} KiB more");

    // In a release build there are as many waves as above.
    let waves = if cfg!(debug_assertions) { 200 } else { 1000 };
    let local = growth_kb(waves, with_thread_local);
    assert!(local < 512, "with thread-locals: {local} KiB more");

    let last = keys()[KEYS - 1];
    assert!(last > 64, "{last}: the keys are of several levels");
    let keyed = growth_kb(waves, with_keys);
    assert!(keyed < 512, "with C's keys: {keyed} KiB more");
    assert_eq!(FREED.load(SeqCst), 2 * waves * WAVE);

    // Hubs of OS threads that have ended, with all that they made.
    let hubs = || {
        for n in 0..200 {
            let hub = Thread::new(move || {
                patch::all();
                let all: Vec<_> = (0..20).map(|n| thread::spawn(move || with_thread_local(n))).collect();
                assert_eq!(all.into_iter().map(|one| one.join().unwrap()).sum::<usize>(), 190);
                thread::spawn(move || with_keys(n))
            });
            // The thread is joined after the end of its hub, or never.
            let left = hub.start().unwrap().join().unwrap();
            if n % 2 == 0 {
                assert_eq!(left.join().unwrap(), n);
            }
        }
    };
    hubs();
    let grown = least_growth_kb(|_| hubs());
    assert!(grown < 100, "200 hubs: {grown} KiB more");
    // The last hubs may still be ending.
    let start = std::time::Instant::now();
    while open_fds() >= 20 && start.elapsed() < std::time::Duration::from_secs(30) {
        thread::yield_now();
    }
    assert!(open_fds() < 20, "{} file descriptors open", open_fds());
}
