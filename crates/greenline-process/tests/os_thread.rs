//! Real OS threads: which ones the end of the process waits for, timers, and the report of a panic. Each test runs without
//! a patch and patched.

mod support;

use greenline::thread::{Thread, Timer};
use greenline::{Handle, JoinError, sleep, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use support::subprocess::{Case, run};
use support::time::HOUR;
use support::trials::Group;

const ALONE: &[Case] = &[
    ("join_timeout_expired_returns_the_thread", join_timeout),
    ("is_alive_is_true_until_the_end", is_alive),
    ("name_is_given_or_counted", names),
    ("join_timeout_parks_only_the_caller", only_who_joins_waits),
    ("timer_calls_once_after_its_delay", timer),
    ("timer_cancel_prevents_the_call", cancelled),
    ("timer_panic_is_returned_by_join", timer_panics),
];

const OTHERS: &[Case] = &[
    ("a panic", a_panic),
    ("main returns", main_returns),
    ("main panics", || {
        main_returns();
        panic!("main panics");
    }),
    ("main exits", || {
        main_returns();
        std::process::exit(3);
    }),
    ("a thread exits", a_thread_exits),
    ("a thread exits after main", a_thread_exits_after_main),
    ("a thread with a hub exits after main", a_green_thread_exits_after_main),
    ("a thread starts threads", a_thread_starts_threads),
    ("thread-locals", thread_locals),
    ("a thread asks main's hub", a_thread_asks_mains_hub),
    ("a green thread starts one", a_green_thread_starts_one),
];

fn main() -> ExitCode {
    support::trials::main(
        &[Group::both_ways("os_thread", ALONE)],
        OTHERS,
        &[
            ("panic_is_reported_with_the_name_of_the_thread", |patched| {
                let ended = run("a panic", patched);
                assert_eq!(ended.code, 0, "{ended:?}");
                for name in ["singer", "Thread-1"] {
                    assert!(ended.stderr.contains(&format!("thread '{name}'")), "{ended:?}");
                }
                assert_eq!(
                    ended.stderr.matches("panicked at crates/greenline-process/tests/os_thread.rs").count(),
                    2,
                    "{ended:?}"
                );
            }),
            ("process_end_waits_for_threads_that_are_no_daemons", |patched| {
                for (name, code) in [("main returns", 0), ("main panics", 101), ("main exits", 3)] {
                    let ended = run(name, patched);
                    assert_eq!((ended.code, &*ended.stdout), (code, "main ends\nthread done\n"), "{ended:?}");
                }
            }),
            ("exit_in_a_thread_waits_for_no_thread", |patched| {
                let ended = run("a thread exits", patched);
                assert_eq!((ended.code, &*ended.stdout), (4, "the other thread done\n"), "{ended:?}");
                let ended = run("a thread exits after main", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\nthread exits\n"), "{ended:?}");
                let ended = run("a thread with a hub exits after main", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\nthread exits\n"), "{ended:?}");
            }),
            ("process_end_waits_for_threads_that_are_started_meanwhile", |patched| {
                let ended = run("a thread starts threads", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\n3\n2\n1\n0\n"), "{ended:?}");
            }),
            ("process_end_waits_for_the_destructors_of_thread_locals", |patched| {
                let ended = run("thread-locals", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\nfirst\nlast\n"), "{ended:?}");
            }),
            ("handle_of_the_hub_of_main_returns_hub_gone_at_the_process_end", |patched| {
                let ended = run("a thread asks main's hub", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\nHubGone\nHubGone\n"), "{ended:?}");
            }),
            ("process_end_waits_for_a_thread_that_a_green_thread_has_started", |patched| {
                let ended = run("a green thread starts one", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\nthread done\n"), "{ended:?}");
            }),
        ],
    )
}

/// Returns when `main` has returned and the process waits for its OS threads. From outside this state looks like the one
/// after pthread_exit, except that the main OS thread waits in the call that ends the process.
fn wait_for_mains_end() {
    while !MAIN_IS_OVER.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // The process needs a moment from there to its wait.
    std::thread::sleep(Duration::from_millis(50));
}

static MAIN_IS_OVER: AtomicBool = AtomicBool::new(false);

fn main_ends() {
    println!("main ends");
    MAIN_IS_OVER.store(true, SeqCst);
}

fn join_timeout() {
    let (let_go, may_end) = mpsc::channel::<()>();
    let thread = Thread::new(move || may_end.recv()).start().unwrap();
    let thread = thread.join_timeout(Duration::ZERO).unwrap_err();
    let thread = thread.join_timeout(Duration::from_millis(5)).unwrap_err();
    // The wait leaves nothing that would keep the hub from reporting a deadlock.
    let park = || greenline::wait::park(greenline::wait::ticket(), None, "nothing");
    assert!(std::panic::catch_unwind(park).is_err());
    // On an OS thread without a hub.
    let asks = Thread::new(|| thread.join_timeout(Duration::from_millis(5)).unwrap_err());
    let thread = asks.start().unwrap().join().unwrap();
    // A timeout unwinds the wait.
    let elapsed = greenline::timeout(Duration::from_millis(5), || thread.join_timeout(HOUR));
    assert!(elapsed.is_err());
    let thread = Thread::new(move || std::thread::sleep(Duration::from_millis(20))).start().unwrap();
    assert!(thread.join_timeout(Duration::MAX).unwrap().is_ok());
    drop(let_go);
    let quick = Thread::new(|| 3).start().unwrap();
    while !quick.is_finished() {
        yield_now();
    }
    assert_eq!(quick.join_timeout(Duration::ZERO).unwrap().unwrap(), 3);
    assert!(std::panic::catch_unwind(park).is_err());
}

fn is_alive() {
    let (let_go, may_end) = mpsc::channel::<()>();
    let thread = Thread::new(move || may_end.recv()).start().unwrap();
    assert!(thread.is_alive() && !thread.is_finished());
    drop(let_go);
    while thread.is_alive() {
        yield_now();
    }
    assert!(thread.is_finished());
    assert!(thread.join().unwrap().is_err());
}

fn names() {
    let own = || std::thread::current().name().unwrap().to_owned();
    for expected in ["Thread-1", "Thread-2"] {
        let thread = Thread::new(own).start().unwrap();
        assert_eq!(thread.name(), expected);
        assert_eq!(thread.join().unwrap(), expected);
    }
    let thread = Thread::new(own).name("a name of more than fifteen bytes").start().unwrap();
    assert_eq!(thread.join().unwrap(), "a name of more than fifteen bytes");
}

fn only_who_joins_waits() {
    let (let_go, may_end) = mpsc::channel::<()>();
    let turns = Rc::new(Cell::new(0));
    let others = spawn({
        let turns = turns.clone();
        move || {
            for _ in 0..100 {
                turns.set(turns.get() + 1);
                yield_now();
            }
            drop(let_go);
        }
    });
    let thread = Thread::new(move || may_end.recv().is_err()).start().unwrap();
    assert!(thread.join_timeout(HOUR).unwrap().unwrap());
    assert_eq!(turns.get(), 100);
    others.join().unwrap();
}

fn timer() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let delay = Duration::from_millis(30);
    let start = Instant::now();
    let timer = Timer::new(delay, || {
        CALLS.fetch_add(1, SeqCst);
        std::thread::current().name().map(str::to_owned)
    });
    let timer = timer.name("later").start().unwrap();
    assert_eq!(CALLS.load(SeqCst), 0);
    assert_eq!(timer.join().unwrap().unwrap().as_deref(), Some("later"));
    assert!(start.elapsed() >= delay);
    assert_eq!(CALLS.load(SeqCst), 1);
    let at_once = Timer::new(Duration::ZERO, || 3).start().unwrap();
    assert_eq!(at_once.join().unwrap(), Some(3));
}

fn cancelled() {
    let timer = Timer::new(HOUR, || unreachable!("it was cancelled")).start().unwrap();
    let never = Timer::new(Duration::MAX, || unreachable!("it was cancelled")).start().unwrap();
    assert!(!timer.is_finished());
    assert!(timer.cancel());
    assert!(!timer.cancel());
    assert_eq!(timer.join().unwrap(), None::<()>);
    assert!(never.cancel());
    assert_eq!(never.join().unwrap(), None::<()>);
    // A timer cannot be cancelled while it runs, nor after that.
    let (begun, has_begun) = mpsc::channel();
    let (let_go, may_end) = mpsc::channel::<()>();
    let timer = Timer::new(Duration::ZERO, move || {
        begun.send(()).unwrap();
        may_end.recv().is_err()
    });
    let timer = timer.start().unwrap();
    has_begun.recv().unwrap();
    assert!(!timer.cancel());
    drop(let_go);
    while !timer.is_finished() {
        yield_now();
    }
    assert!(!timer.cancel());
    assert_eq!(timer.join().unwrap(), Some(true));
}

fn timer_panics() {
    let timer = Timer::new(Duration::ZERO, || panic!("too late")).start().unwrap();
    let error: JoinError = timer.join().unwrap_err();
    assert!(error.to_string().contains("too late"), "{error}");
}

fn a_panic() {
    let named = Thread::new(|| panic!("out of tune")).name("singer").start().unwrap();
    assert!(matches!(named.join(), Err(JoinError::Panicked(_))));
    let nameless = Thread::new(|| panic!("hoarse")).start().unwrap();
    assert!(nameless.join().is_err());
}

fn main_returns() {
    let thread = Thread::new(|| {
        wait_for_mains_end();
        println!("thread done");
    });
    drop(thread.start().unwrap());
    let daemon = Thread::new(|| {
        std::thread::sleep(HOUR);
        println!("daemon done");
    });
    drop(daemon.daemon(true).start().unwrap());
    drop(Timer::new(HOUR, || println!("timer done")).daemon(true).start().unwrap());
    main_ends();
}

fn a_thread_exits() {
    let (let_go, may_end) = mpsc::channel::<()>();
    let other = Thread::new(move || {
        may_end.recv().unwrap_err();
        println!("the other thread done");
    });
    drop(other.start().unwrap());
    let exits = Thread::new(move || -> () {
        drop(let_go);
        std::process::exit(4)
    });
    drop(exits.start().unwrap());
    sleep(HOUR);
}

fn a_thread_exits_after_main() {
    let exits = Thread::new(|| -> () {
        wait_for_mains_end();
        println!("thread exits");
        std::process::exit(4)
    });
    drop(exits.start().unwrap());
    main_ends();
}

fn a_green_thread_exits_after_main() {
    let exits = Thread::new(|| {
        // With a handle, the hub waits in another system call.
        let _reachable = greenline::Handle::current().unwrap();
        let exits = || -> () {
            wait_for_mains_end();
            println!("thread exits");
            std::process::exit(4)
        };
        greenline::spawn(exits).join().unwrap();
    });
    drop(exits.start().unwrap());
    main_ends();
}

fn a_thread_starts_threads() {
    fn next(n: u32) {
        let thread = Thread::new(move || {
            wait_for_mains_end();
            println!("{n}");
            if n > 0 {
                next(n - 1);
            }
        });
        drop(thread.start().unwrap());
    }
    next(3);
    main_ends();
}

fn thread_locals() {
    struct Says(&'static str);
    impl Drop for Says {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(50));
            println!("{}", self.0);
        }
    }
    thread_local! {
        static SAYS: RefCell<Vec<Says>> = const { RefCell::new(Vec::new()) };
    }
    let thread = Thread::new(|| {
        wait_for_mains_end();
        SAYS.with_borrow_mut(|says| says.extend([Says("first"), Says("last")]));
    });
    drop(thread.start().unwrap());
    main_ends();
}

fn a_thread_asks_mains_hub() {
    let main = Handle::current().unwrap();
    let waits = main.clone();
    let ready = Arc::new(AtomicBool::new(false));
    let thread = Thread::new({
        let ready = ready.clone();
        move || {
            // One spawn comes before the end of the hub, one after it.
            let before = waits.spawn(|| sleep(HOUR)).unwrap();
            ready.store(true, SeqCst);
            println!("{:?}", before.join().unwrap_err());
            assert!(waits.spawn(|| ()).is_err());
            println!("HubGone");
        }
    });
    drop(thread.start().unwrap());
    while !ready.load(SeqCst) {
        sleep(Duration::from_millis(1));
    }
    main_ends();
}

fn a_green_thread_starts_one() {
    let starts = spawn(|| {
        let thread = Thread::new(|| {
            wait_for_mains_end();
            println!("thread done");
        });
        drop(thread.start().unwrap());
    });
    starts.join().unwrap();
    main_ends();
}
