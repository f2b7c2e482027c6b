//! `pthread_key_*`, `pthread_setspecific` and `pthread_getspecific`.

use crate::c::*;
use crate::support::threads::*;
use greenline::{patch, spawn};
use libc::{c_int, c_void, pthread_key_t};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};

/// Number of destructor calls for each value.
static DESTROYED: [AtomicUsize; 128] = [const { AtomicUsize::new(0) }; 128];

fn key(destructor: Option<unsafe extern "C" fn(*mut c_void)>) -> pthread_key_t {
    let mut key = 0;
    // SAFETY: the key is written to this frame.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, destructor) }, 0);
    key
}

fn set(key: pthread_key_t, value: usize) {
    // SAFETY: the callers' keys exist.
    assert_eq!(unsafe { libc::pthread_setspecific(key, value as *const c_void) }, 0);
}

fn get(key: pthread_key_t) -> usize {
    // SAFETY: the call accepts any number.
    unsafe { libc::pthread_getspecific(key) as usize }
}

fn delete(key: pthread_key_t) -> c_int {
    // SAFETY: the call accepts any number.
    unsafe { libc::pthread_key_delete(key) }
}

#[test]
fn pthread_setspecific_values_are_per_green_thread_and_destroyed() {
    unsafe extern "C" fn count_destroyed(value: *mut c_void) {
        std::thread::sleep(ms(1)); // a destructor may block
        DESTROYED[value as usize].fetch_add(1, SeqCst);
    }
    patch::all();
    let take_counts = || DESTROYED[..100].iter().map(|count| count.swap(0, SeqCst)).collect::<Vec<_>>();
    // The first table of values does not hold so many.
    let keys: Arc<Vec<_>> = Arc::new((0..80).map(|_| key(Some(count_destroyed))).collect());
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
    // Round 0 uses C's threads, round 1 those of `greenline::spawn`, round 2 recycled thread control blocks.
    for round in 0..3 {
        let mut threads = Vec::new();
        for from in [0, 40, 79] {
            match round {
                1 => drop(spawn(body(from)).join().unwrap()),
                _ => threads.push(create(None, body(from))),
            }
        }
        threads.into_iter().for_each(|thread| assert_eq!(join(thread), (0, 0)));
        let counts = take_counts();
        let expected =
            |value: usize| [1, 41, 80].iter().filter(|&&from| (from..=80).contains(&value)).count();
        assert!((0..100).all(|value| counts[value] == expected(value)), "round {round}: {counts:?}");
        assert!(keys.iter().all(|&key| get(key) == 0));
    }
    // Keys are deleted while a thread has values for them, and another key takes the place of one.
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
    let again = key(Some(count_destroyed));
    go.store(2, SeqCst);
    assert_eq!(join(thread), (0, 0));
    let counts = take_counts();
    assert_eq!((counts[5], counts[70], counts[71], counts.iter().sum::<usize>()), (0, 0, 1, 1));
    assert_eq!(delete(again), 0);
    for (n, &key) in keys.iter().enumerate() {
        assert_eq!(delete(key), if n == 5 || n == 70 { libc::EINVAL } else { 0 });
    }
    assert_eq!(delete(silent), 0);
}

#[test]
fn pthread_setspecific_in_a_destructor_runs_destructors_again() {
    static KEYS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    // Sets the other key to the next smaller value, down to 1.
    unsafe extern "C" fn set_other(value: *mut c_void) {
        CALLS.fetch_add(1, SeqCst);
        let value = value as usize;
        if value > 1 {
            set(KEYS[value % 2].load(SeqCst), value - 1);
        }
    }
    patch::all();
    KEYS.iter().for_each(|slot| slot.store(key(Some(set_other)), SeqCst));
    // Whatever the order of the keys, this takes no more rounds than C promises (4).
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
