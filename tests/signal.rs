//! Signals: which green threads run for them, on which hub, and what is done with them when nobody subscribes.

#![cfg(feature = "patch")]

mod support;

use greenline::signal::{self, SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use greenline::{Handle, patch, wait};
use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use support::subprocess::{command, run_cases_before_main};

/// What never takes so long, unless it is lost.
const LOST: Duration = Duration::from_secs(30);

/// Sends one to the process: the kernel chooses the OS thread.
fn send(signal: i32) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
}

/// Sends one to this OS thread, which has it handled before this returns.
fn send_here(signal: i32) {
    // SAFETY: no pointers. `raise` would ask who this green thread is.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal) };
    assert_eq!(sent, 0);
}

/// Who handles it now, as the kernel knows it.
fn handler(signal: i32) -> usize {
    // SAFETY: asks; all zeros is a value of it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(signal, std::ptr::null(), &raw mut action), 0);
        action.sa_sigaction
    }
}

/// Lets the others run until it is so.
fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < LOST, "it never is so");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn each_delivery_is_a_green_thread_of_the_hub_that_has_subscribed() {
    patch::all();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let inside = seen.clone();
    // SAFETY: no preconditions.
    let os_thread = || unsafe { libc::gettid() };
    let subscription = signal::handle(SIGUSR1, move || {
        let who = greenline::current();
        // It may block, as any green thread may.
        thread::sleep(Duration::from_millis(1));
        inside.borrow_mut().push((os_thread(), who.id(), who.name()));
    });
    let subscription = subscription.unwrap();
    assert_eq!(subscription.signal(), SIGUSR1);
    for _ in 0..1000 {
        send_here(SIGUSR1);
    }
    assert!(seen.borrow().is_empty(), "not in the middle of what runs");
    until(|| seen.borrow().len() == 1000);
    let mut all = seen.take();
    assert!(all.iter().all(|(os, _, name)| *os == os_thread() && &**name == "SIGUSR1"));
    all.sort_by_key(|(_, id, _)| format!("{id}"));
    all.dedup();
    assert_eq!(all.len(), 1000);
    subscription.cancel();
}

/// An OS thread without a hub sends, and waits for the answer; the hub sleeps, or is about to, or is not.
#[test]
fn a_hub_that_waits_is_woken_and_no_signal_is_lost() {
    patch::all();
    const ROUNDS: u32 = 3000;
    let (answer, answers) = mpsc::channel();
    let _subscription = signal::handle(SIGUSR2, move || answer.send(()).unwrap()).unwrap();
    let sender = greenline::thread::Thread::new(move || {
        for round in 0..ROUNDS {
            // To the process, or to this OS thread, which is none of the hub's.
            if round % 2 == 0 {
                send(SIGUSR2)
            } else {
                send_here(SIGUSR2)
            }
            answers.recv_timeout(LOST).unwrap_or_else(|_| panic!("signal {round} was lost"));
            if round % 3 == 0 {
                thread::sleep(Duration::from_micros(u64::from(round % 100)));
            }
        }
    });
    sender.start().unwrap().join().unwrap();
}

#[test]
fn a_hub_that_never_sleeps_has_them_handled_too() {
    patch::all();
    let seen = Rc::new(Cell::new(0));
    let inside = seen.clone();
    let subscription = signal::handle(libc::SIGRTMIN(), move || inside.set(inside.get() + 1)).unwrap();
    let spinner = greenline::spawn(|| {
        loop {
            greenline::yield_now();
        }
    });
    let start = Instant::now();
    for n in 1..=100 {
        send_here(libc::SIGRTMIN());
        while seen.get() < n {
            assert!(start.elapsed() < LOST);
            greenline::yield_now();
        }
    }
    spinner.kill();
    drop(subscription);
}

#[test]
fn all_subscribers_of_all_hubs_are_told() {
    patch::all();
    let count = Rc::new(Cell::new(0));
    let plus = |n| {
        let count = count.clone();
        signal::handle(SIGHUP, move || count.set(count.get() + n)).unwrap()
    };
    let (ones, hundreds) = (plus(1), plus(100));
    static ELSEWHERE: AtomicU32 = AtomicU32::new(0);
    let (ready, is_ready) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let other = greenline::thread::Thread::new(move || {
        let subscription = signal::handle(SIGHUP, || _ = ELSEWHERE.fetch_add(1, SeqCst)).unwrap();
        ready.send(()).unwrap();
        stopped.recv().unwrap();
        drop(subscription);
    });
    let other = other.start().unwrap();
    is_ready.recv().unwrap();
    send(SIGHUP);
    until(|| count.get() == 101 && ELSEWHERE.load(SeqCst) == 1);
    drop(ones);
    send(SIGHUP);
    until(|| count.get() == 201 && ELSEWHERE.load(SeqCst) == 2);
    stop.send(()).unwrap();
    other.join().unwrap();
    send(SIGHUP);
    until(|| count.get() == 301);
    assert_eq!(ELSEWHERE.load(SeqCst), 2);
    drop(hundreds);
    assert_eq!(handler(SIGHUP), libc::SIG_DFL);
}

#[test]
fn what_was_done_before_is_done_again_afterwards() {
    patch::all();
    static BEFORE: AtomicU32 = AtomicU32::new(0);
    extern "C" fn before(_: i32) {
        BEFORE.fetch_add(1, SeqCst);
    }
    let own = before as *const () as usize;
    // SAFETY: a handler that does what handlers may.
    unsafe { libc::signal(SIGWINCH, own) };
    let seen = Rc::new(Cell::new(0));
    let subscribe = || {
        let seen = seen.clone();
        signal::handle(SIGWINCH, move || seen.set(seen.get() + 1)).unwrap()
    };
    for round in 1..=3 {
        let (one, two) = (subscribe(), subscribe());
        drop(one);
        send_here(SIGWINCH);
        until(|| seen.get() == round);
        assert_eq!(BEFORE.load(SeqCst), round - 1);
        two.cancel();
        assert_eq!(handler(SIGWINCH), own);
        send_here(SIGWINCH);
        assert_eq!((BEFORE.load(SeqCst), seen.get()), (round, round));
    }
    // Somebody else takes it meanwhile: then it is theirs.
    let subscription = subscribe();
    // SAFETY: as above.
    unsafe { libc::signal(SIGWINCH, libc::SIG_IGN) };
    drop(subscription);
    assert_eq!(handler(SIGWINCH), libc::SIG_IGN);
}

#[test]
fn an_os_thread_that_ends_subscribes_no_more() {
    patch::all();
    let other = greenline::thread::Thread::new(|| {
        let dropped = Rc::new(());
        let kept = dropped.clone();
        std::mem::forget(signal::handle(libc::SIGPROF, move || drop(kept.clone())).unwrap());
        assert!(![libc::SIG_DFL, libc::SIG_IGN].contains(&handler(libc::SIGPROF)));
        assert_eq!(Rc::strong_count(&dropped), 2);
    });
    other.start().unwrap().join().unwrap();
    // What ends the hub comes after what can be joined.
    until(|| handler(libc::SIGPROF) == libc::SIG_DFL);
}

#[test]
fn those_that_cannot_wait_are_refused() {
    let refused = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGABRT,
        0,
        -1,
        65,
        // The C library's own.
        32,
    ];
    for number in refused {
        let before = (1..=31).contains(&number).then(|| handler(number));
        let error = signal::handle(number, || ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{number}: {error}");
        assert_eq!(before, (1..=31).contains(&number).then(|| handler(number)));
    }
    let text = signal::handle(libc::SIGKILL, || ()).unwrap_err().to_string();
    assert_eq!(text, "SIGKILL cannot be handled by a green thread: the kernel lets nobody handle it");
}

#[test]
fn while_somebody_subscribes_it_is_no_deadlock() {
    fn waits_for_ever() -> bool {
        let ended = catch_unwind(AssertUnwindSafe(|| wait::park(wait::ticket(), None, "what never comes")));
        let text = ended.err().map(|thrown| *thrown.downcast::<String>().unwrap());
        text.is_some_and(|text| text.contains("deadlock"))
    }
    patch::all();
    let other = greenline::thread::Thread::new(|| {
        assert!(waits_for_ever());
        let ticket = wait::ticket();
        let subscription = signal::handle(libc::SIGVTALRM, move || assert!(ticket.wake())).unwrap();
        // A hub that finds nobody to wake it would panic here.
        let sender = greenline::thread::Thread::new(|| {
            thread::sleep(Duration::from_millis(20));
            send(libc::SIGVTALRM);
        });
        let sender = sender.start().unwrap();
        wait::park(ticket, None, "a signal");
        sender.join().unwrap();
        // Nor does anybody wait for it who waits for green threads.
        greenline::join_everything();
        drop(subscription);
        assert!(waits_for_ever());
    });
    other.start().unwrap().join().unwrap();
}

#[test]
fn one_that_panics_harms_nobody() {
    patch::all();
    let count = Rc::new(Cell::new(0));
    let inside = count.clone();
    let _subscription = signal::handle(libc::SIGIO, move || {
        inside.set(inside.get() + 1);
        assert!(inside.get() != 2, "as asked for");
    });
    for n in 1..=3 {
        send(libc::SIGIO);
        until(|| count.get() == n);
    }
}

/// Of the OS thread, the system call that it waits in.
fn waits_in(tid: i32) -> Option<i64> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).ok()?;
    text.split(' ').next()?.parse().ok()
}

#[test]
fn a_read_that_a_signal_interrupts_goes_on() {
    patch::all();
    let count = Rc::new(Cell::new(0));
    let inside = count.clone();
    let _subscription = signal::handle(libc::SIGPWR, move || inside.set(inside.get() + 1)).unwrap();
    // In an OS thread that has no hub, by the kernel.
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let (tell, told) = mpsc::channel();
    let blocked = greenline::thread::Thread::new(move || {
        // SAFETY: no preconditions.
        tell.send(unsafe { libc::gettid() }).unwrap();
        reader.read(&mut [0; 10]).map_err(|error| error.kind())
    });
    let blocked = blocked.start().unwrap();
    let tid: i32 = told.recv().unwrap();
    for n in 1..=20 {
        // Not everywhere can it be asked; then some of them come at other times.
        let start = Instant::now();
        while waits_in(tid) != Some(libc::SYS_read) && start.elapsed() < Duration::from_millis(200) {
            thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: no pointers; it has not been joined.
        assert_eq!(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGPWR) }, 0);
        until(|| count.get() == n);
    }
    writer.write_all(b"x").unwrap();
    assert_eq!(blocked.join().unwrap(), Ok(1));

    // In a green thread and in the root, by the hub.
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let seen = count.clone();
    let writes = greenline::spawn(move || {
        for n in 21..=40 {
            send_here(libc::SIGPWR);
            until(|| seen.get() == n);
        }
        there.write_all(b"x").unwrap();
    });
    let start = Instant::now();
    assert_eq!(here.read(&mut [0; 10]).unwrap(), 1);
    writes.join().unwrap();
    // Nor is a sleep cut short.
    let interrupts = greenline::spawn(|| (0..10).for_each(|_| send_here(libc::SIGPWR)));
    thread::sleep(Duration::from_millis(50));
    assert!(start.elapsed() >= Duration::from_millis(50));
    interrupts.join().unwrap();
    until(|| count.get() == 50);
}

#[test]
fn a_child_that_ends_is_told_by_its_signal() {
    patch::all();
    let (ended, ends) = mpsc::channel();
    let _subscription = signal::handle(SIGCHLD, move || _ = ended.send(())).unwrap();
    let mut child = Command::new("true").spawn().unwrap();
    ends.recv_timeout(LOST).unwrap();
    assert!(child.wait().unwrap().success());
}

run_cases_before_main!(run);

/// The cases that run in a child, which is this program again.
fn run(case: &str) {
    let say = |text: &str| {
        println!("{text}");
        std::io::stdout().flush().unwrap();
    };
    patch::all();
    let (mut never, _open) = UnixStream::pair().unwrap();
    match case {
        "sleeps" => {
            say("ready");
            thread::sleep(Duration::from_secs(3600));
        }
        "reads" => {
            say("ready");
            drop(never.read(&mut [0]));
        }
        "cancelled" => {
            let subscription = signal::handle(SIGINT, || println!("handled")).unwrap();
            send_here(SIGINT);
            thread::sleep(Duration::from_millis(1));
            drop(subscription);
            say("ready");
            drop(never.read(&mut [0]));
        }
        "handled" => {
            let handle = Handle::current().unwrap();
            let (stop, stopped) = mpsc::channel();
            let _both = [SIGINT, SIGTERM].map(|number| {
                let stop = stop.clone();
                signal::handle(number, move || stop.send(number).unwrap()).unwrap()
            });
            drop(handle);
            thread::spawn(move || never.read(&mut [0]));
            say("ready");
            let first = stopped.recv().unwrap();
            let second = stopped.recv().unwrap();
            say(&format!("stopped by {first} and {second}"));
        }
        "forks" => {
            let subscription = signal::handle(SIGTERM, || ()).unwrap();
            // SAFETY: this OS thread is the only one that does anything.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // A subscription of the parent's; here it is nobody's.
                drop(subscription);
                send_here(SIGTERM);
                std::process::exit(3);
            }
            let mut status = 0;
            // SAFETY: an int of ours.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(std::process::ExitStatus::from_raw(status).signal(), Some(SIGTERM));
            // The parent's is as it was.
            send_here(SIGTERM);
            thread::yield_now();
            say("parent goes on");
        }
        "forks and subscribes" => {
            let _subscription = signal::handle(SIGTERM, || ()).unwrap();
            // SAFETY: as above.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let (stop, stopped) = mpsc::channel();
                let _own = signal::handle(SIGTERM, move || stop.send(()).unwrap()).unwrap();
                say("ready");
                send(SIGTERM);
                let told = stopped.recv_timeout(LOST);
                std::process::exit(if told.is_ok() { 0 } else { 3 });
            }
            let mut status = 0;
            // SAFETY: an int of ours.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        }
        _ => unreachable!("there is no case '{case}'"),
    }
}

fn child(case: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command(case).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line
}

fn interrupt(child: &Child, signal: i32) {
    // SAFETY: a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

#[test]
fn without_a_subscription_ctrl_c_ends_the_program() {
    for case in ["sleeps", "reads", "cancelled"] {
        let (mut child, mut lines) = child(case);
        if case == "cancelled" {
            assert_eq!(line(&mut lines), "handled\n");
        }
        assert_eq!(line(&mut lines), "ready\n");
        interrupt(&child, SIGINT);
        assert_eq!(child.wait().unwrap().signal(), Some(SIGINT), "{case}");
    }
}

#[test]
fn with_one_the_program_goes_on_and_ends_as_it_likes() {
    let (mut child, mut lines) = child("handled");
    assert_eq!(line(&mut lines), "ready\n");
    interrupt(&child, SIGTERM);
    interrupt(&child, SIGINT);
    let said = line(&mut lines);
    // The order is the kernel's.
    assert!(["stopped by 15 and 2\n", "stopped by 2 and 15\n"].contains(&&*said), "{said}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_child_of_a_fork_begins_without_subscriptions() {
    let (mut forks, mut lines) = child("forks");
    assert_eq!(line(&mut lines), "parent goes on\n");
    assert!(forks.wait().unwrap().success());
    let (mut forks, mut lines) = child("forks and subscribes");
    assert_eq!(line(&mut lines), "ready\n");
    assert!(forks.wait().unwrap().success());
}
