//! Starting, joining and ending processes, patched and unpatched.

use crate::support::proc_fs::open_fds;
use crate::support::subprocess::{Case, Ended, is_patched, run, run_until};
use greenline::{Builder, sleep, spawn, thread, timeout, yield_now};
use greenline_process::{Child, Process, active_children, current, parent, pipe};
use std::cell::Cell;
use std::fs::read_dir;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(3600);

pub(crate) const ALONE: &[Case] = &[
    ("exit_code_is_the_closures_result", exit_codes),
    ("exit_code_after_a_signal_is_its_negated_number", signals),
    ("name_defaults_to_the_path_of_child_numbers", names),
    ("start_in_a_daemon_is_an_error", daemon_may_not_start),
    ("join_by_another_process_is_an_error", only_the_parent_joins),
    ("join_parks_only_the_caller", only_who_joins_waits),
    ("join_timeout_is_limited_repeatable_and_shared", waits),
    ("join_by_other_os_threads_works", os_threads_join),
    ("start_with_other_os_threads_is_an_error", refused),
    ("start_with_quiescent_os_threads_works", at_rest),
    ("start_after_joining_os_threads_works", after_joins),
    ("start_a_thousand_times_leaves_no_descriptors", a_thousand),
    ("start_reaps_children_that_were_not_joined", reaped),
    ("child_has_a_new_hub", fresh_hub),
    ("child_changes_only_its_own_memory", no_sharing),
    ("child_reads_stdin_from_dev_null", stdin),
    ("active_children_returns_those_that_have_not_ended", active),
    ("join_after_a_foreign_waitpid_is_an_error", stolen),
    ("join_with_ignored_sigchld_is_an_error", ignored),
    ("start_without_descriptors_is_an_error", no_descriptors),
    ("start_during_an_unwind_works", unwound),
    ("exec_closes_the_descriptors", close_on_exec),
    ("parent_is_alive_while_it_runs", living_parent),
    ("fork_of_c_makes_no_child_of_the_parent", raw_fork),
    ("accept_by_several_processes_goes_on", shared_listener),
];

pub(crate) const OTHERS: &[Case] = &[
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

pub(crate) const TESTS: &[(&str, fn(bool))] = &[
    ("panic_is_printed_with_the_processs_name", |patched| {
        let ended = run("a panic", patched);
        assert_eq!(ended.stdout, "1\n");
        assert!(
            ended.stderr.contains("panicked at crates/greenline-process/tests/process/lifecycle.rs"),
            "{ended:?}"
        );
        assert!(ended.stderr.contains("process 'singer' panicked: out of tune: 3"), "{ended:?}");
    }),
    ("error_is_printed_with_the_processs_name", |patched| {
        let ended = run("an error", patched);
        assert_eq!(ended.stdout, "1\n");
        assert!(ended.stderr.contains("process 'singer' failed: \"hoarse\""), "{ended:?}");
    }),
    ("start_flushes_so_nothing_is_printed_twice", |patched| {
        let Ended { stdout, stderr, .. } = run("half a line", patched);
        assert_eq!(stdout.matches("from rust").count(), 1, "{stdout}");
        assert_eq!(stdout.matches("from C").count(), 1, "{stdout}");
        assert_eq!(stdout.matches("the child's rust").count(), 1, "{stdout}{stderr}");
        assert_eq!(stdout.matches("the child's C").count(), 1, "{stdout}{stderr}");
    }),
    ("child_runs_no_exit_work_of_the_parent", |patched| {
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
    ("main_end_terminates_daemons_and_joins_others", |patched| {
        let ended = run("main ends", patched);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ended.stdout, "main ends\nchild done\n", "{ended:?}");
        let ended = run("main panics", patched);
        assert_eq!(ended.code, 101, "{ended:?}");
        assert_eq!(ended.stdout, "main ends\nchild done\n", "{ended:?}");
    }),
    ("main_end_kills_a_daemon_that_ignores_sigterm", |patched| {
        // It has one second. If it had more, it would print a line.
        let main_ended = Cell::new(None);
        let enough = |_: &str| {
            let since = main_ended.get().unwrap_or_else(Instant::now);
            main_ended.set(Some(since));
            since.elapsed() > Duration::from_secs(1)
        };
        let ended = run_until("a stubborn daemon", patched, enough);
        assert_eq!((ended.code, &*ended.stdout), (0, "asked to end\n"), "{ended:?}");
    }),
    ("parent_is_not_alive_for_an_orphan", |patched| {
        let ended = run_until("the parent is killed", patched, |text| text.contains("orphan"));
        assert_eq!((ended.code, &*ended.stdout), (-9, "alive\norphan\n"), "{ended:?}");
    }),
    ("child_prints_while_a_green_thread_holds_stdout", |patched| {
        let ended = run("a green thread prints", patched);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stdout.contains("the child prints, too\n"), "{ended:?}");
    }),
    ("child_end_waits_for_os_threads_but_not_daemons", |patched| {
        let ended = run("a child's OS threads", patched);
        assert_eq!((ended.code, &*ended.stdout), (0, "closure ends\nthread done\n0\n"), "{ended:?}");
    }),
    ("watchdog_runs_in_a_child_of_a_watched_parent", |patched| {
        let ended = run("watchdogs", patched);
        assert_eq!(ended.stdout, "0 1\n", "{ended:?}");
        assert!(ended.stderr.contains("greenline: green thread 'idler' has not given way"), "{ended:?}");
        assert!(!ended.stderr.contains("the root has not"), "{ended:?}");
    }),
];

fn start<R: greenline_process::Exit>(f: impl FnOnce() -> R + 'static) -> Child {
    Process::new(f).start().unwrap()
}

fn code<R: greenline_process::Exit>(f: impl FnOnce() -> R + 'static) -> i32 {
    start(f).join().unwrap()
}

/// A pipe to wait by: the first end is readable once all copies of the second are closed, in any process.
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
    // SAFETY: the process ends here.
    assert_eq!(code(|| -> i32 { unsafe { libc::_exit(5) } }), 5);
    // Started by a green thread.
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
        // It has ended, so a signal is no error.
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
    // A process that was not started takes no number.
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
            // It can only be asked whether it is alive.
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
            // The child ends by this, and not before.
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
                // The child may start a process as well.
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

/// Returns whether there is any child, ended or not.
fn has_children() -> bool {
    // SAFETY: zeros are a valid value, and there is room for one.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        libc::waitid(libc::P_ALL, 0, &raw mut info, flags) == 0
    }
}

fn a_thousand() {
    // The hub has opened its own descriptors after this.
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
    // A child does not inherit them. It has one more, which stands for its parent.
    let of_first = move || assert_eq!(open_fds(), before + 1);
    assert_eq!(code(of_first), 0);
    // The descriptors of children whose handles were dropped are not inherited either.
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
    // The hub may have opened its own by now: two for the reactor.
    assert!(open_fds() <= before + 3);
    // The next start reaps as well.
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
    // Started on a small stack, and by a generator.
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
    // They are not the children of a child.
    assert_eq!(code(|| active_children().len() as i32), 0);
    for child in active_children() {
        child.kill().unwrap();
        assert_eq!(child.join().unwrap(), -9);
    }
    assert!(active_children().is_empty());
}

fn stolen() {
    let child = start(|| 3);
    // SAFETY: the call takes numbers only.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } != child.pid() as i32 {}
    let error = child.join().unwrap_err().to_string();
    assert!(error.contains("the exit code of process 'Process-1' is not known"), "{error}");
    assert!(!child.is_alive());
    assert_eq!(child.exit_code(), None);
}

fn ignored() {
    // SAFETY: SIG_IGN and SIG_DFL are no handlers.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let child = start(|| sleep(LONG));
    child.kill().unwrap();
    let error = child.join().unwrap_err().to_string();
    assert!(error.contains("is not known") && error.contains("SIGCHLD"), "{error}");
}

fn no_descriptors() {
    assert_eq!(code(|| 3), 3);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: there is room for a limit, and the limit is valid.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        let none = libc::rlimit { rlim_cur: 3, ..limit };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none), 0);
    }
    let error = Process::new(|| ()).start().unwrap_err();
    assert!(error.to_string().contains("Too many open files"), "{error}");
    // SAFETY: the limit is valid.
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
    // The parent of this program may have left descriptors open.
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
        // SAFETY: there is one OS thread, or it and the watchdog. The child ends by `exit`.
        let raw = unsafe { libc::fork() };
        if raw == 0 {
            assert!(inner.join().is_err());
            // The exit does not wait for it.
            std::process::exit(6);
        }
        let mut status = 0;
        // SAFETY: `raw` is a child of this process, and there is room for its status.
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
    // SAFETY: the format has no arguments.
    unsafe { libc::printf(c"from C ".as_ptr()) };
    let child = start(|| {
        print!("the child's rust ");
        // SAFETY: the format has no arguments.
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
    // SAFETY: the handler is a static function.
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
    // When `main` has returned, it does not run any more.
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
        // SAFETY: the handler only stores.
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
    // SAFETY: the process kills itself.
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
    // If patched, std takes each green thread for a thread, so the lock belongs to the other one.
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
    // Green threads that live in the parent. A report in the child must not list them as waiting.
    spawn(|| sleep(LONG));
    yield_now();
    let one = code(move || {
        let idles = Builder::new().name("idler").spawn(|| {
            let until = Instant::now() + Duration::from_millis(300);
            while Instant::now() < until {}
        });
        idles.unwrap().join().unwrap();
        // The root has no green threads now, so it delays nothing.
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {}
        watchdogs() as i32
    });
    println!("{none} {one}");
}
