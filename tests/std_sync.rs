//! Each lock of `std::sync` does what its documentation says: among green threads of one hub, between two hubs,
//! and between green threads and OS threads without a hub.

#![cfg(feature = "patch")]

use greenline::{JoinError, patch, spawn, thread::Thread, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError, TrySendError};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn os_thread() -> i32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }
}

/// Where those run that take part in a case.
#[derive(Clone, Copy, Debug, PartialEq)]
enum World {
    OneHub,
    /// The even ones on one, the odd ones on the other.
    TwoHubs,
    /// The even ones are green threads, the odd ones OS threads without a hub.
    HubAndOsThreads,
}

/// Runs `case` in each world, in a process that is patched.
fn everywhere(case: impl Fn(World)) {
    patch::all();
    for world in [World::OneHub, World::TwoHubs, World::HubAndOsThreads] {
        case(world);
    }
}

type Body = Arc<dyn Fn(usize) + Send + Sync>;

impl World {
    /// Runs `body(0)` to `body(n - 1)` as threads of their own, until all have ended.
    fn run(self, n: usize, body: impl Fn(usize) + Send + Sync + 'static) {
        let places = Arc::new(Mutex::new(HashSet::new()));
        let seen = places.clone();
        let body: Body = Arc::new(move |who| {
            places.lock().unwrap().insert(os_thread());
            body(who);
        });
        let (even, odd): (Vec<usize>, Vec<usize>) = (0..n).partition(|who| who % 2 == 0);
        let os_threads = match self {
            World::OneHub => {
                join(green(&body, 0..n));
                1..=1
            }
            World::TwoHubs => {
                let hubs = [even, odd].map(|which| {
                    let body = body.clone();
                    let hub = Thread::new(move || {
                        patch::all();
                        join(green(&body, which));
                    });
                    hub.start().unwrap()
                });
                hubs.into_iter().for_each(|hub| hub.join().unwrap());
                n.min(2)..=2
            }
            World::HubAndOsThreads => {
                // (One's id may be given to the next one.)
                let most = 1 + odd.len();
                let real = |who| {
                    let body = body.clone();
                    Thread::new(move || body(who)).start().unwrap()
                };
                let real: Vec<_> = odd.into_iter().map(real).collect();
                join(green(&body, even));
                real.into_iter().for_each(|one| one.join().unwrap());
                most.min(2)..=most
            }
        };
        let seen = seen.lock().unwrap().len();
        assert!(os_threads.contains(&seen), "{self:?}: {seen} OS threads");
    }
}

/// Threads of std's, which are green threads where a hub is.
fn green(body: &Body, which: impl IntoIterator<Item = usize>) -> Vec<thread::JoinHandle<()>> {
    let start = |who| {
        let body = body.clone();
        thread::spawn(move || body(who))
    };
    which.into_iter().map(start).collect()
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|one| one.join().unwrap());
}

/// Waits for `done` without any lock.
fn until(done: impl Fn() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

// ---- Mutex -----------------------------------------------------------------------------------------------------

#[test]
fn a_mutex_lets_one_in_at_a_time_though_it_sleeps_with_it() {
    everywhere(|world| {
        let (mutex, inside) = (Arc::new(Mutex::new(0)), Arc::new(AtomicU32::new(0)));
        let total = mutex.clone();
        world.run(6, move |who| {
            for round in 0..100 {
                let mut count = mutex.lock().unwrap();
                assert_eq!(inside.fetch_add(1, SeqCst), 0, "{world:?}");
                let read = *count;
                match (round + who) % 10 {
                    0 => thread::sleep(Duration::from_micros(200)),
                    1 | 2 => thread::yield_now(),
                    _ => {}
                }
                *count = read + 1;
                inside.fetch_sub(1, SeqCst);
            }
        });
        assert_eq!(*total.lock().unwrap(), 600, "{world:?}");
    });
}

#[test]
fn try_lock_of_a_held_mutex_would_block_and_then_not() {
    everywhere(|world| {
        let mutex = Arc::new(Mutex::new(()));
        let (held, tried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        world.run(2, move |who| {
            if who == 0 {
                let guard = mutex.lock().unwrap();
                held.store(true, SeqCst);
                until(|| tried.load(SeqCst));
                drop(guard);
            } else {
                until(|| held.load(SeqCst));
                assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)), "{world:?}");
                tried.store(true, SeqCst);
                drop(mutex.lock().unwrap());
                assert!(mutex.try_lock().is_ok());
            }
        });
    });
}

#[test]
fn who_waits_for_a_mutex_keeps_nobody_else_from_running() {
    patch::all();
    let mutex = Arc::new(Mutex::new(0));
    let mut guard = mutex.lock().unwrap();
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let mutex = mutex.clone();
            thread::spawn(move || *mutex.lock().unwrap() += 1)
        })
        .collect();
    let ran = Arc::new(AtomicBool::new(false));
    let inside = ran.clone();
    thread::spawn(move || inside.store(true, SeqCst)).join().unwrap();
    assert!(ran.load(SeqCst));
    assert!(waiters.iter().all(|one| !one.is_finished()));
    *guard += 1;
    drop(guard);
    waiters.into_iter().for_each(|one| one.join().unwrap());
    assert_eq!(*mutex.lock().unwrap(), 11);
}

// ---- Condvar ---------------------------------------------------------------------------------------------------

#[test]
fn a_condvar_passes_a_turn_around() {
    everywhere(|world| {
        const N: usize = 4;
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let end = shared.clone();
        world.run(N, move |who| {
            let (turn, changed) = &*shared;
            for round in 0..50 {
                let mine = |turn: &mut usize| *turn != round * N + who;
                let mut turn = changed.wait_while(turn.lock().unwrap(), mine).unwrap();
                *turn += 1;
                drop(turn);
                changed.notify_all();
            }
        });
        assert_eq!(*end.0.lock().unwrap(), 50 * N, "{world:?}");
    });
}

#[test]
fn notify_one_wakes_for_each_of_what_was_put() {
    everywhere(|world| {
        let shared = Arc::new((Mutex::new((0, 0)), Condvar::new()));
        world.run(6, move |who| {
            let (store, put) = &*shared;
            if who < 2 {
                for _ in 0..200 {
                    store.lock().unwrap().0 += 1;
                    put.notify_one();
                    if who == 0 {
                        thread::yield_now();
                    }
                }
            } else {
                // Four take 100 each.
                for _ in 0..100 {
                    let mut store = store.lock().unwrap();
                    while store.0 == 0 {
                        store = put.wait(store).unwrap();
                    }
                    store.0 -= 1;
                    store.1 += 1;
                }
            }
        });
    });
}

#[test]
fn wait_timeout_says_whether_it_was_the_time() {
    everywhere(|world| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let (done, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        world.run(3, move |who| {
            let (flag, changed) = &*shared;
            match who {
                0 => {
                    // Nobody notifies: it is the time, and the mutex is had again.
                    let start = Instant::now();
                    let guard = flag.lock().unwrap();
                    let (guard, result) = changed.wait_timeout_while(guard, ms(30), |flag| !*flag).unwrap();
                    assert!(result.timed_out(), "{world:?}");
                    assert!(start.elapsed() >= ms(30), "{world:?}");
                    assert!(matches!(flag.try_lock(), Err(TryLockError::WouldBlock)));
                    drop(guard);
                    // Then somebody does.
                    let mut guard = flag.lock().unwrap();
                    waits.store(true, SeqCst);
                    while !*guard {
                        let (again, result) = changed.wait_timeout(guard, Duration::from_secs(3600)).unwrap();
                        assert!(!result.timed_out(), "{world:?}");
                        guard = again;
                    }
                    done.store(true, SeqCst);
                }
                1 => {
                    until(|| waits.load(SeqCst));
                    *flag.lock().unwrap() = true;
                    changed.notify_all();
                }
                _ => {
                    // Much shorter times beside it.
                    let (mine, never) = (Mutex::new(()), Condvar::new());
                    while !done.load(SeqCst) {
                        drop(never.wait_timeout(mine.lock().unwrap(), ms(1)).unwrap());
                    }
                }
            }
        });
    });
}

#[test]
fn no_wake_up_is_lost_on_who_has_given_up() {
    everywhere(|world| {
        const EACH: usize = 1000;
        let (store, put) = (Mutex::new(0), Condvar::new());
        world.run(8, move |who| {
            let mut random = who as u64;
            match who / 2 {
                0 => (0..2 * EACH).for_each(|n| {
                    *store.lock().unwrap() += 1;
                    put.notify_one();
                    match n % 97 {
                        0 => thread::sleep(Duration::from_micros(50)),
                        _ if n % 5 == 0 => thread::yield_now(),
                        _ => {}
                    }
                }),
                1 => (0..EACH).for_each(|_| {
                    *put.wait_while(store.lock().unwrap(), |store| *store == 0).unwrap() -= 1;
                }),
                _ => {
                    // These give up again and again, and what they were woken for goes to the next one.
                    let mut got = 0;
                    while got < EACH / 2 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let soon = Duration::from_micros(random >> 56);
                        let (mut store, _) = put.wait_timeout(store.lock().unwrap(), soon).unwrap();
                        if *store > 0 {
                            *store -= 1;
                            got += 1;
                        }
                        if *store > 0 {
                            put.notify_one();
                        }
                    }
                }
            }
        });
    });
}

#[test]
fn the_longest_time_is_no_time_at_all() {
    patch::all();
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let inside = shared.clone();
    let (tx, rx) = mpsc::channel::<()>();
    let waits = thread::spawn(move || {
        let go = inside.0.lock().unwrap();
        inside.1.wait_timeout_while(go, Duration::MAX, |go| !*go).unwrap().1.timed_out()
    });
    let receives = thread::spawn(move || rx.recv_timeout(Duration::MAX));
    let parks = thread::spawn(|| thread::park_timeout(Duration::MAX));
    let sleeps = thread::spawn(|| thread::sleep(Duration::from_secs(u64::MAX)));
    thread::sleep(ms(5));
    assert!(!waits.is_finished() && !receives.is_finished() && !parks.is_finished());
    *shared.0.lock().unwrap() = true;
    shared.1.notify_all();
    drop(tx);
    parks.thread().unpark();
    assert!(!waits.join().unwrap());
    assert_eq!(receives.join().unwrap(), Err(RecvTimeoutError::Disconnected));
    parks.join().unwrap();
    assert!(!sleeps.is_finished());
}

// ---- RwLock ----------------------------------------------------------------------------------------------------

#[test]
fn readers_share_an_rwlock_and_a_writer_has_it_alone() {
    everywhere(|world| {
        let lock = Arc::new(RwLock::new((0u32, 0u32)));
        let total = lock.clone();
        world.run(8, move |who| {
            for round in 0..60 {
                if who % 4 == 1 || who % 4 == 2 {
                    let mut pair = lock.write().unwrap();
                    pair.0 += 1;
                    match round % 3 {
                        0 => thread::sleep(Duration::from_micros(100)),
                        _ => thread::yield_now(),
                    }
                    pair.1 += 1;
                } else {
                    let pair = lock.read().unwrap();
                    let first = pair.0;
                    thread::yield_now();
                    assert_eq!((first, first), *pair, "{world:?}");
                }
            }
        });
        assert_eq!(*total.read().unwrap(), (240, 240), "{world:?}");
    });
}

#[test]
fn two_readers_are_inside_at_once_and_keep_a_writer_out() {
    everywhere(|world| {
        let lock = Arc::new(RwLock::new(0));
        let (both, written) = (Arc::new(Barrier::new(3)), Arc::new(AtomicBool::new(false)));
        world.run(3, move |who| {
            if who < 2 {
                let value = lock.read().unwrap();
                both.wait();
                both.wait();
                assert_eq!(*value, 0, "{world:?}");
                assert!(!written.load(SeqCst));
            } else {
                both.wait();
                assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)), "{world:?}");
                assert!(lock.try_read().is_ok());
                both.wait();
                *lock.write().unwrap() = 1;
                written.store(true, SeqCst);
                let writer = lock.write().unwrap();
                assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
                drop(writer);
            }
        });
    });
}

// ---- Barrier ---------------------------------------------------------------------------------------------------

#[test]
fn a_barrier_opens_for_all_at_once_and_has_one_leader() {
    everywhere(|world| {
        const N: usize = 5;
        let barrier = Barrier::new(N);
        let (arrived, leaders) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let led = leaders.clone();
        world.run(N, move |who| {
            for round in 0..40 {
                if (round + who) % 7 == 0 {
                    thread::yield_now();
                }
                arrived.fetch_add(1, SeqCst);
                if barrier.wait().is_leader() {
                    leaders.fetch_add(1, SeqCst);
                }
                assert!(arrived.load(SeqCst) >= (round + 1) * N, "{world:?}: too early");
                barrier.wait();
            }
        });
        assert_eq!(led.load(SeqCst), 40, "{world:?}");
    });
}

// ---- Once, OnceLock, LazyLock ----------------------------------------------------------------------------------

#[test]
fn an_initialiser_that_sleeps_runs_once_and_the_others_wait_for_it() {
    everywhere(|world| {
        let lazy_runs = Arc::new(AtomicU32::new(0));
        let (once, cell, lazy) = (Once::new(), OnceLock::new(), {
            let runs = lazy_runs.clone();
            LazyLock::new(move || {
                thread::sleep(ms(5));
                runs.fetch_add(1, SeqCst) + 30
            })
        });
        let runs = Arc::new([const { AtomicU32::new(0) }; 2]);
        let count = runs.clone();
        world.run(6, move |_| {
            once.call_once(|| {
                thread::sleep(ms(5));
                runs[0].fetch_add(1, SeqCst);
            });
            assert_eq!(runs[0].load(SeqCst), 1, "{world:?}");
            assert!(once.is_completed());
            let value = cell.get_or_init(|| {
                thread::sleep(ms(5));
                runs[1].fetch_add(1, SeqCst) + 20
            });
            assert_eq!(*value, 20, "{world:?}");
            assert_eq!(*lazy, 30, "{world:?}");
        });
        assert_eq!(count.each_ref().map(|n| n.load(SeqCst)), [1, 1]);
        assert_eq!(lazy_runs.load(SeqCst), 1);
    });
}

#[test]
fn an_initialiser_that_panics_leaves_a_oncelock_empty_and_poisons_the_others() {
    everywhere(|world| {
        let panics = || -> u32 {
            thread::sleep(ms(2));
            panic!("the initialiser")
        };
        let (once, cell, lazy) = (Arc::new(Once::new()), Arc::new(OnceLock::new()), LazyLock::new(panics));
        let (tried, lazy) = (Arc::new(AtomicU32::new(0)), Arc::new(lazy));
        world.run(4, move |_| {
            // The first one's panics; another's does the work.
            let value = catch_unwind(AssertUnwindSafe(|| {
                *cell.get_or_init(|| if tried.fetch_add(1, SeqCst) == 0 { panics() } else { 7 })
            }));
            assert_eq!(value.unwrap_or_else(|_| *cell.get_or_init(|| 7)), 7, "{world:?}");
            assert!(catch_unwind(AssertUnwindSafe(|| **lazy)).is_err(), "{world:?}");
            assert!(
                catch_unwind(AssertUnwindSafe(|| once.call_once(|| {
                    panics();
                })))
                .is_err()
            );
            assert!(catch_unwind(AssertUnwindSafe(|| once.call_once(|| ()))).is_err(), "{world:?}");
            assert!(!once.is_completed());
        });
    });
}

#[test]
fn call_once_force_mends_a_poisoned_once() {
    everywhere(|world| {
        let once = Arc::new(Once::new());
        let poisoned = once.clone();
        world.run(1, move |_| {
            assert!(catch_unwind(AssertUnwindSafe(|| poisoned.call_once(|| panic!("first")))).is_err());
        });
        let runs = Arc::new(AtomicU32::new(0));
        let count = runs.clone();
        world.run(4, move |_| {
            once.call_once_force(|state| {
                assert!(state.is_poisoned());
                thread::sleep(ms(2));
                runs.fetch_add(1, SeqCst);
            });
            once.call_once(|| unreachable!());
        });
        assert_eq!(count.load(SeqCst), 1, "{world:?}");
    });
}

#[test]
fn an_initialiser_of_a_thread_local_may_sleep() {
    thread_local! {
        static SLOW: Cell<u64> = {
            thread::sleep(ms(5));
            yield_now();
            Cell::new(1)
        };
        static SLOW_TO_GO: RefCell<Vec<u64>> = {
            thread::sleep(ms(5));
            RefCell::default()
        };
    }
    patch::all();
    let all: Vec<_> = (0..20)
        .map(|n| {
            thread::spawn(move || {
                SLOW.set(SLOW.get() + n);
                SLOW_TO_GO.with_borrow_mut(|list| list.push(n));
                thread::sleep(ms(1));
                SLOW_TO_GO.with_borrow(|list| assert_eq!(*list, [n]));
                SLOW.get()
            })
        })
        .collect();
    let values: Vec<u64> = all.into_iter().map(|one| one.join().unwrap()).collect();
    assert_eq!(values, (1..=20).collect::<Vec<_>>());
}

// ---- mpsc ------------------------------------------------------------------------------------------------------

#[test]
fn a_channel_under_contention_loses_nothing_and_keeps_each_senders_order() {
    for bound in [None, Some(0), Some(1), Some(16)] {
        everywhere(|world| {
            enum Tx {
                Free(mpsc::Sender<(usize, u32)>),
                Bound(mpsc::SyncSender<(usize, u32)>),
            }
            let (tx, rx) = match bound {
                None => {
                    let (tx, rx) = mpsc::channel();
                    (Tx::Free(tx), rx)
                }
                Some(n) => {
                    let (tx, rx) = mpsc::sync_channel(n);
                    (Tx::Bound(tx), rx)
                }
            };
            let (tx, rx) = (Mutex::new(Some(tx)), Mutex::new(Some(rx)));
            let cloned = AtomicUsize::new(0);
            world.run(5, move |who| {
                if who == 0 {
                    let rx = rx.lock().unwrap().take().unwrap();
                    let mut next = [0; 5];
                    for (from, n) in rx {
                        assert_eq!(next[from], n, "{world:?} {bound:?}");
                        next[from] += 1;
                    }
                    assert_eq!(next, [0, 300, 300, 300, 300], "{world:?} {bound:?}");
                    return;
                }
                let mine = match tx.lock().unwrap().as_ref().unwrap() {
                    Tx::Free(tx) => Tx::Free(tx.clone()),
                    Tx::Bound(tx) => Tx::Bound(tx.clone()),
                };
                if cloned.fetch_add(1, SeqCst) == 3 {
                    *tx.lock().unwrap() = None;
                }
                for n in 0..300 {
                    match &mine {
                        Tx::Free(tx) => tx.send((who, n)).unwrap(),
                        Tx::Bound(tx) => tx.send((who, n)).unwrap(),
                    }
                    if n % 50 == who as u32 {
                        thread::yield_now();
                    }
                }
            });
        });
    }
}

#[test]
fn a_rendezvous_ends_only_when_it_is_received() {
    everywhere(|world| {
        let (tx, rx) = mpsc::sync_channel(0);
        let (tx, rx) = (Mutex::new(Some(tx)), Mutex::new(Some(rx)));
        let (sending, sent) = (AtomicBool::new(false), AtomicBool::new(false));
        world.run(2, move |who| {
            if who == 0 {
                let tx = tx.lock().unwrap().take().unwrap();
                assert!(matches!(tx.try_send(1), Err(TrySendError::Full(1))), "{world:?}: nobody receives");
                sending.store(true, SeqCst);
                tx.send(2).unwrap();
                sent.store(true, SeqCst);
            } else {
                let rx = rx.lock().unwrap().take().unwrap();
                until(|| sending.load(SeqCst));
                (0..100).for_each(|_| thread::yield_now());
                assert!(!sent.load(SeqCst), "{world:?}");
                assert_eq!(rx.recv().unwrap(), 2);
                until(|| sent.load(SeqCst));
                assert!(rx.recv().is_err(), "the sender is gone");
            }
        });
    });
}

#[test]
fn a_bounded_channel_takes_as_many_as_it_says() {
    everywhere(|world| {
        let (tx, rx) = mpsc::sync_channel(3);
        let (tx, rx) = (Mutex::new(Some(tx)), Mutex::new(Some(rx)));
        let (full, sent) = (AtomicBool::new(false), AtomicBool::new(false));
        world.run(2, move |who| {
            if who == 0 {
                let tx = tx.lock().unwrap().take().unwrap();
                (0..3).for_each(|n| tx.send(n).unwrap());
                assert!(matches!(tx.try_send(9), Err(TrySendError::Full(9))), "{world:?}");
                full.store(true, SeqCst);
                tx.send(3).unwrap();
                sent.store(true, SeqCst);
                // The receiver goes with some of it unread: then it is said.
                while tx.send(4).is_ok() {}
                assert!(matches!(tx.try_send(5), Err(TrySendError::Disconnected(5))));
            } else {
                let rx = rx.lock().unwrap().take().unwrap();
                until(|| full.load(SeqCst));
                (0..50).for_each(|_| thread::yield_now());
                assert!(!sent.load(SeqCst), "{world:?}");
                assert_eq!((0..4).map(|_| rx.recv().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
                until(|| sent.load(SeqCst));
            }
        });
    });
}

#[test]
fn recv_timeout_says_whether_it_was_the_time_or_the_end() {
    everywhere(|world| {
        let (tx, rx) = mpsc::channel();
        let (tx, rx) = (Mutex::new(Some(tx)), Mutex::new(Some(rx)));
        let timed_out = AtomicBool::new(false);
        world.run(2, move |who| {
            if who == 0 {
                let tx = tx.lock().unwrap().take().unwrap();
                until(|| timed_out.load(SeqCst));
                tx.send("late").unwrap();
            } else {
                let rx = rx.lock().unwrap().take().unwrap();
                assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
                let start = Instant::now();
                assert_eq!(rx.recv_timeout(ms(20)), Err(RecvTimeoutError::Timeout), "{world:?}");
                assert!(start.elapsed() >= ms(20));
                timed_out.store(true, SeqCst);
                assert_eq!(rx.recv_timeout(Duration::from_secs(3600)), Ok("late"), "{world:?}");
                let end = rx.recv_timeout(Duration::from_secs(3600));
                assert_eq!(end, Err(RecvTimeoutError::Disconnected), "{world:?}");
            }
        });
    });
}

// ---- poisoning -------------------------------------------------------------------------------------------------

#[test]
fn who_panics_with_a_lock_poisons_it_and_a_reader_does_not() {
    everywhere(|world| {
        let (mutex, lock, read) =
            (Arc::new(Mutex::new(1)), Arc::new(RwLock::new(1)), Arc::new(RwLock::new(1)));
        let (poisoned, written, only_read) = (mutex.clone(), lock.clone(), read.clone());
        world.run(4, move |who| {
            let ended = catch_unwind(AssertUnwindSafe(|| match who {
                0 => {
                    let mut guard = mutex.lock().unwrap();
                    *guard = 2;
                    thread::sleep(ms(2));
                    panic!("with the mutex");
                }
                1 => {
                    let mut guard = lock.write().unwrap();
                    *guard = 2;
                    thread::sleep(ms(2));
                    panic!("with the write lock");
                }
                _ => {
                    let _guard = read.read().unwrap();
                    thread::sleep(ms(2));
                    panic!("with a read lock");
                }
            }));
            assert!(ended.is_err());
        });
        assert!(poisoned.is_poisoned() && written.is_poisoned() && !only_read.is_poisoned(), "{world:?}");
        assert_eq!(*poisoned.lock().unwrap_err().into_inner(), 2);
        assert!(matches!(poisoned.try_lock(), Err(TryLockError::Poisoned(_))));
        assert_eq!(*written.read().unwrap_err().into_inner(), 2);
        poisoned.clear_poison();
        assert_eq!(*poisoned.lock().unwrap(), 2);
        drop(only_read.write().unwrap());
    });
}

#[test]
fn while_one_unwinds_and_blocks_in_a_destructor_the_others_poison_nothing() {
    everywhere(|world| {
        /// Waits when dropped until the others have had the lock, and takes it, too.
        struct Slow<'a>(&'a Mutex<u32>, &'a Barrier);
        impl Drop for Slow<'_> {
            fn drop(&mut self) {
                assert!(thread::panicking());
                self.1.wait();
                // Taken while unwinding already: std does not call that poisoned.
                *self.0.lock().unwrap() += 1;
                self.1.wait();
                assert!(thread::panicking());
            }
        }
        let mutex = Arc::new(Mutex::new(0));
        let total = mutex.clone();
        let (barrier, held) = (Barrier::new(4), [const { Mutex::new(()) }; 4]);
        world.run(4, move |who| {
            if who < 2 {
                let ended = catch_unwind(AssertUnwindSafe(|| {
                    let _slow = Slow(&mutex, &barrier);
                    panic!("and now the destructor");
                }));
                assert!(ended.is_err() && !thread::panicking());
            } else {
                let guard = held[who].lock().unwrap();
                barrier.wait();
                // These two have panics in flight beside them, and none of their own.
                assert!(!thread::panicking(), "{world:?}");
                *mutex.lock().unwrap() += 1;
                drop(guard);
                barrier.wait();
            }
            assert!(!held[who].is_poisoned(), "{world:?}");
        });
        assert!(!total.is_poisoned(), "{world:?}");
        assert_eq!(*total.lock().unwrap(), 4);
    });
}

// ---- kill ------------------------------------------------------------------------------------------------------

#[test]
fn killed_while_it_wants_a_mutex_it_gets_it_and_ends_at_greenlines_next_call() {
    patch::all();
    let mutex = Arc::new(Mutex::new(0));
    let guard = mutex.lock().unwrap();
    let wants = mutex.clone();
    let victim = spawn(move || {
        *wants.lock().unwrap() += 1;
        greenline::sleep(Duration::from_secs(3600));
    });
    let wants = mutex.clone();
    let other = spawn(move || *wants.lock().unwrap() += 10);
    yield_now();
    victim.kill();
    (0..10).for_each(|_| yield_now());
    assert!(!victim.is_finished(), "std's lock is not unwound out of");
    drop(guard);
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    other.join().unwrap();
    assert_eq!(*mutex.lock().unwrap(), 11, "it was had, released, and not poisoned");
}

#[test]
fn killed_with_a_mutex_it_poisons_it_as_any_unwind_does_and_releases_it() {
    patch::all();
    let mutex = Arc::new(Mutex::new(0));
    let has = mutex.clone();
    let victim = spawn(move || {
        let mut guard = has.lock().unwrap();
        *guard = 1;
        greenline::sleep(Duration::from_secs(3600));
    });
    yield_now();
    let wants = mutex.clone();
    let waiter = thread::spawn(move || wants.lock().map(|guard| *guard).map_err(|error| *error.into_inner()));
    yield_now();
    victim.kill();
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    assert_eq!(waiter.join().unwrap(), Err(1));
}

#[test]
fn killed_in_a_condvar_or_a_channel_it_hangs_nobody() {
    patch::all();
    // A condition: its wait may end for no reason, and does; the mutex is had again.
    let shared = Arc::new((Mutex::new(0), Condvar::new()));
    let inside = shared.clone();
    let victim = spawn(move || {
        let (mutex, changed) = &*inside;
        let mut guard = changed.wait(mutex.lock().unwrap()).unwrap();
        *guard += 1;
        drop(guard);
        yield_now();
        unreachable!("the kill is delivered");
    });
    yield_now();
    victim.kill();
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    assert_eq!(*shared.0.lock().unwrap(), 1);

    // A loop around it waits on, and does not spin; what comes is received.
    let (tx, rx) = mpsc::channel();
    let received = Arc::new(AtomicU32::new(0));
    let inside = received.clone();
    let victim = spawn(move || {
        for n in rx {
            inside.fetch_add(n, SeqCst);
        }
        yield_now();
        unreachable!("the kill is delivered");
    });
    yield_now();
    victim.kill();
    for _ in 0..10 {
        yield_now();
        tx.send(1).unwrap();
    }
    assert!(!victim.is_finished());
    drop(tx);
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    assert_eq!(received.load(SeqCst), 10);

    // So does a join of a thread of std's.
    let (go, gone) = mpsc::channel::<()>();
    let joined = thread::spawn(move || gone.recv());
    let victim = spawn(move || {
        joined.join().unwrap().unwrap_err();
        yield_now();
        unreachable!("the kill is delivered");
    });
    yield_now();
    victim.kill();
    (0..10).for_each(|_| yield_now());
    assert!(!victim.is_finished());
    drop(go);
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
}

#[test]
fn timeouts_and_kills_in_a_crowd_leave_the_lock_right() {
    patch::all();
    let mutex = Arc::new(Mutex::new(0u64));
    let done = Arc::new(AtomicU32::new(0));
    let crowd: Vec<_> = (0..60)
        .map(|n| {
            let (mutex, done) = (mutex.clone(), done.clone());
            spawn(move || {
                loop {
                    let mut guard = mutex.lock().unwrap();
                    let read = *guard;
                    thread::sleep(Duration::from_micros(20));
                    *guard = read + 1;
                    drop(guard);
                    done.fetch_add(1, SeqCst);
                    if n % 3 == 0 {
                        let _ = greenline::timeout(Duration::ZERO, yield_now);
                    } else {
                        yield_now();
                    }
                }
            })
        })
        .collect();
    for victim in &crowd {
        thread::sleep(Duration::from_micros(300));
        victim.kill();
    }
    for end in greenline::join_all(crowd) {
        assert!(matches!(end, Err(JoinError::Killed)));
    }
    assert_eq!(*mutex.lock().unwrap(), u64::from(done.load(SeqCst)));
}
