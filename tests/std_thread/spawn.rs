//! `spawn` and `Builder`: where threads run, their results, names, stacks and ids.

use crate::support::threads::{ms, os_thread};
use greenline::patch;
use std::collections::HashSet;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, Builder};
use std::time::Duration;

#[test]
fn spawn_makes_a_green_thread_of_the_callers_hub_and_join_returns_its_result() {
    patch::all();
    let here = os_thread();
    let ran = Arc::new(AtomicBool::new(false));
    let inside = ran.clone();
    let one = thread::spawn(move || {
        inside.store(true, SeqCst);
        (os_thread(), "result".to_string())
    });
    assert!(!ran.load(SeqCst), "a new thread runs when its parent blocks");
    assert_eq!(one.join().unwrap(), (here, "result".to_string()));
}

#[test]
fn is_finished_becomes_true_without_join() {
    patch::all();
    let (tx, rx) = mpsc::channel::<()>();
    let one = thread::spawn(move || rx.recv().is_err());
    (0..10).for_each(|_| thread::yield_now());
    assert!(!one.is_finished());
    drop(tx);
    while !one.is_finished() {
        thread::yield_now();
    }
    assert!(one.join().unwrap());
}

#[test]
fn builder_name_is_whole_in_std_and_cut_to_15_bytes_in_c() {
    patch::all();
    let c_name = || {
        let mut name = [0; 16];
        // SAFETY: the memory has the sixteen bytes that the call wants.
        let result = unsafe { libc::pthread_getname_np(libc::pthread_self(), name.as_mut_ptr().cast(), 16) };
        assert_eq!(result, 0);
        CStr::from_bytes_until_nul(&name).unwrap().to_str().unwrap().to_string()
    };
    let root = (thread::current().name().map(str::to_string), c_name());
    for (name, short) in [("short", "short"), ("one that is longer than C's", "one that is lon")] {
        let one = Builder::new().name(name.to_string()).spawn(move || {
            thread::sleep(ms(1));
            let current = thread::current();
            assert_eq!(current.name(), Some(name));
            assert_eq!(c_name(), short);
            assert_eq!(&*greenline::current().name(), name);
        });
        let one = one.unwrap();
        assert_eq!(one.thread().name(), Some(name));
        one.join().unwrap();
    }
    assert_eq!(thread::spawn(|| thread::current().name().map(str::to_string)).join().unwrap(), None);
    assert_eq!(
        root,
        (thread::current().name().map(str::to_string), c_name()),
        "the OS thread's name has not changed"
    );
}

#[inline(never)]
fn use_stack(kib: usize) -> usize {
    let block = std::hint::black_box([kib as u8; 16 << 10]);
    if kib <= 16 {
        usize::from(block[7])
    } else {
        use_stack(kib - 16) + usize::from(block[kib % 1024] != kib as u8)
    }
}

#[test]
fn builder_stack_size_sets_the_size_of_the_stack() {
    patch::all();
    let all: Vec<_> = [(16 << 20, 8 << 10), (4 << 20, 2 << 10), (64 << 10, 16)]
        .into_iter()
        .map(|(size, used)| {
            Builder::new().stack_size(size).spawn(move || {
                thread::yield_now();
                assert_eq!(use_stack(used), 16);
            })
        })
        .collect();
    all.into_iter().for_each(|one| one.unwrap().join().unwrap());
    // std's default is 2 MiB.
    assert_eq!(thread::spawn(|| use_stack(1 << 10)).join().unwrap(), 16);
    assert!(Builder::new().stack_size(1 << 50).spawn(|| ()).is_err(), "more than the address space");
}

#[test]
fn spawn_in_spawned_threads_makes_a_tree_of_729() {
    fn tree(depth: u32) -> u32 {
        if depth == 0 {
            return 1;
        }
        let branches: Vec<_> = (0..3).map(|_| thread::spawn(move || tree(depth - 1))).collect();
        thread::yield_now();
        branches.into_iter().map(|one| one.join().unwrap()).sum()
    }
    patch::all();
    let here = os_thread();
    assert_eq!(thread::spawn(move || (tree(6), os_thread())).join().unwrap(), (729, here));
}

#[test]
fn spawn_with_its_handle_dropped_goes_on() {
    patch::all();
    let (tx, rx) = mpsc::channel();
    for n in 0..10 {
        let tx = tx.clone();
        drop(thread::spawn(move || {
            thread::sleep(ms(2));
            tx.send(n).unwrap();
        }));
    }
    drop(tx);
    assert_eq!(rx.iter().sum::<i32>(), 45);
}

#[test]
fn yield_now_runs_each_other_thread_once() {
    patch::all();
    let order = Arc::new(Mutex::new(String::new()));
    let all = ["a", "b", "c"].map(|name| {
        let order = order.clone();
        thread::spawn(move || {
            for _ in 0..4 {
                order.lock().unwrap().push_str(name);
                thread::yield_now();
            }
        })
    });
    all.into_iter().for_each(|one| one.join().unwrap());
    assert_eq!(*order.lock().unwrap(), "abcabcabcabc");
}

#[test]
fn available_parallelism_is_the_same_in_a_green_thread() {
    patch::all();
    let here = thread::available_parallelism().unwrap();
    assert_eq!(thread::spawn(|| thread::available_parallelism().unwrap()).join().unwrap(), here);
}

#[test]
fn current_id_is_unique_and_constant() {
    patch::all();
    let root = thread::current().id();
    let all: Vec<_> = (0..100)
        .map(|n| {
            let work = move || {
                let id = thread::current().id();
                thread::sleep(Duration::from_micros(n % 7 * 100));
                assert_eq!(thread::current().id(), id);
                thread::yield_now();
                assert_eq!(thread::current().id(), id);
                id
            };
            (thread::spawn(work), greenline::spawn(work))
        })
        .collect();
    let mut seen = HashSet::from([root]);
    for (std, green) in all {
        let id = std.thread().id();
        assert_eq!(std.join().unwrap(), id);
        assert!(seen.insert(id));
        assert!(seen.insert(green.join().unwrap()));
    }
    assert_eq!(thread::current().id(), root);
}
