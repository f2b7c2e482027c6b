//! The calls that wait for children, and the end of a process: as on an OS thread that is not patched.
//!
//! The tests run one at a time, because `waitpid(-1)` takes any child of the process.

#![allow(clippy::zombie_processes)] // the calls under test wait for them

use crate::support::differential::{answer, count_while, exclusive, ms, same, waits};
use crate::support::subprocess::command;
use greenline::patch;
use std::ffi::CString;
use std::io::{BufRead, BufReader, Read, Write};
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

type Answer = Result<i64, i32>;

unsafe extern "C" {
    fn vfork() -> libc::pid_t;
    fn wait(status: *mut i32) -> libc::pid_t;
    fn wait3(status: *mut i32, options: i32, usage: *mut libc::rusage) -> libc::pid_t;
}

fn child(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).spawn().unwrap()
}

/// Returns whether a call returned the child's id, and the child's exit code.
fn waited(child: &Child, result: Answer, status: i32) -> (bool, Option<i32>) {
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    (result == Ok(i64::from(child.id())), code)
}

#[test]
fn waitpid_wait_and_wait3_return_the_child_and_its_status() {
    let _exclusive = exclusive();
    let results = same(|| {
        let mut all = Vec::new();
        let mut status = 0;
        // SAFETY: the status and the usage are written to this frame.
        unsafe {
            let one = child("sleep 0.1; exit 3");
            let pid = one.id() as libc::pid_t;
            all.push(waited(&one, waits(ms(50), || answer(libc::waitpid(pid, &mut status, 0))), status));
            let one = child("sleep 0.1; exit 4");
            all.push(waited(&one, waits(ms(50), || answer(libc::waitpid(-1, &mut status, 0))), status));
            let one = child("sleep 0.1; exit 5");
            all.push(waited(&one, waits(ms(50), || answer(wait(&mut status))), status));
            let one = child("sleep 0.1; exit 6");
            let mut usage: libc::rusage = zeroed();
            all.push(waited(&one, waits(ms(50), || answer(wait3(&mut status, 0, &mut usage))), status));
            // A child that stops, and is continued.
            let mut one = child("kill -STOP $$; exit 7");
            let pid = one.id() as libc::pid_t;
            let stopped = answer(libc::waitpid(pid, &mut status, libc::WUNTRACED));
            all.push((stopped == Ok(i64::from(pid)) && libc::WIFSTOPPED(status), None));
            libc::kill(pid, libc::SIGCONT);
            all.push((true, one.wait().unwrap().code()));
            // There is no child any more.
            all.push((answer(libc::waitpid(-1, &mut status, 0)) == Err(libc::ECHILD), None));
            all.push((answer(libc::waitpid(1, &mut status, 0)) == Err(libc::ECHILD), None));
        }
        all
    });
    assert!(results.iter().all(|one| one.0), "{results:?}");
    let codes: Vec<_> = results.iter().filter_map(|one| one.1).collect();
    assert_eq!(codes, [3, 4, 5, 6, 7]);
}

#[test]
fn pclose_waits_for_the_child_of_popen() {
    let _exclusive = exclusive();
    let results = same(|| {
        let script = CString::new("sleep 0.1; exit 8").unwrap();
        // SAFETY: the strings end in 0; the stream is closed once.
        unsafe {
            let stream = libc::popen(script.as_ptr(), c"r".as_ptr());
            assert!(!stream.is_null());
            libc::WEXITSTATUS(waits(ms(50), || libc::pclose(stream)))
        }
    });
    assert_eq!(results, 8);
}

#[test]
fn system_returns_the_status_and_keeps_the_signal_mask() {
    let _exclusive = exclusive();
    let results = same(|| {
        // SAFETY: the strings end in 0; the signal sets are in this frame.
        unsafe {
            let mut all = vec![waits(ms(50), || libc::system(c"sleep 0.1; exit 8".as_ptr()))];
            // The command has the signals blocked that the caller has blocked, and no others.
            let (mut set, mut former): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
            libc::sigaddset(&mut set, libc::SIGUSR1);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut former);
            all.push(libc::system(c"kill -USR1 $$; exit 5".as_ptr()));
            all.push(libc::system(c"kill -TERM $$; exit 5".as_ptr()));
            libc::pthread_sigmask(libc::SIG_SETMASK, &former, null_mut());
            all.push(libc::system(c"/no/such/command 2> /dev/null".as_ptr()));
            all.push(libc::system(null()));
            all
        }
    });
    assert_eq!(results, [8 << 8, 5 << 8, libc::SIGTERM, 127 << 8, 1]);
}

/// If a child closes a descriptor before its `exec`, a green thread of the parent goes on to wait for the descriptor.
#[test]
fn vfork_child_that_closes_a_descriptor_leaves_it_to_its_parent() {
    let _exclusive = exclusive();
    let results = same(|| {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let fd = here.as_raw_fd();
        let reader = thread::spawn(move || {
            let mut bytes = [0; 5];
            here.read_exact(&mut bytes).map(|()| bytes).map_err(|error| error.raw_os_error())
        });
        thread::sleep(ms(10));
        // SAFETY: the child makes only system calls, and ends.
        let ended = unsafe {
            let child = vfork();
            if child == 0 {
                libc::close(fd);
                libc::_exit(9);
            }
            let mut status = 0;
            (answer(libc::waitpid(child, &mut status, 0)) == Ok(i64::from(child)), libc::WEXITSTATUS(status))
        };
        there.write_all(b"hello").unwrap();
        (reader.join().unwrap(), ended)
    });
    assert_eq!(results, (Ok(*b"hello"), (true, 9)));
}

#[test]
fn forkpty_child_does_not_run_the_parents_green_threads() {
    let _exclusive = exclusive();
    let results = same(|| {
        let (mut here, there) = UnixStream::pair().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let bystander = thread::spawn(move || {
            while !is_over.load(Relaxed) {
                (&there).write_all(&std::process::id().to_ne_bytes()).unwrap();
                thread::sleep(ms(1));
            }
        });
        // SAFETY: the terminal's number is written to this frame; the child sleeps, writes, and ends.
        let (ended, typed) = unsafe {
            let mut terminal = -1;
            let child = libc::forkpty(&raw mut terminal, null_mut(), null_mut(), null_mut());
            if child == 0 {
                thread::sleep(ms(30));
                libc::write(1, c"x".as_ptr().cast(), 1);
                libc::_exit(libc::isatty(0));
            }
            let (mut typed, mut status) = ([0u8], 0);
            libc::read(terminal, typed.as_mut_ptr().cast(), 1);
            let ended = answer(libc::waitpid(child, &mut status, 0));
            libc::close(terminal);
            ((ended == Ok(i64::from(child)), libc::WEXITSTATUS(status)), typed)
        };
        over.store(true, Relaxed);
        bystander.join().unwrap();
        let mut ids = Vec::new();
        here.read_to_end(&mut ids).unwrap();
        let is_ours = |id: &[u8]| id == std::process::id().to_ne_bytes();
        (ended, typed, ids.len() > 4 && ids.chunks(4).all(is_ours))
    });
    assert_eq!(results, ((true, 1), *b"x", true));
}

#[test]
fn waitid_returns_the_child_by_each_kind_of_id() {
    let _exclusive = exclusive();
    let results = same(|| {
        let mut all = Vec::new();
        // SAFETY: the information is written to this frame; each pidfd is closed once.
        unsafe {
            for kind in [libc::P_PID, libc::P_ALL, libc::P_PGID, libc::P_PIDFD] {
                let one = child("sleep 0.1; exit 9");
                let pidfd = libc::syscall(libc::SYS_pidfd_open, one.id(), 0) as libc::id_t;
                let id = match kind {
                    libc::P_PID => one.id(),
                    libc::P_PGID => libc::getpgid(0) as libc::id_t,
                    libc::P_PIDFD => pidfd,
                    _ => 0,
                };
                let mut info: libc::siginfo_t = zeroed();
                // The first call leaves the child to be waited for again.
                let options = libc::WEXITED | libc::WNOWAIT;
                let result = waits(ms(50), || answer(libc::waitid(kind, id, &mut info, options)));
                all.push((result, info.si_pid() == one.id() as i32, info.si_status()));
                // Without a place for the information.
                all.push((answer(libc::waitid(kind, id, null_mut(), libc::WEXITED)), true, 0));
                all.push((answer(libc::waitid(kind, id, &mut info, libc::WEXITED)), true, 0));
                libc::close(pidfd as i32);
            }
            all.push((answer(libc::waitid(libc::P_ALL, 0, null_mut(), 0)), true, 0));
        }
        all
    });
    let (ended, gone) = ((Ok(0), true, 9), (Err(libc::ECHILD), true, 0));
    for one in results.chunks(3).take(4) {
        assert_eq!(one, [ended, (Ok(0), true, 0), gone]);
    }
    assert_eq!(results[12].0, Err(libc::EINVAL));
}

/// Two threads exit at once. std holds the second in `pause` while the first runs the functions of `atexit`.
pub(crate) fn exit_twice() {
    extern "C" fn at_exit() {
        for _ in 0..5 {
            thread::sleep(ms(10));
        }
        println!("ran to its end");
    }
    patch::all();
    // SAFETY: the function has no arguments and does not unwind.
    unsafe { libc::atexit(at_exit) };
    let first = thread::spawn(|| std::process::exit(5));
    let second = thread::spawn(|| {
        thread::sleep(ms(10));
        std::process::exit(6)
    });
    let _: (Result<(), _>, Result<(), _>) = (first.join(), second.join());
}

#[test]
fn exit_by_two_threads_runs_atexit_functions_to_their_end() {
    let _exclusive = exclusive();
    let (output, count) = count_while(|| command("exit twice").output().unwrap());
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("ran to its end"), "{output:?}");
    assert!(count > 0);
}

/// Runs ten children that sleep for half a second, each in a green thread of its own. Returns the sum of the results.
fn sum_of_ten_sleeping_children(result_of: fn(u32) -> u32) -> u32 {
    let start = Instant::now();
    let all: Vec<_> = (0..10).map(|n| thread::spawn(move || result_of(n))).collect();
    let sum = all.into_iter().map(|one| one.join().unwrap()).sum();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    sum
}

#[test]
fn command_output_of_ten_children_is_read_together() {
    let _exclusive = exclusive();
    let sum = sum_of_ten_sleeping_children(|n| {
        let output = Command::new("sh").args(["-c", &format!("sleep 0.5; echo {n}")]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    });
    assert_eq!(sum, 45);
}

#[test]
fn child_wait_for_ten_children_waits_together() {
    let _exclusive = exclusive();
    let sum = sum_of_ten_sleeping_children(|n| {
        child(&format!("sleep 0.5; exit {n}")).wait().unwrap().code().unwrap() as u32
    });
    assert_eq!(sum, 45);
    let mut child = Command::new("sleep").arg("3600").spawn().unwrap();
    let id = child.id() as libc::pid_t;
    let waiter = thread::spawn(move || child.wait().unwrap());
    thread::yield_now();
    // SAFETY: the child was not waited for yet.
    assert_eq!(unsafe { libc::kill(id, libc::SIGKILL) }, 0);
    assert_eq!(waiter.join().unwrap().signal(), Some(libc::SIGKILL));
}

#[test]
fn child_stdin_and_stdout_pass_100_lines() {
    let _exclusive = exclusive();
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let reader = thread::spawn(move || BufReader::new(from).lines().map(Result::unwrap).collect::<Vec<_>>());
    (0..100).for_each(|n| writeln!(to, "{n}").unwrap());
    drop(to);
    assert_eq!(reader.join().unwrap().len(), 100);
    assert!(child.wait().unwrap().success());
}
