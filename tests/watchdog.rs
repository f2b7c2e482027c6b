//! The watchdog: which green threads it reports, and which it does not. Each case runs in a child, because a process has
//! only one watchdog.

mod support;

use greenline::*;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::proc_fs::os_threads;
use support::subprocess::{self, finish, run_cases_before_main};
use support::time::{HANG_TIMEOUT, HOUR};

const LIMIT: Duration = Duration::from_millis(100);

/// All lines that were logged.
static LOG: Mutex<String> = Mutex::new(String::new());
/// Descriptor to which a byte is written whenever a line is logged. -1: none.
static RELEASE: AtomicI32 = AtomicI32::new(-1);

struct Collector;

impl log::Log for Collector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let mut said = LOG.lock().unwrap();
        *said += &format!("{}: {}\n", record.level(), record.args());
        let fd = RELEASE.load(SeqCst);
        if fd >= 0 {
            // SAFETY: the pointer is to one byte.
            unsafe { libc::write(fd, c"x".as_ptr().cast(), 1) };
        }
    }
    fn flush(&self) {}
}

fn is_logged(text: &str) -> bool {
    LOG.lock().unwrap().contains(text)
}

/// Computes until `done` returns `true`.
#[inline(never)]
fn spin_until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() && begun.elapsed() < HANG_TIMEOUT {
        std::hint::spin_loop();
    }
}

/// Computes for that time.
fn spin_for(time: Duration) {
    let begun = Instant::now();
    spin_until(|| begun.elapsed() >= time);
}

/// Returns the number of OS threads besides the calling one.
fn other_os_threads() -> usize {
    os_threads() - 1
}

run_cases_before_main!(run);

/// The cases that run in a child.
fn run(case: &str) {
    let logged = !case.starts_with("unlogged");
    if logged {
        log::set_logger(&Collector).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    }
    match case {
        "spins" => {
            watchdog::start(LIMIT).unwrap();
            let spinner = || spin_until(|| is_logged("'spinner' has not given way"));
            let spinner = Builder::new().name("spinner").spawn(spinner).unwrap();
            drop(spawn(|| sleep(HOUR)));
            spinner.join().unwrap();
            spin_until(|| is_logged("has given way"));
        }
        "spins for long" => {
            watchdog::start(LIMIT).unwrap();
            spawn(|| spin_until(|| LOG.lock().unwrap().matches("has not given way").count() == 4))
                .join()
                .unwrap();
        }
        "unlogged spin" => {
            let loud = Builder::new().name("loud");
            // Computes until the end of stdin.
            let mut stdin = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
            let is_over = move || {
                // SAFETY: the pointer is to one entry. The call does not wait.
                unsafe { libc::poll(&raw mut stdin, 1, 0) == 1 }
            };
            loud.spawn(move || spin_until(is_over)).unwrap().join().unwrap();
        }
        "poll" => {
            watchdog::start(LIMIT).unwrap();
            let poller = || {
                let begun = Instant::now();
                // SAFETY: no descriptors, so no pointer is followed.
                let answer = unsafe { libc::poll(std::ptr::null_mut(), 0, 1000) };
                (answer, begun.elapsed())
            };
            let poller = Builder::new().name("poller").spawn(poller).unwrap();
            let (answer, took) = poller.join().unwrap();
            assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
            assert!(took >= Duration::from_millis(1000), "{took:?}");
        }
        "read" => {
            let mut pipe = [0; 2];
            // SAFETY: room for two descriptors.
            assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
            RELEASE.store(pipe[1], SeqCst);
            watchdog::start(LIMIT).unwrap();
            let reader = move || {
                let mut byte = 0u8;
                // SAFETY: the pointer is to one byte. The report writes it into the pipe.
                unsafe { libc::read(pipe[0], (&raw mut byte).cast(), 1) }
            };
            assert_eq!(Builder::new().name("reader").spawn(reader).unwrap().join().unwrap(), 1);
        }
        "sleeps" => {
            watchdog::start(LIMIT).unwrap();
            spawn(|| sleep(10 * LIMIT)).join().unwrap();
        }
        "yields" => {
            // The limit is wide, because the whole process may have to wait for a processor.
            watchdog::start(5 * LIMIT).unwrap();
            let busy = || {
                let begun = Instant::now();
                while begun.elapsed() < 15 * LIMIT {
                    spin_for(Duration::from_millis(1));
                    yield_now();
                }
            };
            join_all([spawn(busy), spawn(busy)]);
        }
        "root alone" => {
            watchdog::start(LIMIT).unwrap();
            spawn(|| ()).join().unwrap();
            spin_for(10 * LIMIT);
        }
        "root keeps others" => {
            watchdog::start(LIMIT).unwrap();
            let other = spawn(|| sleep(Duration::from_millis(1)));
            spin_until(|| is_logged("the root has not given way"));
            other.join().unwrap();
        }
        "two hubs" => {
            watchdog::start(LIMIT).unwrap();
            let work = |name: &'static str| {
                move || {
                    let stuck = Builder::new().name(name).spawn(move || {
                        spin_until(|| is_logged(&format!("'{name}' has not given way")));
                    });
                    stuck.unwrap().join().unwrap();
                }
            };
            let other = thread::Thread::new(work("there")).name("second").start().unwrap();
            work("here")();
            other.join().unwrap();
            // The watchdog no longer looks at hubs that have ended.
            spawn(|| sleep(3 * LIMIT)).join().unwrap();
        }
        "stop" => {
            watchdog::start(LIMIT).unwrap();
            assert_eq!(other_os_threads(), 1);
            watchdog::stop();
            spin_until(|| other_os_threads() == 0);
            spawn(|| spin_for(10 * LIMIT)).join().unwrap();
            assert_eq!((&**LOG.lock().unwrap(), other_os_threads()), ("", 0));
            watchdog::start(LIMIT).unwrap();
            watchdog::start(2 * LIMIT).unwrap();
            spawn(|| spin_until(|| is_logged("has not given way"))).join().unwrap();
            assert_eq!(other_os_threads(), 1);
            // Many times, also before the watchdog thread has ended.
            for _ in 0..1000 {
                watchdog::stop();
                watchdog::start(LIMIT).unwrap();
            }
            watchdog::stop();
            spin_until(|| other_os_threads() == 0);
            assert_eq!(other_os_threads(), 0);
        }
        "by itself" => {
            spawn(|| ()).join().unwrap();
            print!("{} others", other_os_threads());
        }
        "asked not to" => {
            watchdog::stop();
            spawn(|| ()).join().unwrap();
            print!("{} others", other_os_threads());
        }
        "made before" => {
            // This hub has spawned the green thread before the watchdog started.
            let early = Builder::new().name("early").spawn(|| spin_until(|| is_logged("'early' has not")));
            watchdog::start(LIMIT).unwrap();
            early.unwrap().join().unwrap();
        }
        "other handler" => {
            extern "C" fn count(_: i32) {
                RELEASE.fetch_add(-1, SeqCst);
            }
            // SAFETY: the handler has the right signature. The signals go to this OS thread.
            unsafe {
                libc::signal(libc::SIGURG, count as *const () as usize);
                watchdog::start(LIMIT).unwrap();
                libc::raise(libc::SIGURG);
                assert_eq!(RELEASE.load(SeqCst), -2, "the former handler is called");
                spawn(|| spin_until(|| is_logged("has not given way"))).join().unwrap();
                assert_eq!(RELEASE.load(SeqCst), -2, "the watchdog's signal does not reach it");
                libc::signal(libc::SIGURG, count as *const () as usize);
                spawn(|| spin_until(|| is_logged("it does not take signal"))).join().unwrap();
                assert_eq!(RELEASE.load(SeqCst), -2, "nor does it reach the handler that was set later");
            }
        }
        "fork" => {
            watchdog::start(Duration::from_millis(1)).unwrap();
            let churn = thread::Thread::new(|| {
                for _ in 0..500 {
                    let hub = || Builder::new().name("a").spawn(yield_now).unwrap().join().unwrap();
                    thread::Thread::new(hub).start().unwrap().join().unwrap();
                }
            });
            let churn = churn.start().unwrap();
            for _ in 0..100 {
                // SAFETY: the child uses the hub, which is the subject of this test, and ends by _exit.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    let fine = spawn(|| 3).join().unwrap() == 3 && other_os_threads() == 0;
                    let fine = fine && watchdog::start(LIMIT).is_ok() && other_os_threads() == 1;
                    let fine = fine && spawn(yield_now).join().is_ok();
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(if fine { 0 } else { 1 }) };
                }
                let mut status = 0;
                // SAFETY: `child` has not been waited for, and `status` is writable.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert_eq!(status, 0);
            }
            churn.join().unwrap();
            LOG.lock().unwrap().clear(); // with a limit of 1 ms, any green thread may be reported
        }
        other => panic!("no case '{other}'"),
    }
    print!("{}", LOG.lock().unwrap());
}

/// Returns the command that runs a case, with this value of the environment variable `GREENLINE_WATCHDOG`.
fn command(case: &str, millis: Option<&str>) -> Command {
    let mut command = subprocess::command(case);
    command.env_remove("GREENLINE_WATCHDOG").envs(millis.map(|millis| ("GREENLINE_WATCHDOG", millis)));
    command
}

/// Runs a case, which must succeed. Returns what it logged.
fn log_of(case: &str) -> String {
    finish(command(case, None), |_| true).success()
}

#[test]
fn watchdog_reports_a_computing_green_thread_with_name_origin_and_backtrace() {
    let said = log_of("spins");
    let mut lines = said.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("WARN: green thread 'spinner' has not given way for "), "{said}");
    assert!(first.contains("; spawned at tests/watchdog.rs:"), "{said}");
    // Before `main`, the main OS thread has no name yet.
    assert!(first.contains("; on OS thread 'root' ("), "{said}");
    assert!(first.ends_with(", where another is alive"), "{said}");
    assert_eq!(lines.next(), Some("  it computes:"), "{said}");
    let frames: Vec<_> = lines.clone().take_while(|line| line.starts_with("    ")).collect();
    assert!(frames.len() >= 3, "{said}");
    let own = if cfg!(feature = "backtrace") { "spin_until" } else { "/watchdog-" };
    assert!(frames.iter().any(|frame| frame.contains(own)), "{said}");
    let last = lines.nth(frames.len()).unwrap();
    assert!(last.starts_with("WARN: green thread 'spinner' has given way, after "), "{said}");
}

#[test]
fn watchdog_reports_again_after_twice_the_time() {
    let begun = Instant::now();
    let said = log_of("spins for long");
    // The reports come after 100, 200, 400, and 800 ms.
    assert!(begun.elapsed() >= 8 * LIMIT, "{said}");
}

#[test]
fn watchdog_started_by_the_environment_reports_on_stderr_without_a_logger() {
    let mut command = command("unlogged spin", Some("200"));
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut first).unwrap();
    assert!(first.starts_with("greenline: green thread 'loud' has not given way for "), "{first}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn watchdog_reports_a_system_call_by_name_and_does_not_interrupt_it() {
    let said = log_of("poll");
    assert!(said.contains("green thread 'poller' has not given way for "), "{said}");
    assert!(said.contains("spawned at tests/watchdog.rs:"), "{said}");
    // The C library, or the patch, chooses one of the two.
    let is_named =
        ["poll", "ppoll"].iter().any(|name| said.contains(&format!("\n  in the system call {name}\n")));
    assert!(is_named, "{said}");

    let said = log_of("read");
    assert!(said.contains("green thread 'reader' has not given way for "), "{said}");
    assert!(said.contains("\n  in the system call read\n"), "{said}");
}

#[test]
fn watchdog_does_not_report_a_green_thread_that_keeps_none_waiting() {
    for case in ["sleeps", "yields", "root alone"] {
        assert_eq!(log_of(case), "", "{case}");
    }
}

#[test]
fn watchdog_reports_the_root_when_it_keeps_others_waiting() {
    let said = log_of("root keeps others");
    assert!(said.contains("WARN: the root has not given way for "), "{said}");
    assert!(said.contains(", where another is alive\n  it computes:\n"), "{said}");
}

#[test]
fn watchdog_reports_each_hub() {
    let said = log_of("two hubs");
    for who in ["'here' has not given way", "'there' has not given way"] {
        assert!(said.contains(who), "{said}");
    }
    assert!(said.contains("; on OS thread 'root' (") && said.contains("; on OS thread 'second' ("), "{said}");
}

#[test]
fn watchdog_stop_and_start_may_be_repeated() {
    log_of("stop");
}

#[test]
fn watchdog_start_knows_green_threads_that_were_spawned_before() {
    assert!(log_of("made before").contains("spawned at tests/watchdog.rs:"));
}

#[test]
fn watchdog_starts_by_itself_depending_on_build_environment_and_program() {
    let count = |case, millis| finish(command(case, millis), |_| true).success();
    let by_itself = if cfg!(debug_assertions) { "1 others" } else { "0 others" };
    assert_eq!(count("by itself", None), by_itself);
    assert_eq!(count("by itself", Some("no number")), by_itself);
    assert_eq!(count("by itself", Some("0")), "0 others");
    assert_eq!(count("by itself", Some("1000")), "1 others");
    assert_eq!(count("asked not to", Some("1000")), "0 others");
}

#[test]
fn watchdog_leaves_a_handler_of_the_program_its_signals() {
    log_of("other handler");
}

#[test]
fn watchdog_can_be_started_in_a_forked_child() {
    log_of("fork");
}
