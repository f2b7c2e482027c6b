//! Programs with std's threads, seen from outside: their output, their end, their number of OS threads. Each case runs in
//! a child, which is this program again with the case's name in the environment.

use crate::support::subprocess::{command, finish, output};
use greenline::patch;
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

const LONG: &str = "a name that is much longer than fifteen bytes";

/// Runs a case. To the hub, each runs in a `main`.
pub(crate) fn run(case: &str) {
    patch::all();
    match case {
        "println" => {
            let all: Vec<_> = (0..1000)
                .map(|n| {
                    thread::spawn(move || {
                        for line in 0..5 {
                            println!("thread {n} line {line} {}", "x".repeat(n % 300));
                            thread::yield_now();
                        }
                    })
                })
                .collect();
            all.into_iter().for_each(|one| one.join().unwrap());
        }
        "overflow" => {
            let deep = Builder::new().name(LONG.into()).stack_size(256 << 10).spawn(|| recurse(0));
            thread::spawn(|| thread::sleep(Duration::from_secs(3600)));
            deep.unwrap().join().unwrap();
        }
        "overflow without a name" => {
            thread::spawn(|| recurse(0)).join().unwrap();
        }
        "deadlock" => {
            let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
            let both_have_one = Arc::new(Barrier::new(2));
            let all = [("first of two that wait", 0), ("second", 1)].map(|(name, mine)| {
                let (locks, both_have_one) = (locks.clone(), both_have_one.clone());
                let work = move || {
                    let _mine = locks[mine].lock().unwrap();
                    both_have_one.wait();
                    let _other = locks[1 - mine].lock().unwrap();
                };
                Builder::new().name(name.into()).spawn(work).unwrap()
            });
            all.into_iter().for_each(|one| one.join().unwrap());
            unreachable!("the threads wait for each other");
        }
        "deadlock with stderr locked" => {
            let (_never, nothing) = mpsc::channel::<()>();
            let holder = thread::spawn(move || {
                let _held = std::io::stderr().lock();
                nothing.recv()
            });
            drop(holder.join());
            unreachable!("the threads wait for each other");
        }
        "killed at its end" => {
            struct Slow;
            impl Drop for Slow {
                fn drop(&mut self) {
                    greenline::sleep(Duration::from_millis(20));
                    println!("dropped whole");
                }
            }
            thread_local! {
                static SLOW: Slow = const { Slow };
            }
            let ends = greenline::spawn(|| SLOW.with(|_| ()));
            greenline::yield_now();
            ends.kill();
            drop(greenline::spawn(|| SLOW.with(|_| greenline::sleep(Duration::MAX))));
            greenline::yield_now();
            greenline::shutdown();
            assert!(ends.join().is_ok());
        }
        "main ends first" => {
            struct Loud;
            impl Drop for Loud {
                fn drop(&mut self) {
                    println!("unwound");
                }
            }
            for _ in 0..10 {
                thread::spawn(|| {
                    let _loud = Loud;
                    thread::sleep(Duration::from_secs(3600));
                });
            }
            thread::yield_now();
            println!("main ends");
        }
        "exit in a thread" => {
            thread::spawn(|| thread::sleep(Duration::from_secs(3600)));
            let exits = thread::spawn(|| {
                thread::yield_now();
                std::process::exit(7)
            });
            exits.join().unwrap();
        }
        "panic" => {
            let named = Builder::new().name(LONG.into()).spawn(|| {
                thread::yield_now();
                panic!("boom")
            });
            assert!(named.unwrap().join().is_err());
            assert!(thread::spawn(|| panic!("bang")).join().is_err());
        }
        "command" => {
            let talk = |n: u32| {
                move || {
                    let script = format!("cat; echo err{n} >&2; exit {n}");
                    let mut command = Command::new("sh");
                    command.args(["-c", &script]).stdin(Stdio::piped());
                    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                    thread::yield_now();
                    write!(child.stdin.take().unwrap(), "in{n}").unwrap();
                    let output = child.wait_with_output().unwrap();
                    assert_eq!(output.status.code(), Some(n as i32));
                    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("in{n}"));
                    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("err{n}\n"));
                }
            };
            let all: Vec<_> = (0..8).map(|n| thread::spawn(talk(n))).collect();
            all.into_iter().for_each(|one| one.join().unwrap());
            println!("all talked");
        }
        "fork" => {
            thread_local! {
                static WORDS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
            }
            thread::spawn(|| thread::sleep(Duration::from_secs(3600)));
            let forks = thread::spawn(|| {
                WORDS.with_borrow_mut(|words| words.push("kept".into()));
                let id = thread::current().id();
                // SAFETY: this is the only OS thread, so that no other holds a lock.
                let child = unsafe { libc::fork() };
                assert!(child >= 0);
                if child == 0 {
                    // A panic must not unwind into the parent's frames.
                    let ended = std::panic::catch_unwind(|| {
                        let filled = vec![7u8; 1 << 20];
                        WORDS.with_borrow_mut(|words| words.push(filled.len().to_string()));
                        WORDS.with_borrow(|words| assert_eq!(*words, ["kept", "1048576"]));
                        assert_eq!(thread::current().id(), id);
                        let one = thread::spawn(|| {
                            thread::sleep(Duration::from_millis(5));
                            WORDS.with_borrow(Vec::len)
                        });
                        assert_eq!(one.join().unwrap(), 0);
                        println!("the child is well");
                    });
                    // SAFETY: no preconditions.
                    unsafe { libc::_exit(i32::from(ended.is_err())) };
                }
                let mut status = 0;
                // SAFETY: the child was not waited for yet.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert!(libc::WIFEXITED(status), "{status:#x}");
                assert_eq!(libc::WEXITSTATUS(status), 0);
                WORDS.with_borrow(|words| assert_eq!(*words, ["kept"]));
            });
            forks.join().unwrap();
            println!("the parent, too");
        }
        "ten thousand" => {
            const N: usize = 10_000;
            let (asleep, awake) = mpsc::channel();
            let enough = Arc::new(AtomicBool::new(false));
            let all: Vec<_> = (0..N)
                .map(|n| {
                    let (asleep, enough) = (asleep.clone(), enough.clone());
                    let work = move || {
                        asleep.send(n).unwrap();
                        while !enough.load(SeqCst) {
                            thread::sleep(Duration::from_millis(300));
                        }
                        n
                    };
                    thread::spawn(work)
                })
                .collect();
            let begun: usize = awake.iter().take(N).sum();
            assert_eq!(begun, N * (N - 1) / 2);
            let finished = all.iter().filter(|one| one.is_finished()).count();
            let os_threads = std::fs::read_dir("/proc/self/task").unwrap().count();
            println!("{finished} finished, {os_threads} OS threads");
            enough.store(true, SeqCst);
            let before = Instant::now();
            let sum: usize = all.into_iter().map(|one| one.join().unwrap()).sum();
            assert_eq!(sum, N * (N - 1) / 2);
            assert!(before.elapsed() < Duration::from_secs(100), "they sleep together");
        }
        "no file descriptors" => {
            let limit = libc::rlimit { rlim_cur: 3, rlim_max: 3 };
            // SAFETY: the limit is valid.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
            let elsewhere = greenline::thread::Thread::new(|| {
                println!("{}", patch::try_all().unwrap_err());
                // The process stays patched, and there may be a hub. It must end all the same.
                assert_eq!(greenline::spawn(|| 1).join().unwrap(), 1);
                thread::spawn(|| 2).join().unwrap()
            });
            assert_eq!(elsewhere.start().unwrap().join().unwrap(), 2);
            assert_eq!(thread::spawn(|| 3).join().unwrap(), 3);
            println!("both are well");
        }
        "no memory" => {
            let limit = libc::rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
            // SAFETY: the limit is valid.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
            let gate = Arc::new(Mutex::new(0));
            let closed = gate.lock().unwrap();
            let mut made = Vec::new();
            let error = loop {
                let gate = gate.clone();
                match Builder::new().spawn(move || *gate.lock().unwrap() += 1) {
                    Ok(one) => made.push(one),
                    Err(error) => break error,
                }
                thread::yield_now();
            };
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
            drop(closed);
            let count = made.len();
            made.into_iter().for_each(|one| one.join().unwrap());
            assert_eq!(*gate.lock().unwrap(), count);
            assert_eq!(thread::spawn(|| 3).join().unwrap(), 3);
            println!("some were made: {}", count > 10);
        }
        other => panic!("no case '{other}'"),
    }
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn recurse(n: u64) -> u64 {
    let block = std::hint::black_box([n; 64]);
    recurse(n + 1) + block[n as usize % 64]
}

#[test]
fn println_by_a_thousand_threads_writes_whole_lines_to_a_slow_pipe() {
    let mut printing = command("std_program::println").stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = printing.stdout.take().unwrap();
    let mut stdout = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        match pipe.read(&mut piece).unwrap() {
            0 => break,
            n => stdout.extend_from_slice(&piece[..n]),
        }
        // The child fills the pipe meanwhile.
        thread::sleep(Duration::from_millis(1));
    }
    assert!(printing.wait().unwrap().success());
    let mut lines: Vec<String> = String::from_utf8(stdout).unwrap().lines().map(str::to_string).collect();
    let line = |n: usize, line| format!("thread {n} line {line} {}", "x".repeat(n % 300));
    let mut expected: Vec<String> = (0..5000).map(|at| line(at / 5, at % 5)).collect();
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines.len(), expected.len());
    assert!(lines == expected);
}

#[test]
fn stack_overflow_names_the_thread_and_aborts() {
    let output = output("std_program::overflow");
    assert_eq!(output.code, -libc::SIGABRT, "{}", output.stderr);
    assert!(output.stderr.contains(&format!("'{LONG}' has overflowed its stack")), "{}", output.stderr);
}

#[test]
fn stack_overflow_of_an_unnamed_thread_is_reported_and_aborts() {
    let output = output("std_program::overflow without a name");
    assert_eq!(output.code, -libc::SIGABRT, "{}", output.stderr);
    assert!(output.stderr.contains("has overflowed its stack"), "{}", output.stderr);
}

/// A child that hangs. The destructor kills it.
struct HangingChild(Child);

impl Drop for HangingChild {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn deadlock_of_std_mutexes_is_reported_with_names_and_hangs() {
    let mut child = HangingChild(command("std_program::deadlock").stderr(Stdio::piped()).spawn().unwrap());
    let mut stderr = String::new();
    for line in BufReader::new(child.0.stderr.take().unwrap()).lines() {
        stderr += &line.unwrap();
        stderr.push('\n');
        if stderr.contains("greenline::Handle there)") {
            break;
        }
    }
    assert!(stderr.contains("deadlock: "), "{stderr}");
    for name in ["first of two that wait", "second"] {
        assert!(stderr.contains(&format!("'{name}' waits for a lock")), "{stderr}");
    }
    assert!(stderr.contains("  root '"), "{stderr}");
    assert!(child.0.try_wait().unwrap().is_none(), "the child has ended");
}

#[test]
fn deadlock_is_reported_while_stderr_is_locked() {
    let mut child = HangingChild(
        command("std_program::deadlock with stderr locked").stderr(Stdio::piped()).spawn().unwrap(),
    );
    let mut first = String::new();
    BufReader::new(child.0.stderr.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("greenline: deadlock: "), "{first}");
    assert!(child.0.try_wait().unwrap().is_none(), "the child has ended");
}

#[test]
fn kill_and_shutdown_do_not_interrupt_a_thread_local_destructor() {
    assert_eq!(output("std_program::killed at its end").success(), "dropped whole\ndropped whole\n");
}

#[test]
fn main_that_returns_ends_sleeping_threads_with_the_process() {
    let start = Instant::now();
    let output = output("std_program::main ends first");
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!((output.stdout, output.stderr), ("main ends\n".into(), String::new()));
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn exit_in_a_thread_ends_the_process_with_its_code() {
    let output = output("std_program::exit in a thread");
    assert_eq!(output.code, 7, "{}", output.stderr);
}

#[test]
fn panic_of_a_thread_is_reported_once_and_as_by_std() {
    let output = output("std_program::panic");
    assert!(output.code == 0, "{}", output.stderr);
    let stderr = output.stderr;
    assert_eq!(stderr.matches("panicked at tests/outside/std_program.rs:").count(), 2, "{stderr}");
    assert!(stderr.contains(&format!("thread '{LONG}'")), "{stderr}");
    assert!(
        stderr.contains("boom") && stderr.contains("thread '<unnamed>'") && stderr.contains("bang"),
        "{stderr}"
    );
    assert!(!stderr.contains("green thread"), "std's report speaks of threads: {stderr}");
}

#[test]
fn command_in_eight_threads_passes_stdin_stdout_and_stderr() {
    assert_eq!(output("std_program::command").success(), "all talked\n");
}

#[test]
fn fork_in_a_thread_leaves_a_child_that_can_allocate_and_spawn() {
    assert_eq!(output("std_program::fork").success(), "the child is well\nthe parent, too\n");
}

#[test]
fn sleep_of_ten_thousand_threads_takes_one_os_thread() {
    // In debug builds the watchdog takes an OS thread of its own.
    let mut command = command("std_program::ten thousand");
    command.env("GREENLINE_WATCHDOG", "0");
    assert_eq!(finish(command, |_| true).success(), "0 finished, 1 OS threads\n");
}

#[test]
fn spawn_without_file_descriptors_makes_os_threads() {
    let stdout = output("std_program::no file descriptors").success();
    assert!(stdout.contains("no file descriptor for the hub's reactor"), "{stdout}");
    assert!(stdout.ends_with("both are well\n"), "{stdout}");
}

#[test]
fn spawn_without_memory_returns_an_error_and_others_go_on() {
    assert_eq!(output("std_program::no memory").success(), "some were made: true\n");
}
