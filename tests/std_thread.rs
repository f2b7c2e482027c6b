//! `std::thread` does what its documentation says, with threads that are green threads of one OS thread.

#![cfg(feature = "patch")]

use greenline::thread::Thread;
use greenline::{JoinError, patch, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn os_thread() -> i32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }
}

fn errno() -> &'static Cell<i32> {
    // SAFETY: the address is this thread's own, and nobody holds the answer across its end.
    unsafe { Cell::from_mut(&mut *libc::__errno_location()) }
}

// ---- making and joining ----------------------------------------------------------------------------------------

#[test]
fn a_thread_is_a_green_thread_of_who_made_it_and_answers_to_join() {
    patch::all();
    let here = os_thread();
    let ran = Arc::new(AtomicBool::new(false));
    let inside = ran.clone();
    let one = thread::spawn(move || {
        inside.store(true, SeqCst);
        (os_thread(), "answer".to_string())
    });
    assert!(!ran.load(SeqCst), "it runs when we block");
    assert_eq!(one.join().unwrap(), (here, "answer".to_string()));
}

#[test]
fn is_finished_turns_true_by_itself() {
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
fn a_name_is_kept_whole_and_c_has_what_fits() {
    patch::all();
    let c_name = || {
        let mut name = [0; 16];
        // SAFETY: sixteen bytes, as it wants.
        let answer = unsafe { libc::pthread_getname_np(libc::pthread_self(), name.as_mut_ptr().cast(), 16) };
        assert_eq!(answer, 0);
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
    assert_eq!(root, (thread::current().name().map(str::to_string), c_name()), "the OS thread's own is left");
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
fn the_stack_is_as_large_as_was_asked_for() {
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
    assert!(Builder::new().stack_size(1 << 50).spawn(|| ()).is_err(), "more than there is");
}

#[test]
fn threads_make_threads() {
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
fn a_detached_thread_goes_on() {
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
fn yield_now_lets_each_other_run() {
    patch::all();
    let said = Arc::new(Mutex::new(String::new()));
    let all = ["a", "b", "c"].map(|name| {
        let said = said.clone();
        thread::spawn(move || {
            for _ in 0..4 {
                said.lock().unwrap().push_str(name);
                thread::yield_now();
            }
        })
    });
    all.into_iter().for_each(|one| one.join().unwrap());
    assert_eq!(*said.lock().unwrap(), "abcabcabcabc");
}

#[test]
fn parallelism_is_known() {
    patch::all();
    let here = thread::available_parallelism().unwrap();
    assert_eq!(thread::spawn(|| thread::available_parallelism().unwrap()).join().unwrap(), here);
}

#[test]
fn an_id_is_unique_and_stays() {
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

// ---- scopes ----------------------------------------------------------------------------------------------------

#[test]
fn a_scope_lends_and_waits() {
    patch::all();
    let (mut numbers, sum) = (vec![1, 2, 3, 4], AtomicUsize::new(0));
    let longest = thread::scope(|s| {
        let (left, right) = numbers.split_at_mut(2);
        for half in [left, right] {
            let sum = &sum;
            s.spawn(move || {
                for number in half {
                    thread::sleep(ms(1));
                    *number *= 10;
                    sum.fetch_add(*number, SeqCst);
                }
            });
        }
        let named = Builder::new().name("scoped".into());
        named.spawn_scoped(s, || thread::current().name().map(str::len)).unwrap().join().unwrap()
    });
    assert_eq!((numbers, sum.into_inner(), longest), (vec![10, 20, 30, 40], 100, Some(6)));
}

#[test]
fn a_scoped_thread_that_panics_fails_the_scope_unless_it_is_joined() {
    patch::all();
    let after = AtomicUsize::new(0);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        thread::scope(|s| {
            s.spawn(|| panic!("scoped"));
            s.spawn(|| {
                thread::sleep(ms(3));
                after.fetch_add(1, SeqCst);
            });
        });
    }));
    assert_eq!(*ended.unwrap_err().downcast::<&str>().unwrap(), "a scoped thread panicked");
    assert_eq!(after.load(SeqCst), 1, "the other was waited for");

    thread::scope(|s| {
        let bad = s.spawn(|| {
            thread::yield_now();
            panic_any(5u8)
        });
        let payload: Box<dyn std::any::Any + Send> = bad.join().map(|(): ()| ()).unwrap_err();
        assert_eq!(*payload.downcast::<u8>().unwrap(), 5);
        s.spawn(|| after.fetch_add(1, SeqCst));
    });
    assert_eq!(after.load(SeqCst), 2);
}

#[test]
fn a_kill_does_not_end_a_scope_of_stds_before_its_threads() {
    patch::all();
    let (go, gone) = mpsc::channel::<()>();
    let touched = Arc::new(AtomicUsize::new(0));
    let count = touched.clone();
    let victim = greenline::spawn(move || {
        let borrowed = Box::new(AtomicUsize::new(1));
        let (borrowed, count) = (&borrowed, &count);
        thread::scope(|s| {
            s.spawn(move || {
                assert!(gone.recv().is_err());
                count.fetch_add(borrowed.fetch_add(1, SeqCst), SeqCst);
            });
        });
        count.fetch_add(borrowed.load(SeqCst), SeqCst);
        yield_now();
        unreachable!("the kill is delivered");
    });
    (0..5).for_each(|_| yield_now());
    victim.kill();
    (0..10).for_each(|_| yield_now());
    assert!(!victim.is_finished());
    drop(go);
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    assert_eq!(touched.load(SeqCst), 3);
}

// ---- parking ---------------------------------------------------------------------------------------------------

#[test]
fn an_unpark_before_the_park_is_kept_and_two_are_one() {
    patch::all();
    let (tx, rx) = mpsc::channel::<()>();
    let one = thread::spawn(move || {
        assert!(rx.recv().is_err());
        thread::park();
        let start = Instant::now();
        thread::park_timeout(ms(20));
        start.elapsed()
    });
    one.thread().unpark();
    one.thread().unpark();
    drop(tx);
    assert!(one.join().unwrap() >= ms(20));

    thread::current().unpark();
    thread::park();
}

#[test]
fn park_waits_for_whoever_unparks() {
    patch::all();
    let go = Arc::new(AtomicBool::new(false));
    let parked = || {
        let go = go.clone();
        thread::spawn(move || {
            while !go.load(SeqCst) {
                thread::park();
            }
        })
    };
    let (by_green, by_os_thread, by_hub) = (parked(), parked(), parked());
    (0..10).for_each(|_| thread::yield_now());
    assert!(!by_green.is_finished());
    go.store(true, SeqCst);
    let target = by_green.thread().clone();
    thread::spawn(move || target.unpark()).join().unwrap();
    by_green.join().unwrap();
    let target = by_os_thread.thread().clone();
    Thread::new(move || target.unpark()).start().unwrap();
    by_os_thread.join().unwrap();
    let target = by_hub.thread().clone();
    let other = Thread::new(move || {
        patch::all();
        thread::spawn(move || target.unpark()).join().unwrap();
    });
    other.start().unwrap();
    by_hub.join().unwrap();
    // It is woken before its time.
    let sleeper = thread::spawn(|| thread::park_timeout(Duration::from_secs(3600)));
    yield_now();
    sleeper.thread().unpark();
    sleeper.join().unwrap();
}

#[test]
fn the_root_is_parked_and_unparked_too() {
    patch::all();
    let root = thread::current();
    let seen = Arc::new(AtomicBool::new(false));
    let inside = seen.clone();
    let one = thread::spawn(move || {
        thread::sleep(ms(1));
        inside.store(true, SeqCst);
        root.unpark();
    });
    while !seen.load(SeqCst) {
        thread::park();
    }
    one.join().unwrap();
}

// ---- panics ----------------------------------------------------------------------------------------------------

#[test]
fn a_panic_reaches_join_with_its_payload() {
    patch::all();
    let text = thread::spawn(|| panic!("text")).join().map(|(): ()| ()).unwrap_err();
    assert_eq!(*text.downcast::<&str>().unwrap(), "text");
    let value = thread::spawn(|| {
        thread::sleep(ms(1));
        panic_any(vec![1, 2])
    });
    assert_eq!(*value.join().map(|(): ()| ()).unwrap_err().downcast::<Vec<i32>>().unwrap(), [1, 2]);
    let resumed = thread::spawn(|| resume_unwind(Box::new('x')));
    assert_eq!(*resumed.join().map(|(): ()| ()).unwrap_err().downcast::<char>().unwrap(), 'x');
}

#[test]
fn panicking_is_each_threads_own_though_destructors_sleep() {
    struct Sleeps(Arc<Barrier>);
    impl Drop for Sleeps {
        fn drop(&mut self) {
            assert!(thread::panicking());
            thread::sleep(ms(1));
            self.0.wait();
            // A panic inside of a destructor that unwinds, caught.
            assert!(catch_unwind(|| resume_unwind(Box::new("inner"))).is_err());
            self.0.wait();
            assert!(thread::panicking());
        }
    }
    patch::all();
    let barrier = Arc::new(Barrier::new(7));
    let unwinding: Vec<_> = (0..5usize)
        .map(|n| {
            let sleeps = Sleeps(barrier.clone());
            thread::spawn(move || {
                let _sleeps = sleeps;
                panic_any(n)
            })
        })
        .collect();
    let inside = barrier.clone();
    let calm = thread::spawn(move || {
        inside.wait();
        let meanwhile = thread::panicking();
        inside.wait();
        meanwhile
    });
    barrier.wait();
    assert!(!thread::panicking());
    let others = thread::spawn(|| (thread::panicking(), catch_unwind(|| panic!("beside")).is_err()));
    assert_eq!(others.join().unwrap(), (false, true));
    barrier.wait();
    assert!(!calm.join().unwrap());
    for (n, one) in unwinding.into_iter().enumerate() {
        let payload = one.join().map(|(): ()| ()).unwrap_err();
        assert_eq!(*payload.downcast::<usize>().unwrap(), n);
    }
}

// ---- what is a thread's own ------------------------------------------------------------------------------------

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(7) };
    static LIST: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn thread_locals_are_each_threads_own() {
    patch::all();
    NUMBER.set(100);
    LIST.with_borrow_mut(|list| list.push(100));
    let work = |n: u32| {
        move || {
            assert_eq!(NUMBER.get(), 7);
            for round in 0..5 {
                NUMBER.set(NUMBER.get() + n);
                LIST.with_borrow_mut(|list| list.push(n));
                // Borrowed while it sleeps: nobody else comes in between.
                LIST.with_borrow_mut(|list| {
                    thread::sleep(Duration::from_micros(u64::from(n + round) % 5 * 100));
                    assert_eq!(*list, vec![n; round as usize + 1]);
                });
                thread::yield_now();
            }
            NUMBER.get()
        }
    };
    let std: Vec<_> = (0..20).map(|n| thread::spawn(work(n))).collect();
    let green: Vec<_> = (0..20).map(|n| greenline::spawn(work(n))).collect();
    for (n, (std, green)) in std.into_iter().zip(green).enumerate() {
        assert_eq!(std.join().unwrap(), 7 + 5 * n as u32);
        assert_eq!(green.join().unwrap(), 7 + 5 * n as u32);
    }
    assert_eq!(NUMBER.get(), 100);
    LIST.with_borrow(|list| assert_eq!(*list, [100]));
}

/// Says when it is dropped, and sleeps before.
struct Says(RefCell<Option<mpsc::Sender<&'static str>>>, &'static str);

impl Says {
    const fn new(name: &'static str) -> Says {
        Says(RefCell::new(None), name)
    }
}

impl Drop for Says {
    fn drop(&mut self) {
        thread::sleep(ms(1));
        if let Some(tx) = self.0.take() {
            tx.send(self.1).unwrap();
        }
    }
}

#[test]
fn thread_locals_are_dropped_the_last_one_first_before_join_returns() {
    thread_local! {
        static FIRST: Says = const { Says::new("first") };
        static SECOND: Says = const { Says::new("second") };
        static THIRD: Says = const { Says::new("third") };
        static UNUSED: Says = const { Says::new("unused") };
    }
    patch::all();
    let body = |tx: mpsc::Sender<_>| {
        move || {
            for local in [&FIRST, &SECOND, &THIRD] {
                local.with(|says| says.0.replace(Some(tx.clone())));
                thread::yield_now();
            }
            tx.send("body").unwrap();
        }
    };
    let expected = ["body", "third", "second", "first"];
    let (tx, rx) = mpsc::channel();
    thread::spawn(body(tx)).join().unwrap();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), expected);
    let (tx, rx) = mpsc::channel();
    greenline::spawn(body(tx)).join().unwrap();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), expected);
    // Of one that panics, and one that nobody joins, too.
    let (tx, rx) = mpsc::channel();
    let body_of_bad = body(tx);
    let bad = thread::spawn(move || {
        body_of_bad();
        panic!("after all that");
    });
    assert!(bad.join().is_err());
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), expected);
    let (tx, rx) = mpsc::channel();
    drop(thread::spawn(body(tx)));
    assert_eq!(rx.iter().collect::<Vec<_>>(), expected);
    UNUSED.with(|_| ());
}

#[test]
fn thread_locals_of_a_killed_green_thread_are_dropped() {
    thread_local! {
        static KEPT: Says = const { Says::new("kept") };
    }
    patch::all();
    let (tx, rx) = mpsc::channel();
    let all: Vec<_> = (0..10)
        .map(|_| {
            let tx = tx.clone();
            greenline::spawn(move || {
                KEPT.with(|says| says.0.replace(Some(tx)));
                greenline::sleep(Duration::MAX);
            })
        })
        .collect();
    drop(tx);
    yield_now();
    for end in greenline::kill_all(all) {
        assert!(matches!(end, Err(JoinError::Killed)));
    }
    assert_eq!(rx.iter().count(), 10);
}

#[test]
fn the_destructor_of_a_thread_local_may_use_others_and_make_threads() {
    thread_local! {
        static LATE: Says = const { Says::new("late") };
        static BUSY: RefCell<Option<Busy>> = const { RefCell::new(None) };
    }
    struct Busy(mpsc::Sender<&'static str>);
    impl Drop for Busy {
        fn drop(&mut self) {
            assert!(BUSY.try_with(|_| ()).is_err(), "it is being dropped");
            // First used now: so it is dropped after us.
            LATE.with(|late| late.0.replace(Some(self.0.clone())));
            let tx = self.0.clone();
            thread::spawn(move || {
                thread::sleep(ms(1));
                tx.send("a thread").unwrap();
            })
            .join()
            .unwrap();
            self.0.send("busy").unwrap();
        }
    }
    patch::all();
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || BUSY.set(Some(Busy(tx)))).join().unwrap();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["a thread", "busy", "late"]);
}

#[test]
fn errno_is_each_threads_own() {
    patch::all();
    let all: Vec<_> = (0..20)
        .map(|n| {
            thread::spawn(move || {
                errno().set(n);
                for _ in 0..5 {
                    thread::yield_now();
                    assert_eq!(errno().get(), n);
                }
            })
        })
        .collect();
    errno().set(1000);
    (0..5).for_each(|_| thread::yield_now());
    assert_eq!(errno().get(), 1000);
    all.into_iter().for_each(|one| one.join().unwrap());
}

#[test]
fn errno_is_what_it_was_after_a_wait_though_the_hub_calls_the_kernel_meanwhile() {
    patch::all();
    let work = |size| {
        move || {
            let (tx, rx) = mpsc::channel();
            // Its stack is made while we wait, and then the hub waits for a time.
            let other = greenline::Builder::new().stack_size(size).spawn(move || {
                thread::sleep(ms(1));
                tx.send(()).unwrap();
            });
            errno().set(1000);
            rx.recv().unwrap();
            let after = errno().get();
            other.unwrap().join().unwrap();
            after
        }
    };
    assert_eq!(work(1 << 20)(), 1000, "the root's");
    assert_eq!(thread::spawn(work(2 << 20)).join().unwrap(), 1000, "a green thread's");
}

// ---- beside real OS threads ------------------------------------------------------------------------------------

#[test]
fn greenlines_thread_is_a_real_one_and_joins_cross_over() {
    patch::all();
    let here = os_thread();
    let real = Thread::new(os_thread).name("real").start().unwrap();
    let there = real.join().unwrap();
    assert_ne!(there, here);

    // Without a hub, std's threads are the system's, there; joined here, others run meanwhile.
    let (tx, rx) = mpsc::channel::<()>();
    let made = Thread::new(move || (os_thread(), thread::spawn(move || (os_thread(), rx.recv().is_err()))));
    let (maker, std) = made.start().unwrap().join().unwrap();
    let releases = thread::spawn(move || drop(tx));
    let (tid, was_released) = std.join().unwrap();
    assert!(was_released && tid != here && tid != maker);
    releases.join().unwrap();

    // A green thread, joined by an OS thread without a hub, and by another hub.
    for with_hub in [false, true] {
        let green = thread::spawn(move || {
            thread::sleep(ms(3));
            os_thread()
        });
        let joiner = Thread::new(move || {
            if with_hub {
                patch::all();
            }
            green.join().unwrap()
        });
        assert_eq!(joiner.start().unwrap().join().unwrap(), here);
        let bad = thread::spawn(|| panic_any(3u64));
        let joiner = Thread::new(move || bad.join().map(|(): ()| ()).unwrap_err().downcast::<u64>());
        assert_eq!(*joiner.start().unwrap().join().unwrap().unwrap(), 3);
    }
}

#[test]
fn threads_go_on_when_the_os_thread_that_has_made_them_has_returned() {
    patch::all();
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let other = Thread::new(move || {
        patch::all();
        for _ in 0..5 {
            let count = count.clone();
            thread::spawn(move || {
                thread::sleep(ms(5));
                count.fetch_add(1, SeqCst);
            });
        }
    });
    other.start().unwrap().join().unwrap();
    while ended.load(SeqCst) < 5 {
        thread::yield_now();
    }
}

#[test]
fn a_handle_outlives_the_hub_of_its_thread() {
    patch::all();
    for _ in 0..20 {
        let other = Thread::new(|| {
            patch::all();
            let slow = thread::spawn(|| {
                thread::sleep(ms(1));
                "slow"
            });
            (slow, thread::spawn(|| "quick"), thread::spawn(|| panic_any("bad")))
        });
        let (slow, quick, bad) = other.start().unwrap().join().unwrap();
        assert_eq!(slow.join().unwrap(), "slow");
        drop(quick);
        let payload = bad.join().map(|(): ()| ()).unwrap_err();
        assert_eq!(*payload.downcast::<&str>().unwrap(), "bad");
    }
}

#[test]
fn a_thread_may_be_made_and_joined_while_an_os_thread_with_a_hub_ends() {
    struct MakesOne(mpsc::Sender<&'static str>, &'static str);
    impl Drop for MakesOne {
        fn drop(&mut self) {
            let tx = self.0.clone();
            thread::spawn(move || {
                thread::sleep(ms(1));
                tx.send("made").unwrap();
            })
            .join()
            .unwrap();
            self.0.send(self.1).unwrap();
        }
    }
    thread_local! {
        static BEFORE: RefCell<Option<MakesOne>> = const { RefCell::new(None) };
        static AFTER: RefCell<Option<MakesOne>> = const { RefCell::new(None) };
    }
    patch::all();
    let (tx, rx) = mpsc::channel();
    // One is dropped after its hub, the other before.
    let other = Thread::new(move || {
        BEFORE.set(Some(MakesOne(tx.clone(), "before")));
        patch::all();
        AFTER.set(Some(MakesOne(tx, "after")));
    });
    other.start().unwrap().join().unwrap();
    assert_eq!(rx.iter().collect::<Vec<_>>(), ["made", "after", "made", "before"]);
}
