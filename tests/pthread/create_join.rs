//! `pthread_create`, `pthread_exit`, `pthread_join` with its variants, and `pthread_detach`.

use crate::c::*;
use crate::support::threads::*;
use greenline::{JoinError, patch, spawn};
use libc::pthread_t;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Instant;

#[test]
fn pthread_create_in_a_hub_makes_green_threads() {
    patch::all();
    let here = os_thread();
    // All sleep at once, on this OS thread.
    let started = Instant::now();
    let threads: Vec<_> = (0..20)
        .map(|n| {
            create(None, move || {
                assert_eq!(os_thread(), here);
                std::thread::sleep(ms(50));
                n + 100
            })
        })
        .collect();
    for (n, &thread) in threads.iter().enumerate() {
        assert_eq!(join(thread), (0, n + 100));
    }
    assert!(started.elapsed() < 20 * ms(50));
}

#[test]
fn pthread_exit_runs_destructors_and_sets_the_result() {
    struct Counted(Arc<AtomicU32>);
    impl Drop for Counted {
        fn drop(&mut self) {
            std::thread::sleep(ms(1)); // a destructor may block
            self.0.fetch_add(1, SeqCst);
        }
    }
    patch::all();
    let dropped = Arc::new(AtomicU32::new(0));
    let inside = dropped.clone();
    let thread = create(None, move || {
        let _outer = Counted(inside.clone());
        let deeper = move || -> usize {
            let _inner = Counted(inside);
            exit(77)
        };
        deeper()
    });
    assert_eq!(join(thread), (0, 77));
    assert_eq!(dropped.load(SeqCst), 2);

    // A green thread of `greenline::spawn` has no result for C.
    assert!(matches!(spawn(|| exit(7)).join(), Err::<(), _>(JoinError::Killed)));
}

#[test]
fn pthread_join_by_either_kind_returns_the_result() {
    patch::all();
    for kind in KINDS {
        for after_its_end in [false, true] {
            let (go, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let (may_end, has_ended) = (go.clone(), ended.clone());
            let thread = create(None, move || {
                until(|| may_end.load(SeqCst));
                has_ended.store(true, SeqCst);
                5
            });
            let joiner = start(kind, move || {
                if after_its_end {
                    until(|| ended.load(SeqCst));
                }
                assert_eq!(join(thread), (0, 5));
            });
            yield_100_times();
            go.store(true, SeqCst);
            joiner();
        }
    }
}

/// Creates `N` threads that return 9 once `go` is set.
fn waiting_for<const N: usize>(go: &Arc<AtomicBool>) -> [pthread_t; N] {
    std::array::from_fn(|_| {
        let go = go.clone();
        create(None, move || {
            until(|| go.load(SeqCst));
            9
        })
    })
}

#[test]
fn pthread_timedjoin_np_waits_until_its_deadline() {
    patch::all();
    let go = Arc::new(AtomicBool::new(false));
    let [one, two, three] = waiting_for(&go);
    assert_eq!(try_join(one).0, libc::EBUSY);
    let started = Instant::now();
    assert_eq!(timed_join(one, &at(REALTIME, ms(20))).0, libc::ETIMEDOUT);
    assert_eq!(clock_join(one, MONOTONIC, &at(MONOTONIC, ms(20))).0, libc::ETIMEDOUT);
    assert!(started.elapsed() >= ms(38));
    assert_eq!(timed_join(one, &PAST).0, libc::ETIMEDOUT);
    assert_eq!(timed_join(one, &NEGATIVE).0, libc::ETIMEDOUT);
    assert_eq!(clock_join(one, 99, &PAST).0, libc::EINVAL);
    go.store(true, SeqCst);
    until(|| try_join(one) == (0, 9));
    assert_eq!(timed_join(two, &far(REALTIME)), (0, 9));
    assert_eq!(clock_join(three, MONOTONIC, &far(MONOTONIC)), (0, 9));
}

#[test]
fn pthread_timedjoin_np_by_an_os_thread_waits_until_its_deadline() {
    patch::all();
    let go = Arc::new(AtomicBool::new(false));
    let [one, two] = waiting_for(&go);
    start(Os, move || {
        assert_eq!(try_join(one).0, libc::EBUSY);
        assert_eq!(timed_join(one, &at(REALTIME, ms(20))).0, libc::ETIMEDOUT);
        assert_eq!(timed_join(one, &PAST).0, libc::ETIMEDOUT);
        assert_eq!(timed_join(one, &NEGATIVE).0, libc::ETIMEDOUT);
        go.store(true, SeqCst);
        assert_eq!(timed_join(one, &far(REALTIME)), (0, 9));
        assert_eq!(clock_join(two, MONOTONIC, &far(MONOTONIC)), (0, 9));
    })();
}

#[test]
fn pthread_join_of_the_calling_thread_returns_edeadlk() {
    patch::all();
    let joins_itself = create(None, || join(this()).0 as usize);
    assert_eq!(join(joins_itself), (0, libc::EDEADLK as usize));
    assert_eq!(join(this()).0, libc::EDEADLK);
}

#[test]
fn pthread_join_of_a_green_thread_of_spawn_returns_einval() {
    patch::all();
    let (give, take) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let green = spawn(move || {
        give.send(this()).unwrap();
        gone.recv().unwrap();
    });
    // C did not make the green thread, so there is no result for C to wait for.
    assert_eq!(join(take.recv().unwrap()).0, libc::EINVAL);
    go.send(()).unwrap();
    green.join().unwrap();
}

#[test]
fn pthread_detach_lets_a_thread_end_and_makes_join_fail() {
    patch::all();
    let (go, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let body = || {
        let (go, ended) = (go.clone(), ended.clone());
        move || {
            until(|| go.load(SeqCst));
            ended.fetch_add(1, SeqCst);
            0
        }
    };
    // SAFETY: `attr` has initialised the attributes.
    let detached =
        attr(|attr| unsafe { libc::pthread_attr_setdetachstate(attr, libc::PTHREAD_CREATE_DETACHED) });
    // The first is created detached, the second is detached while it runs, the third after its end.
    let (first, [second, third]) =
        (create(Some(&detached), body()), [body(), body()].map(|b| create(None, b)));
    yield_100_times();
    assert_eq!(stack_of(first).1, libc::PTHREAD_CREATE_DETACHED);
    assert_eq!(stack_of(second).1, libc::PTHREAD_CREATE_JOINABLE);
    // SAFETY: each thread lives, or was neither joined nor detached yet.
    let detach = |thread| unsafe { libc::pthread_detach(thread) };
    assert_eq!(detach(second), 0);
    assert_eq!(detach(second), libc::EINVAL);
    assert_eq!((join(first).0, join(second).0), (libc::EINVAL, libc::EINVAL));
    go.store(true, SeqCst);
    until(|| ended.load(SeqCst) == 3);
    yield_100_times();
    assert_eq!(detach(third), 0);
}

#[test]
fn pthread_join_of_an_os_thread_lets_green_threads_run() {
    patch::all();
    // A C thread that is made on an OS thread without a hub is an OS thread.
    let here = os_thread();
    let (give, take) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    start(Os, move || {
        let thread = create(None, move || {
            assert_ne!(os_thread(), here);
            gone.recv().unwrap();
            31
        });
        give.send(thread).unwrap();
    })();
    let thread = take.recv().unwrap();
    assert_eq!(try_join(thread).0, libc::EBUSY);
    assert_eq!(timed_join(thread, &at(REALTIME, ms(10))).0, libc::ETIMEDOUT);
    let joined = Arc::new(AtomicUsize::new(0));
    let inside = joined.clone();
    let joiner = spawn(move || {
        let (result, value) = join(thread);
        assert_eq!(result, 0);
        inside.store(value, SeqCst);
    });
    // Other green threads run while the joiner waits, and one of them lets the OS thread end.
    let ticks = spawn(|| (0..20).for_each(|_| std::thread::sleep(ms(1))));
    ticks.join().unwrap();
    assert_eq!(joined.load(SeqCst), 0);
    go.send(()).unwrap();
    joiner.join().unwrap();
    assert_eq!(joined.load(SeqCst), 31);
}

#[test]
fn pthread_join_of_2000_threads_returns_each_result() {
    patch::all();
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
        // The order of the joins does not matter: here from the last to the first.
        for (n, &thread) in threads.iter().enumerate().rev() {
            assert_eq!(join(thread), (0, n));
        }
    }
    assert_eq!(count.load(SeqCst), 2000);
}
