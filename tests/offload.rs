//! Functions that OS threads of a pool run while their callers wait. The pool and its limit belong to the whole process:
//! these tests run one at a time.

mod support;

use greenline::{Builder, JoinError, offload, offload_threads, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use support::hang_guard::HangGuard;
use support::proc_fs::os_threads_named;
use support::subprocess::{command, finish, run_cases_before_main};

/// Lets one test run at a time, and aborts the test program if it hangs.
fn turn() -> (MutexGuard<'static, ()>, HangGuard) {
    static ONE: Mutex<()> = Mutex::new(());
    let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    offload_threads(64);
    (turn, HangGuard::new())
}

fn name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// Returns the number of OS threads of the pool.
fn pool() -> usize {
    os_threads_named("greenline-off")
}

/// Returns a function that sends a message when it starts, and returns when it gets one.
fn gated() -> (impl FnOnce() + Send, Receiver<()>, Sender<()>) {
    let ((begun, has_begun), (go, may_go)) = (channel(), channel());
    let f = move || {
        begun.send(()).unwrap();
        may_go.recv().unwrap();
    };
    (f, has_begun, go)
}

/// Sleeps until `f` returns a value, while other green threads run.
fn until<T>(mut f: impl FnMut() -> Option<T>) -> T {
    loop {
        match f() {
            Some(value) => return value,
            None => greenline::sleep(Duration::from_millis(1)),
        }
    }
}

#[test]
fn offload_runs_on_another_os_thread_while_other_green_threads_run() {
    let _turn = turn();
    let (f, has_begun, go) = gated();
    let waits = spawn(move || {
        offload(move || {
            f();
            name()
        })
    });
    // While it waits, this green thread runs on, and lets the function end.
    until(|| has_begun.try_recv().ok());
    assert!(!waits.is_finished());
    go.send(()).unwrap();
    assert!(waits.join().unwrap().starts_with("greenline-off-"));
}

#[test]
fn offload_works_in_the_root_and_on_an_os_thread_without_a_hub() {
    let _turn = turn();
    let (f, has_begun, go) = gated();
    drop(spawn(move || {
        until(|| has_begun.try_recv().ok());
        go.send(()).unwrap();
    }));
    // If the root kept the others from running, it would wait for ever.
    offload(f);
    thread::spawn(|| assert!(offload(name).starts_with("greenline-off-"))).join().unwrap();
}

#[test]
fn offload_panic_goes_on_in_the_caller() {
    let _turn = turn();
    let panics = spawn(|| offload(|| std::panic::panic_any(42_u8)));
    match panics.join() {
        Err(JoinError::Panicked(thrown)) => assert_eq!(thrown.downcast_ref(), Some(&42_u8)),
        other => panic!("{other:?}"),
    }
    // The pool still works.
    assert_eq!(offload(|| 1), 1);
}

#[test]
fn offload_threads_limits_how_many_run_and_the_others_wait_in_order() {
    let _turn = turn();
    for limit in [1, 3] {
        offload_threads(limit);
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let order = Arc::new(Mutex::new(Vec::new()));
        let all: Vec<_> = (0..20)
            .map(|n| {
                let (now, most, order) = (now.clone(), most.clone(), order.clone());
                spawn(move || {
                    offload(move || {
                        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        order.lock().unwrap().push(n);
                        thread::sleep(Duration::from_millis(3));
                        now.fetch_sub(1, SeqCst);
                    });
                })
            })
            .collect();
        all.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!(most.load(SeqCst), limit);
        if limit == 1 {
            assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
        }
    }
}

#[test]
fn offload_threads_raised_starts_the_waiting_functions() {
    let _turn = turn();
    offload_threads(1);
    let (first, first_began, first_may_go) = gated();
    let (second, second_began, second_may_go) = gated();
    let one = spawn(move || offload(first));
    let two = spawn(move || offload(second));
    until(|| first_began.try_recv().ok());
    assert!(second_began.try_recv().is_err());
    offload_threads(2);
    until(|| second_began.try_recv().ok());
    second_may_go.send(()).unwrap();
    two.join().unwrap();
    assert!(!one.is_finished());
    first_may_go.send(()).unwrap();
    one.join().unwrap();
}

/// Returns whether an OS thread has SIGUSR2 blocked. 0 is the calling OS thread.
fn has_sigusr2_blocked(tid: u32) -> bool {
    let path =
        if tid == 0 { "/proc/thread-self/status".into() } else { format!("/proc/self/task/{tid}/status") };
    let status = std::fs::read_to_string(path).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    u64::from_str_radix(blocked.trim(), 16).unwrap() >> (libc::SIGUSR2 - 1) & 1 != 0
}

#[test]
fn offload_threads_block_signals_except_while_a_function_runs() {
    let _turn = turn();
    let (tid, deaf) = offload(|| {
        // SAFETY: no arguments.
        (unsafe { libc::gettid() } as u32, has_sigusr2_blocked(0))
    });
    assert!(!deaf, "a process or thread that it starts would inherit the mask");
    // The OS thread may not be idle yet.
    until(|| has_sigusr2_blocked(tid).then_some(()));
    assert!(!has_sigusr2_blocked(0));
}

#[test]
fn offload_by_a_killed_caller_ends_the_wait_and_drops_the_result() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            assert!(name().starts_with("greenline-off-"));
            self.0.fetch_add(1, SeqCst);
            // A panic in it does no harm.
            panic!("by a destructor");
        }
    }
    let _turn = turn();
    let dropped = Arc::new(AtomicUsize::new(0));
    let (f, has_begun, go) = gated();
    let counted = Counted(dropped.clone());
    let waits = spawn(move || {
        let counted = offload(move || {
            f();
            counted
        });
        std::mem::forget(counted);
    });
    until(|| has_begun.try_recv().ok());
    waits.kill();
    assert!(matches!(waits.join(), Err(JoinError::Killed)));
    assert_eq!(dropped.load(SeqCst), 0);
    go.send(()).unwrap();
    until(|| (dropped.load(SeqCst) == 1).then_some(()));
    assert_eq!(offload(|| 1), 1);
}

#[test]
fn offload_inside_an_expired_timeout_ends_the_wait_and_not_the_function() {
    let _turn = turn();
    let (f, has_begun, go) = gated();
    let (done, is_done) = channel();
    let work = move || {
        f();
        done.send(()).unwrap();
    };
    let elapsed = greenline::timeout(Duration::from_millis(30), move || offload(work));
    assert!(elapsed.is_err());
    has_begun.recv().unwrap();
    go.send(()).unwrap();
    is_done.recv().unwrap();
}

#[test]
fn offload_inside_of_offload_runs_in_place() {
    let _turn = turn();
    offload_threads(1);
    // If the inner function waited for a free OS thread, it would wait for itself.
    let names = offload(|| (name(), offload(|| (name(), offload(name)))));
    assert_eq!(names.0, names.1.0);
    assert_eq!(names.0, names.1.1);
}

#[test]
fn offload_does_not_reuse_an_os_thread_with_a_hub() {
    let _turn = turn();
    let tid = || {
        // SAFETY: no arguments.
        unsafe { libc::syscall(libc::SYS_gettid) }
    };
    offload_threads(1);
    let first = offload(tid);
    assert_eq!(first, offload(tid));
    let (f, has_begun, go) = gated();
    let with_hub = spawn(move || {
        offload(move || {
            let ran = Rc::new(Cell::new(false));
            let inside = ran.clone();
            spawn(move || inside.set(true)).join().unwrap();
            assert!(ran.get());
            f();
            tid()
        })
    });
    until(|| has_begun.try_recv().ok());
    // Another OS thread serves the queue.
    let next: Vec<_> = (0..3).map(|_| spawn(move || offload(tid))).collect();
    yield_now();
    go.send(()).unwrap();
    assert_eq!(first, with_hub.join().unwrap());
    let next: HashSet<_> = next.into_iter().map(|one| one.join().unwrap()).collect();
    assert!(!next.contains(&first));
}

#[test]
fn offload_by_several_hubs_runs_many_functions() {
    let _turn = turn();
    offload_threads(4);
    let hubs: Vec<_> = (0..3_u64)
        .map(|hub| {
            thread::spawn(move || {
                let sum = Rc::new(RefCell::new(0));
                let all: Vec<_> = (0..300_u64)
                    .map(|n| {
                        let sum = sum.clone();
                        spawn(move || {
                            let square = offload(move || (hub * 300 + n) * (hub * 300 + n));
                            *sum.borrow_mut() += square;
                        })
                    })
                    .collect();
                all.into_iter().for_each(|one| one.join().unwrap());
                sum.take()
            })
        })
        .collect();
    let sum: u64 = hubs.into_iter().map(|hub| hub.join().unwrap()).sum();
    assert_eq!(sum, (0..900_u64).map(|n| n * n).sum());
}

#[test]
fn offload_threads_that_idle_end_after_some_seconds() {
    let _turn = turn();
    let all: Vec<_> =
        (0..8).map(|_| spawn(|| offload(|| thread::sleep(Duration::from_millis(50))))).collect();
    while !all.iter().all(|one| one.is_finished()) {
        greenline::sleep(Duration::from_millis(5));
    }
    assert!(pool() >= 2);
    let start = Instant::now();
    // One of them is used now and then. The others end all the same.
    while pool() > 1 {
        assert_eq!(offload(|| 1), 1);
        greenline::sleep(Duration::from_millis(100));
    }
    assert!(start.elapsed() > Duration::from_secs(2), "idle OS threads are reused for some seconds");
    assert_eq!(pool(), 1);
}

#[test]
fn offload_from_a_small_stack_runs_on_a_large_one() {
    let _turn = turn();
    let small = Builder::new().stack_size(16 << 10);
    let deep = small
        .spawn(|| offload(|| std::hint::black_box([1_u8; 256 << 10]).iter().map(|&n| n as u32).sum::<u32>()));
    assert_eq!(deep.unwrap().join().unwrap(), 256 << 10);
}

#[test]
#[should_panic(expected = "no offloaded function would ever run")]
fn offload_threads_of_zero_panics() {
    offload_threads(0);
}

/// Returns the id of the calling OS thread.
fn os_thread() -> i32 {
    // SAFETY: no arguments.
    unsafe { libc::gettid() }
}

/// Leaves no memory for another OS thread.
fn refuse_memory() {
    let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    // SAFETY: `limit` is valid.
    unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
}

run_cases_before_main!(run);

/// The cases that run in a child.
fn run(case: &str) {
    match case {
        "environment" => {
            let (first, began, go) = gated();
            let one = spawn(move || offload(first));
            let two = spawn(|| offload(|| ()));
            until(|| began.try_recv().ok());
            greenline::sleep(Duration::from_millis(50));
            println!("one at a time: {}", !two.is_finished());
            go.send(()).unwrap();
            one.join().unwrap();
            two.join().unwrap();
        }
        "no OS threads" => {
            assert!(spawn(name).join().is_ok());
            greenline::Handle::current().unwrap();
            refuse_memory();
            println!("in place: {}", offload(os_thread) == os_thread());
            println!("in place: {}", spawn(move || offload(os_thread)).join().unwrap() == os_thread());
            assert!(spawn(|| offload(|| panic!("boom"))).join().is_err());
        }
        "one OS thread" => {
            let (first, began, go) = gated();
            let one = spawn(move || {
                offload(move || {
                    first();
                    os_thread()
                })
            });
            until(|| began.try_recv().ok());
            refuse_memory();
            let two = spawn(move || offload(os_thread));
            yield_now();
            go.send(()).unwrap();
            println!("on the worker: {}", one.join().unwrap() == two.join().unwrap());
        }
        #[cfg(feature = "patch")]
        "fork" => {
            assert!(offload(name).starts_with("greenline-off-"));
            let (busy, began, _go) = gated();
            let _waits = spawn(move || offload(busy));
            until(|| began.try_recv().ok());
            // Another function waits in the queue. The child does not have that queue.
            offload_threads(1);
            let _in_line = spawn(|| offload(|| println!("never")));
            yield_now();
            // SAFETY: the child does only what glibc allows after a fork in a program with threads.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let name = offload(name);
                let text = format!("in the child {name}, {} of them\n", pool());
                // SAFETY: `text` holds that many bytes.
                unsafe {
                    libc::write(1, text.as_ptr().cast(), text.len());
                    libc::_exit(7);
                }
            }
            let mut status = 0;
            // SAFETY: `status` is writable.
            unsafe { libc::waitpid(child, &mut status, 0) };
            println!("status {}", libc::WEXITSTATUS(status));
            std::process::exit(0);
        }
        #[cfg(feature = "patch")]
        "fork in the pool" => {
            let status = offload(|| {
                // SAFETY: as above.
                match unsafe { libc::fork() } {
                    0 => 0,
                    child => {
                        let mut status = 0;
                        // SAFETY: `status` is writable.
                        unsafe { libc::waitpid(child, &mut status, 0) };
                        status
                    }
                }
            });
            println!("status {status}");
        }
        other => unreachable!("{other}"),
    }
}

/// Runs a case in a child with these environment variables. Returns what it prints.
fn output_of(case: &str, variables: &[(&str, &str)]) -> String {
    let mut command = command(case);
    command.envs(variables.iter().copied());
    finish(command, |_| true).success()
}

#[test]
fn offload_environment_variable_limits_the_os_threads() {
    let text = output_of("environment", &[("GREENLINE_OFFLOAD", "1")]);
    assert!(text.contains("one at a time: true"), "{text}");
    for text in ["0", "many", ""] {
        let text = output_of("environment", &[("GREENLINE_OFFLOAD", text)]);
        assert!(text.contains("one at a time: false"), "{text}");
    }
}

#[test]
fn offload_without_os_threads_runs_in_place() {
    let text = output_of("no OS threads", &[("GREENLINE_WATCHDOG", "0"), ("RUST_BACKTRACE", "0")]);
    assert_eq!(text.matches("in place: true").count(), 2, "{text}");
}

#[test]
fn offload_without_another_os_thread_waits_for_the_one_that_runs() {
    let text = output_of("one OS thread", &[("GREENLINE_WATCHDOG", "0")]);
    assert!(text.contains("on the worker: true"), "{text}");
}

#[test]
#[cfg(feature = "patch")]
fn offload_after_fork_has_a_new_pool_in_the_child() {
    let text = output_of("fork", &[]);
    assert!(text.contains("in the child greenline-off-1, 1 of them\n"), "{text}");
    assert!(text.contains("status 7") && !text.contains("never"), "{text}");
}

#[test]
#[cfg(feature = "patch")]
fn offload_of_a_function_that_forks_ends_the_child() {
    let text = output_of("fork in the pool", &[]);
    assert!(text.contains("status 0"), "{text}");
}
