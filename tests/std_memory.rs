//! What std's threads take comes back: stacks, control blocks, thread-locals, the values of C's keys. Alone in its
//! process, and one test, for it looks at the whole process.

#![cfg(feature = "patch")]

use greenline::{patch, thread::Thread};
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;

fn status_kb(key: &str) -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const WAVE: usize = 1000;

/// The least by which the process grew in one of five rounds, in KiB. What is lost is lost in each of them; a page
/// that happens to be touched for the first time, a huge one of 2 MiB among them, is touched in one.
fn least_growth_kb(mut round: impl FnMut(usize)) -> i64 {
    let mut before = status_kb("VmRSS:");
    let growth = |n| {
        round(n);
        let now = status_kb("VmRSS:");
        now - std::mem::replace(&mut before, now)
    };
    (0..5).map(growth).min().unwrap()
}

/// Runs `body(n)` in `waves` waves of a thousand threads each: all of a wave are alive at once, then all are
/// joined. Answers by how many KiB the process grew in a fifth of them, after the first waves.
fn grown_kb(waves: usize, body: fn(usize) -> usize) -> i64 {
    let wave = |wave: usize| {
        let all_are_there = Arc::new(Barrier::new(WAVE));
        let all: Vec<_> = (0..WAVE)
            .map(|n| {
                let all_are_there = all_are_there.clone();
                thread::spawn(move || {
                    let answer = body(wave * WAVE + n);
                    all_are_there.wait();
                    answer
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
        assert!(value.is_empty(), "it is a new thread's");
        value.resize(128, n);
        value[127]
    })
}

/// More keys than fit into the first level that a control block has room for, which is 32.
const KEYS: usize = 100;
static FREED: AtomicUsize = AtomicUsize::new(0);

fn keys() -> &'static [libc::pthread_key_t] {
    unsafe extern "C" fn free(value: *mut c_void) {
        FREED.fetch_add(1, SeqCst);
        // SAFETY: made by `with_keys`, once.
        drop(unsafe { Box::from_raw(value.cast::<[usize; 8]>()) });
    }
    static KEY: OnceLock<Vec<libc::pthread_key_t>> = OnceLock::new();
    KEY.get_or_init(|| {
        let make = |_| {
            let mut key = 0;
            // SAFETY: a key of ours.
            assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(free)) }, 0);
            key
        };
        (0..KEYS).map(make).collect()
    })
}

/// Values on the heap for two keys: one of the first level, one of a level beyond.
fn with_keys(n: usize) -> usize {
    for key in [keys()[0], keys()[KEYS - 1 - n % 30]] {
        // SAFETY: the key exists, and its destructor frees what is put there.
        unsafe {
            assert!(libc::pthread_getspecific(key).is_null(), "it is a new thread's");
            let value = Box::into_raw(Box::new([n; 8]));
            assert_eq!(libc::pthread_setspecific(key, value.cast()), 0);
        }
    }
    n
}

#[test]
fn nothing_of_a_million_threads_is_left() {
    patch::all();
    let plain = grown_kb(1000, |n| n);
    assert!(plain < 512, "200,000 threads: {plain} KiB more");

    // Those are as many in a release build.
    let waves = if cfg!(debug_assertions) { 200 } else { 1000 };
    let local = grown_kb(waves, with_thread_local);
    assert!(local < 512, "with thread-locals: {local} KiB more");

    let last = keys()[KEYS - 1];
    assert!(last > 64, "{last}: the keys are of several levels");
    let keyed = grown_kb(waves, with_keys);
    assert!(keyed < 512, "with C's keys: {keyed} KiB more");
    assert_eq!(FREED.load(SeqCst), 2 * waves * WAVE);

    // Hubs of OS threads that have ended, with all that was made there.
    let hubs = || {
        for n in 0..200 {
            let hub = Thread::new(move || {
                patch::all();
                let all: Vec<_> = (0..20).map(|n| thread::spawn(move || with_thread_local(n))).collect();
                assert_eq!(all.into_iter().map(|one| one.join().unwrap()).sum::<usize>(), 190);
                thread::spawn(move || with_keys(n))
            });
            // Joined when its hub is gone, or never.
            let left = hub.start().unwrap().join().unwrap();
            if n % 2 == 0 {
                assert_eq!(left.join().unwrap(), n);
            }
        }
    };
    hubs();
    let grown = least_growth_kb(|_| hubs());
    assert!(grown < 100, "200 hubs: {grown} KiB more");
    // The last hubs may be ending still.
    let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let start = std::time::Instant::now();
    while fds() >= 20 && start.elapsed() < std::time::Duration::from_secs(30) {
        thread::yield_now();
    }
    assert!(fds() < 20, "{} file descriptors open", fds());
}
