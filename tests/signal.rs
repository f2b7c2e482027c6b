//! Signals: which green threads run for them, on which hub, and what happens without a subscription.

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
use support::time::{HANG_TIMEOUT, HOUR, wait_until};

/// Sends a signal to the process. The kernel chooses the OS thread.
fn send(signal: i32) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
}

/// Sends a signal to this OS thread. Its handler runs before this function returns.
fn send_here(signal: i32) {
    // SAFETY: no pointers. `raise` would use the thread id of the running green thread.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal) };
    assert_eq!(sent, 0);
}

/// Returns the handler that the kernel has for a signal.
fn handler(signal: i32) -> usize {
    // SAFETY: the call only reads the handler. All zeros is a valid sigaction.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(signal, std::ptr::null(), &raw mut action), 0);
        action.sa_sigaction
    }
}

#[test]
fn handle_spawns_a_green_thread_on_the_subscribing_hub_for_each_delivery() {
    patch::all();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let inside = seen.clone();
    // SAFETY: no preconditions.
    let os_thread = || unsafe { libc::gettid() };
    let subscription = signal::handle(SIGUSR1, move || {
        let who = greenline::current();
        // The handler may block, as any green thread may.
        thread::sleep(Duration::from_millis(1));
        inside.borrow_mut().push((os_thread(), who.id(), who.name()));
    });
    let subscription = subscription.unwrap();
    assert_eq!(subscription.signal(), SIGUSR1);
    for _ in 0..1000 {
        send_here(SIGUSR1);
    }
    assert!(seen.borrow().is_empty(), "no handler interrupts the running green thread");
    wait_until(|| seen.borrow().len() == 1000);
    let mut all = seen.take();
    assert!(all.iter().all(|(os, _, name)| *os == os_thread() && &**name == "SIGUSR1"));
    all.sort_by_key(|(_, id, _)| format!("{id}"));
    all.dedup();
    assert_eq!(all.len(), 1000);
    subscription.cancel();
}

/// An OS thread without a hub sends signals, and waits for each answer. The hub sleeps, or is about to sleep, or runs.
#[test]
fn handle_wakes_a_waiting_hub_and_loses_no_signal() {
    patch::all();
    const ROUNDS: u32 = 3000;
    let (answer, answers) = mpsc::channel();
    let _subscription = signal::handle(SIGUSR2, move || answer.send(()).unwrap()).unwrap();
    let sender = greenline::thread::Thread::new(move || {
        for round in 0..ROUNDS {
            // The signal goes to the process, or to this OS thread, which has no hub.
            if round % 2 == 0 {
                send(SIGUSR2)
            } else {
                send_here(SIGUSR2)
            }
            answers.recv_timeout(HANG_TIMEOUT).unwrap_or_else(|_| panic!("signal {round} was lost"));
            if round % 3 == 0 {
                thread::sleep(Duration::from_micros(u64::from(round % 100)));
            }
        }
    });
    sender.start().unwrap().join().unwrap();
}

#[test]
fn handle_runs_on_a_hub_that_never_sleeps() {
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
            assert!(start.elapsed() < HANG_TIMEOUT);
            greenline::yield_now();
        }
    }
    spinner.kill();
    drop(subscription);
}

#[test]
fn handle_runs_for_all_subscribers_of_all_hubs() {
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
    wait_until(|| count.get() == 101 && ELSEWHERE.load(SeqCst) == 1);
    drop(ones);
    send(SIGHUP);
    wait_until(|| count.get() == 201 && ELSEWHERE.load(SeqCst) == 2);
    stop.send(()).unwrap();
    other.join().unwrap();
    send(SIGHUP);
    wait_until(|| count.get() == 301);
    assert_eq!(ELSEWHERE.load(SeqCst), 2);
    drop(hundreds);
    assert_eq!(handler(SIGHUP), libc::SIG_DFL);
}

#[test]
fn handle_cancelled_restores_the_former_handler() {
    patch::all();
    static BEFORE: AtomicU32 = AtomicU32::new(0);
    extern "C" fn before(_: i32) {
        BEFORE.fetch_add(1, SeqCst);
    }
    let own = before as *const () as usize;
    // SAFETY: the handler does only what a signal handler may do.
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
        wait_until(|| seen.get() == round);
        assert_eq!(BEFORE.load(SeqCst), round - 1);
        two.cancel();
        assert_eq!(handler(SIGWINCH), own);
        send_here(SIGWINCH);
        assert_eq!((BEFORE.load(SeqCst), seen.get()), (round, round));
    }
    // If the program sets another handler meanwhile, the cancellation leaves that one.
    let subscription = subscribe();
    // SAFETY: as above.
    unsafe { libc::signal(SIGWINCH, libc::SIG_IGN) };
    drop(subscription);
    assert_eq!(handler(SIGWINCH), libc::SIG_IGN);
}

#[test]
fn handle_ends_with_its_os_thread() {
    patch::all();
    let other = greenline::thread::Thread::new(|| {
        let dropped = Rc::new(());
        let kept = dropped.clone();
        std::mem::forget(signal::handle(libc::SIGPROF, move || drop(kept.clone())).unwrap());
        assert!(![libc::SIG_DFL, libc::SIG_IGN].contains(&handler(libc::SIGPROF)));
        assert_eq!(Rc::strong_count(&dropped), 2);
    });
    other.start().unwrap().join().unwrap();
    // The hub is closed after the OS thread can be joined.
    wait_until(|| handler(libc::SIGPROF) == libc::SIG_DFL);
}

#[test]
fn handle_of_a_signal_that_cannot_wait_is_refused() {
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
        // The C library uses this one.
        32,
    ];
    for number in refused {
        let before = (1..=31).contains(&number).then(|| handler(number));
        let error = signal::handle(number, || ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{number}: {error}");
        assert_eq!(before, (1..=31).contains(&number).then(|| handler(number)));
    }
    let text = signal::handle(libc::SIGKILL, || ()).unwrap_err().to_string();
    assert_eq!(text, "SIGKILL cannot be handled by a green thread: the kernel lets no program handle it");
}

#[test]
fn handle_prevents_the_deadlock_report() {
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
        // Without the subscription the hub would report a deadlock here.
        let sender = greenline::thread::Thread::new(|| {
            thread::sleep(Duration::from_millis(20));
            send(libc::SIGVTALRM);
        });
        let sender = sender.start().unwrap();
        wait::park(ticket, None, "a signal");
        sender.join().unwrap();
        // A subscription does not keep `join_everything` from returning.
        greenline::join_everything();
        drop(subscription);
        assert!(waits_for_ever());
    });
    other.start().unwrap().join().unwrap();
}

#[test]
fn handle_survives_a_panic_of_its_function() {
    patch::all();
    let count = Rc::new(Cell::new(0));
    let inside = count.clone();
    let _subscription = signal::handle(libc::SIGIO, move || {
        inside.set(inside.get() + 1);
        assert!(inside.get() != 2, "as asked for");
    });
    for n in 1..=3 {
        send(libc::SIGIO);
        wait_until(|| count.get() == n);
    }
    // The report of the panic may take long. It holds a lock of std's panic hook, which must not outlive this hub.
    greenline::join_everything();
}

/// Returns the number of the system call in which an OS thread waits.
fn waits_in(tid: i32) -> Option<i64> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).ok()?;
    text.split(' ').next()?.parse().ok()
}

#[test]
fn handle_interrupts_no_read_and_no_sleep() {
    patch::all();
    let count = Rc::new(Cell::new(0));
    let inside = count.clone();
    let _subscription = signal::handle(libc::SIGPWR, move || inside.set(inside.get() + 1)).unwrap();
    // On an OS thread without a hub the kernel restarts the read.
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
        // Some systems do not let a process read this. There, some signals come outside of the read.
        let start = Instant::now();
        while waits_in(tid) != Some(libc::SYS_read) && start.elapsed() < Duration::from_millis(200) {
            thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: no pointers. The OS thread has not been joined.
        assert_eq!(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGPWR) }, 0);
        wait_until(|| count.get() == n);
    }
    writer.write_all(b"x").unwrap();
    assert_eq!(blocked.join().unwrap(), Ok(1));

    // In a green thread and in the root the hub continues the read.
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let seen = count.clone();
    let writes = greenline::spawn(move || {
        for n in 21..=40 {
            send_here(libc::SIGPWR);
            wait_until(|| seen.get() == n);
        }
        there.write_all(b"x").unwrap();
    });
    let start = Instant::now();
    assert_eq!(here.read(&mut [0; 10]).unwrap(), 1);
    writes.join().unwrap();
    // A sleep takes its whole time, too.
    let interrupts = greenline::spawn(|| (0..10).for_each(|_| send_here(libc::SIGPWR)));
    thread::sleep(Duration::from_millis(50));
    assert!(start.elapsed() >= Duration::from_millis(50));
    interrupts.join().unwrap();
    wait_until(|| count.get() == 50);
}

#[test]
fn handle_sigchld_runs_when_a_child_ends() {
    patch::all();
    let (ended, ends) = mpsc::channel();
    let _subscription = signal::handle(SIGCHLD, move || _ = ended.send(())).unwrap();
    let mut child = Command::new("true").spawn().unwrap();
    ends.recv_timeout(HANG_TIMEOUT).unwrap();
    assert!(child.wait().unwrap().success());
}

run_cases_before_main!(run);

/// The cases that run in a child.
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
            thread::sleep(HOUR);
        }
        "reads" => {
            say("ready");
            drop(never.read(&mut [0]));
        }
        "cancelled" => {
            let handled = Rc::new(Cell::new(false));
            let inside = handled.clone();
            let subscription = signal::handle(SIGINT, move || {
                println!("handled");
                inside.set(true);
            });
            send_here(SIGINT);
            wait_until(|| handled.get());
            drop(subscription.unwrap());
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
            // SAFETY: no other OS thread runs.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // The subscription belongs to the parent. In the child it has no effect.
                drop(subscription);
                send_here(SIGTERM);
                std::process::exit(3);
            }
            let mut status = 0;
            // SAFETY: `status` is writable.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(std::process::ExitStatus::from_raw(status).signal(), Some(SIGTERM));
            // The parent's subscription still works.
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
                let result = stopped.recv_timeout(HANG_TIMEOUT);
                std::process::exit(if result.is_ok() { 0 } else { 3 });
            }
            let mut status = 0;
            // SAFETY: `status` is writable.
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
    // SAFETY: the child has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

#[test]
fn sigint_without_a_subscription_ends_the_program() {
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
fn sigint_with_a_subscription_lets_the_program_go_on() {
    let (mut child, mut lines) = child("handled");
    assert_eq!(line(&mut lines), "ready\n");
    interrupt(&child, SIGTERM);
    interrupt(&child, SIGINT);
    let said = line(&mut lines);
    // The kernel chooses the order.
    assert!(["stopped by 15 and 2\n", "stopped by 2 and 15\n"].contains(&&*said), "{said}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn fork_leaves_the_child_without_subscriptions() {
    let (mut forks, mut lines) = child("forks");
    assert_eq!(line(&mut lines), "parent goes on\n");
    assert!(forks.wait().unwrap().success());
    let (mut forks, mut lines) = child("forks and subscribes");
    assert_eq!(line(&mut lines), "ready\n");
    assert!(forks.wait().unwrap().success());
}
