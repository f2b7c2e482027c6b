//! Real OS threads: who is waited for when the process ends, timers, and what is said of a panic; patched and not.

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

const LONG: Duration = Duration::from_secs(3600);

const ALONE: &[Case] = &[
    ("a join may be limited", join_timeout),
    ("it is alive until it has ended", is_alive),
    ("it has a name", names),
    ("only who joins waits", only_who_joins_waits),
    ("a timer calls once, when its time has come", timer),
    ("a timer may be cancelled", cancelled),
    ("a timer's panic is its joiner's", timer_panics),
];

const OTHERS: &[Case] = &[
    ("a panic", a_panic),
    ("main returns", main_returns),
    ("main panics", || {
        main_returns();
        panic!("main is through");
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
    support::subprocess::main(
        ALONE,
        OTHERS,
        vec![
            ("a panic is said with the thread's name", |patched| {
                let ended = run("a panic", patched);
                assert_eq!(ended.code, 0, "{ended:?}");
                for name in ["singer", "Thread-1"] {
                    assert!(ended.stderr.contains(&format!("thread '{name}'")), "{ended:?}");
                }
                assert_eq!(ended.stderr.matches("panicked at tests/os_thread.rs").count(), 2, "{ended:?}");
            }),
            ("the process ends when those have that are no daemons", |patched| {
                for (name, code) in [("main returns", 0), ("main panics", 101), ("main exits", 3)] {
                    let ended = run(name, patched);
                    assert_eq!((ended.code, &*ended.stdout), (code, "main ends\nthread done\n"), "{ended:?}");
                }
            }),
            ("a thread that exits is not waited for", |patched| {
                let ended = run("a thread exits", patched);
                assert_eq!((ended.code, &*ended.stdout), (4, "the other thread done\n"), "{ended:?}");
                let ended = run("a thread exits after main", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\nthread exits\n"), "{ended:?}");
                let ended = run("a thread with a hub exits after main", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\nthread exits\n"), "{ended:?}");
            }),
            ("those are waited for that are started at the end", |patched| {
                let ended = run("a thread starts threads", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\n3\n2\n1\n0\n"), "{ended:?}");
            }),
            ("its thread-locals are dropped", |patched| {
                let ended = run("thread-locals", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\nfirst\nlast\n"), "{ended:?}");
            }),
            ("who asks for main's hub is told that it is gone", |patched| {
                let ended = run("a thread asks main's hub", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\nHubGone\nHubGone\n"), "{ended:?}");
            }),
            ("one that a green thread has started is waited for", |patched| {
                let ended = run("a green thread starts one", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "main ends\nthread done\n"), "{ended:?}");
            }),
        ],
    )
}

/// Returns when all of `main` is over, and the process waits for its OS threads: then pthread_exit and its like could
/// not be told from it, but that the main OS thread waits in the call that ends the process.
fn wait_for_mains_end() {
    while !MAIN_IS_OVER.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // A moment for what comes between.
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
    // Nothing is left of the wait that would keep the hub from seeing a deadlock.
    let park = || greenline::wait::park(greenline::wait::ticket(), None, "nothing");
    assert!(std::panic::catch_unwind(park).is_err());
    // On an OS thread without a hub.
    let asks = Thread::new(|| thread.join_timeout(Duration::from_millis(5)).unwrap_err());
    let thread = asks.start().unwrap().join().unwrap();
    // Unwound while it waits.
    let elapsed = greenline::timeout(Duration::from_millis(5), || thread.join_timeout(LONG));
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
    assert!(thread.join_timeout(LONG).unwrap().unwrap());
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
    let timer = Timer::new(LONG, || unreachable!("it was cancelled")).start().unwrap();
    let never = Timer::new(Duration::MAX, || unreachable!("it was cancelled")).start().unwrap();
    assert!(!timer.is_finished());
    assert!(timer.cancel());
    assert!(!timer.cancel());
    assert_eq!(timer.join().unwrap(), None::<()>);
    assert!(never.cancel());
    assert_eq!(never.join().unwrap(), None::<()>);
    // While it runs, and when it has run.
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
        std::thread::sleep(LONG);
        println!("daemon done");
    });
    drop(daemon.daemon(true).start().unwrap());
    drop(Timer::new(LONG, || println!("timer done")).daemon(true).start().unwrap());
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
    sleep(LONG);
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
        // So that it waits in another call than one for nothing.
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
            // Before the end, and after.
            let before = waits.spawn(|| sleep(LONG)).unwrap();
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
