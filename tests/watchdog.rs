//! The watchdog: who is reported, and who is not. Each case runs in a child, which is this program again with the
//! case's name in the environment, for there is one watchdog in a process.

mod support;

use greenline::*;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::subprocess::{self, finish, run_cases_before_main};

const LIMIT: Duration = Duration::from_millis(100);
/// Long after the limit, also on a machine that is busy.
const LONG: Duration = Duration::from_secs(30);

/// What was logged.
static SAID: Mutex<String> = Mutex::new(String::new());
/// Where a byte is written as soon as anything is logged.
static RELEASE: AtomicI32 = AtomicI32::new(-1);

struct Collects;

impl log::Log for Collects {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let mut said = SAID.lock().unwrap();
        *said += &format!("{}: {}\n", record.level(), record.args());
        let fd = RELEASE.load(SeqCst);
        if fd >= 0 {
            // SAFETY: a byte of our own.
            unsafe { libc::write(fd, c"x".as_ptr().cast(), 1) };
        }
    }
    fn flush(&self) {}
}

fn said(text: &str) -> bool {
    SAID.lock().unwrap().contains(text)
}

/// Computes until `done`.
#[inline(never)]
fn spin_until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() && begun.elapsed() < LONG {
        std::hint::spin_loop();
    }
}

/// Computes for a time.
fn spin_for(time: Duration) {
    let begun = Instant::now();
    spin_until(|| begun.elapsed() >= time);
}

/// How many OS threads there are besides the one that asks.
fn others() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count() - 1
}

run_cases_before_main!(run);

/// The cases that run in a child.
fn run(case: &str) {
    let logged = !case.starts_with("unlogged");
    if logged {
        log::set_logger(&Collects).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    }
    match case {
        "spins" => {
            watchdog::start(LIMIT).unwrap();
            let spinner = || spin_until(|| said("'spinner' has not given way"));
            let spinner = Builder::new().name("spinner").spawn(spinner).unwrap();
            drop(spawn(|| sleep(Duration::from_secs(3600))));
            spinner.join().unwrap();
            spin_until(|| said("has given way"));
        }
        "spins for long" => {
            watchdog::start(LIMIT).unwrap();
            spawn(|| spin_until(|| SAID.lock().unwrap().matches("has not given way").count() == 4))
                .join()
                .unwrap();
        }
        "unlogged spin" => {
            let loud = Builder::new().name("loud");
            // Until stdin is at its end.
            let mut stdin = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
            let is_over = move || {
                // SAFETY: one entry, of ours. It does not wait.
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
                // SAFETY: a byte of our own. The report itself brings it.
                unsafe { libc::read(pipe[0], (&raw mut byte).cast(), 1) }
            };
            assert_eq!(Builder::new().name("reader").spawn(reader).unwrap().join().unwrap(), 1);
        }
        "sleeps" => {
            watchdog::start(LIMIT).unwrap();
            spawn(|| sleep(10 * LIMIT)).join().unwrap();
        }
        "yields" => {
            // Wide, for the whole process may have to wait for a processor.
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
            spin_until(|| said("the root has not given way"));
            other.join().unwrap();
        }
        "two hubs" => {
            watchdog::start(LIMIT).unwrap();
            let work = |name: &'static str| {
                move || {
                    let stuck = Builder::new().name(name).spawn(move || {
                        spin_until(|| said(&format!("'{name}' has not given way")));
                    });
                    stuck.unwrap().join().unwrap();
                }
            };
            let other = thread::Thread::new(work("there")).name("second").start().unwrap();
            work("here")();
            other.join().unwrap();
            // Hubs that have ended are not looked at any more.
            spawn(|| sleep(3 * LIMIT)).join().unwrap();
        }
        "stop" => {
            watchdog::start(LIMIT).unwrap();
            assert_eq!(others(), 1);
            watchdog::stop();
            spin_until(|| others() == 0);
            spawn(|| spin_for(10 * LIMIT)).join().unwrap();
            assert_eq!((&**SAID.lock().unwrap(), others()), ("", 0));
            watchdog::start(LIMIT).unwrap();
            watchdog::start(2 * LIMIT).unwrap();
            spawn(|| spin_until(|| said("has not given way"))).join().unwrap();
            assert_eq!(others(), 1);
            // Again and again, also before it has ended.
            for _ in 0..1000 {
                watchdog::stop();
                watchdog::start(LIMIT).unwrap();
            }
            watchdog::stop();
            spin_until(|| others() == 0);
            assert_eq!(others(), 0);
        }
        "by itself" => {
            spawn(|| ()).join().unwrap();
            print!("{} others", others());
        }
        "asked not to" => {
            watchdog::stop();
            spawn(|| ()).join().unwrap();
            print!("{} others", others());
        }
        "made before" => {
            // Spawned by this hub before the watchdog was there: known all the same.
            let early = Builder::new().name("early").spawn(|| spin_until(|| said("'early' has not")));
            watchdog::start(LIMIT).unwrap();
            early.unwrap().join().unwrap();
        }
        "other handler" => {
            extern "C" fn count(_: i32) {
                RELEASE.fetch_add(-1, SeqCst);
            }
            // SAFETY: a handler with the right signature; the signals are for this OS thread.
            unsafe {
                libc::signal(libc::SIGURG, count as *const () as usize);
                watchdog::start(LIMIT).unwrap();
                libc::raise(libc::SIGURG);
                assert_eq!(RELEASE.load(SeqCst), -2, "the handler that was there is called");
                spawn(|| spin_until(|| said("has not given way"))).join().unwrap();
                assert_eq!(RELEASE.load(SeqCst), -2, "but not for the watchdog");
                libc::signal(libc::SIGURG, count as *const () as usize);
                spawn(|| spin_until(|| said("it does not take signal"))).join().unwrap();
                assert_eq!(RELEASE.load(SeqCst), -2, "nor if it is there now");
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
                // SAFETY: the child uses the hub, which is what is tried here, and leaves by _exit.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    let fine = spawn(|| 3).join().unwrap() == 3 && others() == 0;
                    let fine = fine && watchdog::start(LIMIT).is_ok() && others() == 1;
                    let fine = fine && spawn(yield_now).join().is_ok();
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(if fine { 0 } else { 1 }) };
                }
                let mut status = 0;
                // SAFETY: a child of ours, and a word for its status.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert_eq!(status, 0);
            }
            churn.join().unwrap();
            SAID.lock().unwrap().clear(); // with such a limit anybody may be slow
        }
        other => panic!("no case '{other}'"),
    }
    print!("{}", SAID.lock().unwrap());
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
fn who_computes_is_reported_with_name_place_and_backtrace() {
    let said = log_of("spins");
    let mut lines = said.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("WARN: green thread 'spinner' has not given way for "), "{said}");
    assert!(first.contains("; spawned at tests/watchdog.rs:"), "{said}");
    // Before `main` it has no name yet.
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
fn it_is_said_again_when_it_has_lasted_twice_as_long() {
    let begun = Instant::now();
    let said = log_of("spins for long");
    // 100, 200, 400, 800.
    assert!(begun.elapsed() >= 8 * LIMIT, "{said}");
}

#[test]
fn without_a_logger_it_is_said_on_stderr_and_the_environment_starts_it() {
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
fn who_waits_in_a_system_call_is_reported_with_its_name_and_not_interrupted() {
    let said = log_of("poll");
    assert!(said.contains("green thread 'poller' has not given way for "), "{said}");
    assert!(said.contains("spawned at tests/watchdog.rs:"), "{said}");
    // Which of them the C library, or the patch, makes of it.
    let is_named =
        ["poll", "ppoll"].iter().any(|name| said.contains(&format!("\n  in the system call {name}\n")));
    assert!(is_named, "{said}");

    let said = log_of("read");
    assert!(said.contains("green thread 'reader' has not given way for "), "{said}");
    assert!(said.contains("\n  in the system call read\n"), "{said}");
}

#[test]
fn who_keeps_nobody_waiting_is_not_reported() {
    for case in ["sleeps", "yields", "root alone"] {
        assert_eq!(log_of(case), "", "{case}");
    }
}

#[test]
fn the_root_is_reported_when_it_keeps_others_waiting() {
    let said = log_of("root keeps others");
    assert!(said.contains("WARN: the root has not given way for "), "{said}");
    assert!(said.contains(", where another is alive\n  it computes:\n"), "{said}");
}

#[test]
fn each_hub_is_reported() {
    let said = log_of("two hubs");
    for who in ["'here' has not given way", "'there' has not given way"] {
        assert!(said.contains(who), "{said}");
    }
    assert!(said.contains("; on OS thread 'root' (") && said.contains("; on OS thread 'second' ("), "{said}");
}

#[test]
fn it_stops_and_starts() {
    log_of("stop");
}

#[test]
fn who_was_spawned_before_on_the_hub_that_starts_it_is_known() {
    assert!(log_of("made before").contains("spawned at tests/watchdog.rs:"));
}

#[test]
fn the_build_the_environment_and_the_program_decide_whether_it_starts_by_itself() {
    let count = |case, millis| finish(command(case, millis), |_| true).success();
    let by_itself = if cfg!(debug_assertions) { "1 others" } else { "0 others" };
    assert_eq!(count("by itself", None), by_itself);
    assert_eq!(count("by itself", Some("no number")), by_itself);
    assert_eq!(count("by itself", Some("0")), "0 others");
    assert_eq!(count("by itself", Some("1000")), "1 others");
    assert_eq!(count("asked not to", Some("1000")), "0 others");
}

#[test]
fn a_handler_that_the_program_has_keeps_its_signals() {
    log_of("other handler");
}

#[test]
fn a_forked_child_uses_its_hub_and_may_have_a_watchdog_of_its_own() {
    log_of("fork");
}
