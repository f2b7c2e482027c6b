//! Processes: what they end with, what they are told, what they share with whom; patched and not.

mod support;

use greenline::process::{Child, Process, active_children, current, parent, pipe};
use greenline::{Builder, sleep, spawn, thread, timeout, yield_now};
use std::cell::Cell;
use std::fs::read_dir;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use support::proc_fs::open_fds;
use support::subprocess::{Case, Ended, is_patched, run, run_until};

const LONG: Duration = Duration::from_secs(3600);

const ALONE: &[Case] = &[
    ("what a closure returns is the exit code", exit_codes),
    ("a signal is the exit code, negated", signals),
    ("names tell who has started whom", names),
    ("a daemon may not start processes", daemon_may_not_start),
    ("only the parent joins", only_the_parent_joins),
    ("only who joins waits", only_who_joins_waits),
    ("a wait may be limited, repeated and shared", waits),
    ("OS threads may join", os_threads_join),
    ("with other OS threads it is refused", refused),
    ("OS threads that rest do no harm", at_rest),
    ("OS threads that were joined do no harm", after_joins),
    ("a thousand leave nothing behind", a_thousand),
    ("who is not joined is reaped", reaped),
    ("the child has a hub of its own", fresh_hub),
    ("memory is not shared", no_sharing),
    ("the child reads nothing", stdin),
    ("active children are those that have not ended", active),
    ("a status that others have taken is an error", stolen),
    ("an ignored SIGCHLD is an error", ignored),
    ("without descriptors there is no child", no_descriptors),
    ("an unwind does not harm the child", unwound),
    ("descriptors are closed on exec", close_on_exec),
    ("a parent that lives is alive", living_parent),
    ("C's fork in a child is no child of ours", raw_fork),
    ("processes that accept from one socket go on", shared_listener),
];

const OTHERS: &[Case] = &[
    ("a panic", a_panic),
    ("an error", an_error),
    ("half a line", half_a_line),
    ("guards", guards),
    ("main ends", main_ends),
    ("main panics", || {
        main_ends();
        panic!("main is through");
    }),
    ("a stubborn daemon", stubborn_daemon),
    ("the parent is killed", parent_killed),
    ("a green thread prints", green_prints),
    ("a child's OS threads", childs_threads),
    ("watchdogs", watchdogs),
];

fn main() -> ExitCode {
    support::subprocess::main(
        ALONE,
        OTHERS,
        vec![
            ("a panic is said with the process's name", |patched| {
                let ended = run("a panic", patched);
                assert_eq!(ended.stdout, "1\n");
                assert!(ended.stderr.contains("panicked at tests/process_lifecycle.rs"), "{ended:?}");
                assert!(ended.stderr.contains("process 'singer' panicked: out of tune: 3"), "{ended:?}");
            }),
            ("an error is said with the process's name", |patched| {
                let ended = run("an error", patched);
                assert_eq!(ended.stdout, "1\n");
                assert!(ended.stderr.contains("process 'singer' failed: \"hoarse\""), "{ended:?}");
            }),
            ("nothing is printed twice", |patched| {
                let Ended { stdout, stderr, .. } = run("half a line", patched);
                assert_eq!(stdout.matches("from rust").count(), 1, "{stdout}");
                assert_eq!(stdout.matches("from C").count(), 1, "{stdout}");
                assert_eq!(stdout.matches("the child's rust").count(), 1, "{stdout}{stderr}");
                assert_eq!(stdout.matches("the child's C").count(), 1, "{stdout}{stderr}");
            }),
            ("the parent's work is not done twice", |patched| {
                let Ended { code, stdout, stderr } = run("guards", patched);
                assert_eq!(code, 0, "{stderr}");
                let sorted = |text: &str| {
                    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
                    lines.sort();
                    lines
                };
                let expected = "child returns\nchild exits\nparent goes on\nguard dropped\nguard dropped in the child\n\
                                thread-local dropped\nthread-local dropped in the child\natexit";
                let twice = if cfg!(feature = "patch") { "" } else { "\nthread-local dropped" };
                assert_eq!(sorted(&stdout), sorted(&format!("{expected}{twice}")));
            }),
            ("when main ends daemons are terminated and others joined", |patched| {
                let ended = run("main ends", patched);
                assert_eq!(ended.code, 0, "{ended:?}");
                assert_eq!(ended.stdout, "main ends\nchild done\n", "{ended:?}");
                let ended = run("main panics", patched);
                assert_eq!(ended.code, 101, "{ended:?}");
                assert_eq!(ended.stdout, "main ends\nchild done\n", "{ended:?}");
            }),
            ("a daemon that does not want to end is killed", |patched| {
                // It has a second, and would say it if it had more.
                let main_ended = Cell::new(None);
                let enough = |_: &str| {
                    let since = main_ended.get().unwrap_or_else(Instant::now);
                    main_ended.set(Some(since));
                    since.elapsed() > Duration::from_secs(1)
                };
                let ended = run_until("a stubborn daemon", patched, enough);
                assert_eq!((ended.code, &*ended.stdout), (0, "asked to end\n"), "{ended:?}");
            }),
            ("an orphan can notice", |patched| {
                let ended = run_until("the parent is killed", patched, |text| text.contains("orphan"));
                assert_eq!((ended.code, &*ended.stdout), (-9, "alive\norphan\n"), "{ended:?}");
            }),
            ("what a green thread has of stdout is not kept from the child", |patched| {
                let ended = run("a green thread prints", patched);
                assert_eq!(ended.code, 0, "{ended:?}");
                assert!(ended.stdout.contains("the child prints, too\n"), "{ended:?}");
            }),
            ("a child waits for its OS threads, not for daemons", |patched| {
                let ended = run("a child's OS threads", patched);
                assert_eq!((ended.code, &*ended.stdout), (0, "closure ends\nthread done\n0\n"), "{ended:?}");
            }),
            ("a child is watched if its parent is", |patched| {
                let ended = run("watchdogs", patched);
                assert_eq!(ended.stdout, "0 1\n", "{ended:?}");
                assert!(
                    ended.stderr.contains("greenline: green thread 'idler' has not given way"),
                    "{ended:?}"
                );
                assert!(!ended.stderr.contains("the root has not"), "{ended:?}");
            }),
        ],
    )
}

fn start<R: greenline::process::Exit>(f: impl FnOnce() -> R + 'static) -> Child {
    Process::new(f).start().unwrap()
}

fn code<R: greenline::process::Exit>(f: impl FnOnce() -> R + 'static) -> i32 {
    start(f).join().unwrap()
}

/// Something to wait for that any process can bring about: that all copies of the second are closed.
fn gate() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

fn pass(mut gate: UnixStream) {
    assert_eq!(gate.read(&mut [0]).unwrap(), 0);
}

fn exit_codes() {
    assert_eq!(code(|| ()), 0);
    assert_eq!(code(|| 7), 7);
    assert_eq!(code(|| 300), 44);
    assert_eq!(code(|| -1), 255);
    assert_eq!(code(|| 9u8), 9);
    assert_eq!(code(|| ExitCode::from(200)), 200);
    assert_eq!(code(|| ExitCode::FAILURE), 1);
    assert_eq!(code(|| Ok::<_, ()>(3)), 3);
    assert_eq!(code(|| Err::<(), _>("no")), 1);
    assert_eq!(
        code(|| if current().name() != "x" {
            panic!("boom")
        }),
        1
    );
    assert_eq!(code(|| -> i32 { std::process::exit(300) }), 44);
    assert_eq!(code(|| spawn(|| -> i32 { std::process::exit(8) }).join().unwrap()), 8);
    // SAFETY: ends the process.
    assert_eq!(code(|| -> i32 { unsafe { libc::_exit(5) } }), 5);
    // From a green thread.
    assert_eq!(spawn(|| code(|| 6)).join().unwrap(), 6);
    assert_eq!(spawn(|| code(|| -> i32 { std::process::exit(4) })).join().unwrap(), 4);
}

fn signals() {
    for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGUSR1] {
        let child = start(|| sleep(LONG));
        assert_eq!(child.exit_code(), None);
        assert!(child.is_alive());
        child.signal(signal).unwrap();
        assert_eq!(child.join().unwrap(), -signal);
        assert_eq!(child.exit_code(), Some(-signal));
        assert!(!child.is_alive());
        // It does not matter any more.
        child.terminate().unwrap();
        child.kill().unwrap();
    }
    let child = start(|| sleep(LONG));
    child.terminate().unwrap();
    assert_eq!(child.join().unwrap(), -15);
    let child = start(|| sleep(LONG));
    child.kill().unwrap();
    assert_eq!(child.join().unwrap(), -9);
    assert_eq!(code(|| -> i32 { std::process::abort() }), -libc::SIGABRT);
    assert!(start(|| ()).signal(1000).is_err());
}

fn names() {
    assert_eq!((current().name(), current().is_daemon()), ("main", false));
    assert!(parent().is_none());
    let main = std::process::id();
    let is_told = |name: &'static str, daemon: bool| {
        move || {
            let parent = parent().unwrap();
            assert_eq!((current().name(), current().is_daemon()), (name, daemon));
            assert_eq!((parent.name(), parent.pid(), parent.is_alive()), ("main", main, true));
            assert_eq!(std::os::unix::process::parent_id(), main);
        }
    };
    let first = start(is_told("Process-1", false));
    assert_eq!((first.name(), first.is_daemon()), ("Process-1", false));
    assert_eq!(first.join().unwrap(), 0);
    let named = Process::new(is_told("two", true)).name("two").daemon(true).start().unwrap();
    assert_eq!((named.name(), named.is_daemon()), ("two", true));
    assert_eq!(named.join().unwrap(), 0);
    let third = start(|| {
        let inner = [start(|| ()), start(|| assert_eq!(current().name(), "Process-3:2"))];
        assert_eq!(inner.each_ref().map(Child::name), ["Process-3:1", "Process-3:2"]);
        assert_eq!(inner[1].join().unwrap(), 0);
        let deeper = || start(|| assert_eq!(current().name(), "Process-3:3:1")).join().unwrap();
        start(deeper).join().unwrap()
    });
    assert_eq!((third.name(), third.join().unwrap()), ("Process-3", 0));
    // One that was refused has no number.
    assert_eq!(start(|| ()).name(), "Process-4");
}

fn daemon_may_not_start() {
    let child = Process::new(|| {
        let error = Process::new(|| ()).start().unwrap_err().to_string();
        assert!(error.contains("process 'Process-1' is a daemon and may not start processes"), "{error}");
    });
    assert_eq!(child.daemon(true).start().unwrap().join().unwrap(), 0);
}

fn only_the_parent_joins() {
    let (gate, open) = gate();
    let one = Arc::new(start(|| {
        drop(open);
        sleep(LONG);
    }));
    pass(gate);
    let other = start({
        let one = one.clone();
        move || {
            let error = one.join().unwrap_err().to_string();
            assert!(error.contains("process 'Process-1' can be joined only by its parent"), "{error}");
            // But seen to be alive, and ended.
            assert!(one.is_alive());
            assert_eq!(one.exit_code(), None);
            one.kill().unwrap();
            greenline::io::wait_readable(one.sentinel(), None).unwrap();
            assert!(!one.is_alive());
        }
    });
    assert_eq!(other.join().unwrap(), 0);
    assert_eq!(one.join().unwrap(), -9);
}

fn only_who_joins_waits() {
    let (ours, mut theirs) = pipe::<(), ()>().unwrap();
    let child = Rc::new(start(move || {
        theirs.recv().unwrap_err();
        5
    }));
    let turns = Rc::new(Cell::new(0));
    let other = spawn({
        let turns = turns.clone();
        move || {
            for _ in 0..1000 {
                yield_now();
                turns.set(turns.get() + 1);
            }
            // It ends by this, and not before.
            drop(ours);
        }
    });
    let joined = (0..3).map(|_| (child.clone(), turns.clone()));
    let joined = joined.map(|(child, turns)| spawn(move || (child.join().unwrap(), turns.get())));
    let joined: Vec<_> = joined.collect();
    assert_eq!((child.join().unwrap(), turns.get()), (5, 1000));
    joined.into_iter().for_each(|joined| assert_eq!(joined.join().unwrap(), (5, 1000)));
    other.join().unwrap();
}

fn waits() {
    let child = Arc::new(start(|| sleep(LONG)));
    assert_eq!(child.join_timeout(Duration::ZERO).unwrap(), None);
    assert_eq!(child.join_timeout(Duration::from_millis(5)).unwrap(), None);
    let joins = child.clone();
    let elapsed = spawn(move || timeout(Duration::from_millis(5), || joins.join()).is_err());
    assert!(elapsed.join().unwrap());
    let joins = child.clone();
    let killed = spawn(move || joins.join());
    yield_now();
    killed.kill();
    assert!(killed.join().is_err());
    let joined: Vec<_> =
        (0..5).map(|_| child.clone()).map(|child| spawn(move || child.join().unwrap())).collect();
    yield_now();
    child.kill().unwrap();
    joined.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), -9));
    assert_eq!(child.join().unwrap(), -9);
    assert_eq!(child.join_timeout(Duration::MAX).unwrap(), Some(-9));
    assert_eq!(child.join_timeout(Duration::ZERO).unwrap(), Some(-9));
}

fn os_threads_join() {
    let child = Arc::new(start(|| sleep(LONG)));
    let join = |child: Arc<Child>| move || child.join().unwrap();
    let threads: Vec<_> = (0..3).map(|_| thread::Thread::new(join(child.clone())).start().unwrap()).collect();
    let gives_up = {
        let child = child.clone();
        thread::Thread::new(move || child.join_timeout(Duration::from_millis(5)).unwrap()).start().unwrap()
    };
    assert_eq!(gives_up.join().unwrap(), None);
    child.kill().unwrap();
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), -9));
}

fn refused() {
    let (held, is_held) = mpsc::channel();
    let (let_go, may_end) = mpsc::channel::<()>();
    let holder = thread::Thread::new(move || {
        let _out = std::io::stdout().lock();
        held.send(()).unwrap();
        may_end.recv().unwrap();
    });
    let holder = holder.name("holds-stdout").start().unwrap();
    is_held.recv().unwrap();
    let error = Process::new(|| ()).start().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("It has 1 ('holds-stdout')"), "{text}");
    assert!(text.contains("Start processes first"), "{text}");
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    let_go.send(()).unwrap();
    holder.join().unwrap();
    assert_eq!(start(|| println!("fine")).name(), "Process-1");
}

fn at_rest() {
    greenline::watchdog::start(Duration::from_millis(1)).unwrap();
    let timer = thread::Timer::new(LONG, || ()).start().unwrap();
    let timers: Vec<_> = (0..10).map(|_| thread::Timer::new(LONG, || ()).start().unwrap()).collect();
    for _ in 0..100 {
        assert_eq!(
            code(|| {
                let of_child = read_dir("/proc/self/task").unwrap().count();
                assert_eq!(of_child, 2, "the child and its watchdog");
                // And it may do the same.
                code(|| 3)
            }),
            3
        );
    }
    timers.iter().chain([&timer]).for_each(|timer| assert!(timer.cancel()));
    timers.into_iter().for_each(|timer| assert_eq!(timer.join().unwrap(), None));
}

fn after_joins() {
    for n in 0..100 {
        assert_eq!(thread::Thread::new(move || n).start().unwrap().join().unwrap(), n);
        assert_eq!(code(|| ()), 0);
    }
}

/// Whether there is any child, ended or not.
fn has_children() -> bool {
    // SAFETY: all zeros is a value of it, and there is room for one.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        libc::waitid(libc::P_ALL, 0, &raw mut info, flags) == 0
    }
}

fn a_thousand() {
    // The hub's own are there from now on.
    let child = start(|| sleep(LONG));
    assert_eq!(child.join_timeout(Duration::from_millis(1)).unwrap(), None);
    child.kill().unwrap();
    child.join().unwrap();
    drop(child);
    let before = open_fds();
    for n in 0..1000 {
        assert_eq!(code(move || n), n & 255);
    }
    assert_eq!(open_fds(), before);
    assert!(!has_children());
    assert!(active_children().is_empty());
    // Nor does a child inherit them: its own, to know its parent by, is one more.
    let of_first = move || assert_eq!(open_fds(), before + 1);
    assert_eq!(code(of_first), 0);
    // And nothing of those whose handles are gone.
    (0..20).for_each(|_| drop(Process::new(|| sleep(LONG)).daemon(true).start().unwrap()));
    assert_eq!(code(of_first), 0);
}

fn reaped() {
    let before = open_fds();
    for _ in 0..50 {
        drop(start(|| ()));
    }
    while !active_children().is_empty() {
        sleep(Duration::from_millis(1));
    }
    assert!(!has_children());
    // The hub's own may be there by now: two for the reactor.
    assert!(open_fds() <= before + 3);
    // By the next start as well.
    drop(start(|| ()));
    while has_children() {
        sleep(Duration::from_millis(1));
        let last = start(|| ());
        assert_eq!(last.join().unwrap(), 0);
    }
}

fn fresh_hub() {
    let runs = Rc::new(Cell::new(0));
    let ticker = spawn({
        let runs = runs.clone();
        move || {
            loop {
                runs.set(runs.get() + 1);
                sleep(Duration::from_millis(1));
            }
        }
    });
    sleep(Duration::from_millis(5));
    let in_child = {
        let runs = runs.clone();
        move || {
            let at_start = runs.get();
            assert_eq!(greenline::stats().alive, 0);
            assert!(greenline::current().is_root());
            sleep(Duration::from_millis(20));
            assert_eq!(runs.get(), at_start, "the parent's green threads do not run here");
            let doubled = spawn(|| {
                sleep(Duration::from_millis(1));
                21 * 2
            });
            assert_eq!(doubled.join().unwrap(), 42);
            let from_outside = greenline::Handle::current().unwrap();
            let os_thread = thread::Thread::new(move || from_outside.spawn(|| 7).unwrap().join().unwrap());
            assert_eq!(os_thread.start().unwrap().join().unwrap(), 7);
        }
    };
    assert_eq!(code(in_child.clone()), 0);
    assert_eq!(spawn(|| code(in_child)).join().unwrap(), 0);
    // With a small stack, and out of a generator.
    let small = Builder::new().stack_size(64 << 10).spawn(|| code(|| spawn(|| 3).join().unwrap())).unwrap();
    assert_eq!(small.join().unwrap(), 3);
    let mut generator = greenline::Generator::new(|y| y.yield_(code(|| spawn(|| 4).join().unwrap())));
    assert_eq!(generator.next(), Some(4));
    ticker.kill();
}

static SHARED: AtomicU32 = AtomicU32::new(1);

fn no_sharing() {
    let local = Rc::new(Cell::new(1));
    let change = {
        let local = local.clone();
        move || {
            SHARED.store(2, SeqCst);
            local.set(2);
            i32::from(local.get() == 2 && SHARED.load(SeqCst) == 2)
        }
    };
    assert_eq!(code(change), 1);
    assert_eq!((SHARED.load(SeqCst), local.get()), (1, 1));
}

fn stdin() {
    assert_eq!(code(|| assert_eq!(std::io::stdin().read(&mut [0; 10]).unwrap(), 0)), 0);
    let cat = || std::process::Command::new("cat").status().unwrap().code().unwrap();
    assert_eq!(code(cat), 0);
}

fn active() {
    assert!(active_children().is_empty());
    let children: Vec<_> = (0..3).map(|_| start(|| sleep(LONG))).collect();
    let names = || active_children().iter().map(|child| child.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(), ["Process-1", "Process-2", "Process-3"]);
    children[1].kill().unwrap();
    while children[1].is_alive() {
        yield_now();
    }
    assert_eq!(names().len(), 2);
    assert!(!names().contains(&"Process-2".to_owned()));
    // Not the child's.
    assert_eq!(code(|| active_children().len() as i32), 0);
    for child in active_children() {
        child.kill().unwrap();
        assert_eq!(child.join().unwrap(), -9);
    }
    assert!(active_children().is_empty());
}

fn stolen() {
    let child = start(|| 3);
    // SAFETY: no pointers.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } != child.pid() as i32 {}
    let error = child.join().unwrap_err().to_string();
    assert!(error.contains("the exit code of process 'Process-1' is not known"), "{error}");
    assert!(!child.is_alive());
    assert_eq!(child.exit_code(), None);
}

fn ignored() {
    // SAFETY: no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let child = start(|| sleep(LONG));
    child.kill().unwrap();
    let error = child.join().unwrap_err().to_string();
    assert!(error.contains("is not known") && error.contains("SIGCHLD"), "{error}");
}

fn no_descriptors() {
    assert_eq!(code(|| 3), 3);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for a limit, and a valid one.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        let none = libc::rlimit { rlim_cur: 3, ..limit };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none), 0);
    }
    let error = Process::new(|| ()).start().unwrap_err();
    assert!(error.to_string().contains("Too many open files"), "{error}");
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    assert!(!has_children());
    assert_eq!(code(|| 3), 3);
}

fn unwound() {
    struct Starts;
    impl Drop for Starts {
        fn drop(&mut self) {
            assert_eq!(code(|| spawn(|| 3).join().unwrap()), 3);
        }
    }
    let killed = spawn(|| {
        let _starts = Starts;
        sleep(LONG);
    });
    yield_now();
    killed.kill();
    assert!(killed.join().is_err());
}

fn close_on_exec() {
    let seen = || std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap().stdout;
    // Whatever our own parent has left open.
    let before = seen();
    let here = open_fds();
    let (_ours, theirs) = pipe::<(), ()>().unwrap();
    let child = start(move || {
        let _theirs = theirs;
        sleep(Duration::from_millis(1));
        assert!(open_fds() > here, "the pipe, our parent's, the hub's");
        assert_eq!(seen(), before);
    });
    assert_eq!(child.join().unwrap(), 0);
}

fn living_parent() {
    let child = start(|| {
        let parent = parent().unwrap();
        let waited = greenline::io::wait_readable(parent.sentinel(), Some(Instant::now()));
        assert_eq!(waited.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert!(parent.is_alive());
    });
    assert_eq!(child.join().unwrap(), 0);
}

fn raw_fork() {
    let child = start(|| {
        let inner = start(|| sleep(LONG));
        // SAFETY: one OS thread (or that and the watchdog); the child leaves by `exit`.
        let raw = unsafe { libc::fork() };
        if raw == 0 {
            assert!(inner.join().is_err());
            // And does not wait for it.
            std::process::exit(6);
        }
        let mut status = 0;
        // SAFETY: a child of ours, and a word for its status.
        assert_eq!(unsafe { libc::waitpid(raw, &raw mut status, 0) }, raw);
        assert_eq!(libc::WEXITSTATUS(status), 6);
        assert!(inner.is_alive());
        inner.kill().unwrap();
    });
    assert_eq!(child.join().unwrap(), 0);
}

fn shared_listener() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    if !is_patched() {
        return;
    }
    let children: Vec<_> = (0..3)
        .map(|_| {
            let listener = listener.try_clone().unwrap();
            let (mut here, mut there) = UnixStream::pair().unwrap();
            let child = start(move || {
                spawn(move || while listener.accept().is_ok() {});
                let mut byte = [0];
                while there.read_exact(&mut byte).is_ok() {
                    there.write_all(&byte).unwrap();
                }
            });
            here.write_all(&[0]).unwrap();
            here.read_exact(&mut [0]).unwrap();
            (child, here)
        })
        .collect();
    for _ in 0..3000 {
        drop(std::net::TcpStream::connect(address).unwrap());
        for (_, here) in &children {
            let mut here = here;
            here.write_all(&[1]).unwrap();
            here.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            here.read_exact(&mut [0]).expect("it waits for a connection that another has taken");
        }
    }
    for (child, here) in children {
        drop(here);
        child.kill().unwrap();
        child.join().unwrap();
    }
}

fn a_panic() {
    let sings = || {
        if current().name() == "singer" {
            panic!("out of tune: {}", 3)
        }
    };
    println!("{}", Process::new(sings).name("singer").start().unwrap().join().unwrap());
}

fn an_error() {
    println!("{}", Process::new(|| Err::<(), _>("hoarse")).name("singer").start().unwrap().join().unwrap());
}

fn half_a_line() {
    print!("from rust ");
    // SAFETY: a format without arguments.
    unsafe { libc::printf(c"from C ".as_ptr()) };
    let child = start(|| {
        print!("the child's rust ");
        // SAFETY: as above.
        unsafe { libc::printf(c"the child's C ".as_ptr()) };
    });
    child.join().unwrap();
}

fn guards() {
    extern "C" fn at_exit() {
        println!("atexit");
    }
    struct Guard(&'static str);
    impl Drop for Guard {
        fn drop(&mut self) {
            println!("{}", self.0);
        }
    }
    // SAFETY: a function that is always there.
    unsafe { libc::atexit(at_exit) };
    let _guard = Guard("guard dropped");
    thread_local! {
        static OURS: Guard = const { Guard("thread-local dropped") };
        static CHILDS: Guard = const { Guard("thread-local dropped in the child") };
    }
    OURS.with(|_| {});
    let child = start(|| {
        let _guard = Guard("guard dropped in the child");
        println!("child returns");
    });
    child.join().unwrap();
    let child = start(|| -> i32 {
        println!("child exits");
        CHILDS.with(|_| {});
        std::process::exit(0)
    });
    child.join().unwrap();
    println!("parent goes on");
}

fn main_ends() {
    let daemon = Process::new(|| sleep(LONG)).daemon(true).start().unwrap();
    drop(daemon);
    let (gate, open) = gate();
    let child = start(move || {
        drop(open);
        sleep(Duration::from_millis(100));
        println!("child done");
    });
    drop(child);
    pass(gate);
    // Does not run any more when main is over.
    spawn(|| {
        sleep(Duration::from_millis(10));
        println!("a green thread goes on");
    });
    println!("main ends");
}

fn stubborn_daemon() {
    static ASKED: AtomicBool = AtomicBool::new(false);
    extern "C" fn asked(_: i32) {
        ASKED.store(true, SeqCst);
    }
    let (gate, open) = gate();
    let daemon = Process::new(move || {
        // SAFETY: a handler that only stores.
        unsafe { libc::signal(libc::SIGTERM, asked as *const () as usize) };
        drop(open);
        while !ASKED.load(SeqCst) {
            sleep(Duration::from_millis(1));
        }
        println!("asked to end");
        sleep(Duration::from_millis(1300));
        println!("survived");
    });
    daemon.daemon(true).start().unwrap();
    pass(gate);
}

fn parent_killed() {
    let (gate, open) = gate();
    start(move || {
        let parent = parent().unwrap();
        if parent.is_alive() {
            println!("alive");
        }
        drop(open);
        let ticks = Rc::new(Cell::new(0));
        spawn({
            let ticks = ticks.clone();
            move || {
                loop {
                    ticks.set(ticks.get() + 1);
                    sleep(Duration::from_millis(1));
                }
            }
        });
        yield_now();
        greenline::io::wait_readable(parent.sentinel(), None).unwrap();
        if !parent.is_alive() && ticks.get() > 0 {
            println!("orphan");
        }
    });
    pass(gate);
    // SAFETY: ends this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

fn green_prints() {
    let prints = spawn(|| {
        let mut out = std::io::stdout().lock();
        write!(out, "a green thread").unwrap();
        sleep(Duration::from_millis(20));
        writeln!(out, " prints").unwrap();
    });
    yield_now();
    // Where each is a thread of its own to std, the lock is the other one's.
    assert!(is_patched() || !prints.is_finished());
    assert_eq!(code(|| println!("the child prints, too")), 0);
    prints.join().unwrap();
}

fn childs_threads() {
    let child = start(|| {
        let (done, is_done) = mpsc::channel::<()>();
        let daemon = thread::Thread::new(move || {
            is_done.recv().unwrap();
            println!("daemon done");
        });
        daemon.daemon(true).start().unwrap();
        let thread = thread::Thread::new(move || {
            std::thread::sleep(Duration::from_millis(50));
            println!("thread done");
            std::mem::forget(done);
        });
        thread.start().unwrap();
        println!("closure ends");
    });
    println!("{}", child.join().unwrap());
}

fn watchdogs() {
    greenline::watchdog::stop();
    let watchdogs = || {
        let names = read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path().join("comm"));
        names
            .filter(|comm| {
                std::fs::read_to_string(comm).is_ok_and(|name| name.starts_with("greenline-watch"))
            })
            .count()
    };
    while watchdogs() > 0 {
        sleep(Duration::from_millis(1));
    }
    let none = code(move || watchdogs() as i32);
    greenline::watchdog::start(Duration::from_millis(50)).unwrap();
    // Some who are alive in the parent, and would be said to wait in the child.
    spawn(|| sleep(LONG));
    yield_now();
    let one = code(move || {
        let idles = Builder::new().name("idler").spawn(|| {
            let until = Instant::now() + Duration::from_millis(300);
            while Instant::now() < until {}
        });
        idles.unwrap().join().unwrap();
        // Without a green thread of its own, it keeps nobody waiting.
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {}
        watchdogs() as i32
    });
    println!("{none} {one}");
}
