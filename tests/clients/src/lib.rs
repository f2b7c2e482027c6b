//! Helpers of the tests of client libraries. Each test program patches in the first line of `main` and starts plain
//! `std::thread`s, in which an unmodified library waits: for a server, or for a file that others have locked. The waits of
//! all threads must add up to far more than the time that has passed, and no OS thread but the first may take part.
//!
//! `.ci/servers` starts the servers and puts their addresses into the environment.

use greenline::thread::Thread;
use std::panic::catch_unwind;
use std::process::{ExitCode, abort};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Number of threads that run at once.
pub const CROWD: usize = 200;

/// Time after which a test program counts as hanging.
const HANG_TIMEOUT: Duration = Duration::from_secs(100);

/// Defines the `main` of a test program, which [`run`]s these functions.
#[macro_export]
macro_rules! main {
    ($($test:ident),+ $(,)?) => {
        fn main() -> std::process::ExitCode {
            $crate::run(&[$((stringify!($test), $test)),+])
        }
    };
}

/// Patches, and runs the tests one after the other: those whose names contain a word of the command line, or all if there
/// is no word.
pub fn run(tests: &[(&'static str, fn())]) -> ExitCode {
    greenline::patch::all();
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let current = Arc::new(Mutex::new(""));
    watch(current.clone());
    let mut failures = 0;
    for &(name, test) in tests.iter().filter(|(name, _)| wanted(name)) {
        *current.lock().expect("no thread panics while it holds the lock") = name;
        let start = Instant::now();
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {} ({:.2?})", if passed { "ok" } else { "FAILED" }, start.elapsed());
        failures += usize::from(!passed);
    }
    ExitCode::from(u8::from(failures > 0))
}

/// Ends the process when it hangs. An OS thread does so, because a test that hangs may never return to its hub.
fn watch(current: Arc<Mutex<&'static str>>) {
    let watch = move || {
        thread::sleep(HANG_TIMEOUT);
        eprintln!("test {} ... hangs", current.lock().expect("no thread panics while it holds the lock"));
        abort();
    };
    Thread::new(watch).name("greenline-tests").daemon(true).start().expect("an OS thread can be made");
}

/// Returns the address of a server, from the environment.
///
/// # Panics
/// If it is not there. The tests must not pass without their servers.
pub fn server(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set. The tests need servers: .ci/servers cargo test -p greenline-clients")
    })
}

/// Runs `work` in [`CROWD`] threads at once, with the number of each thread. Returns the results.
///
/// # Panics
/// If one of them panicked, or has run on another OS thread than the caller's, or left OS threads behind.
pub fn crowd<T: Send + 'static>(work: impl Fn(usize) -> T + Send + Sync + 'static) -> Vec<T> {
    let here = os_thread();
    let work = Arc::new(work);
    let threads: Vec<_> = (0..CROWD)
        .map(|number| {
            let work = work.clone();
            thread::spawn(move || {
                let result = work(number);
                assert_eq!(os_thread(), here, "a green thread stays on its OS thread");
                assert_alone();
                result
            })
        })
        .collect();
    // All are joined before a failure is reported. Otherwise the others would go on during the next test.
    let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
    ended.into_iter().map(|ended| ended.expect("no thread of the crowd panics")).collect()
}

/// Runs `work`, in which each thread of a [`crowd`] waits for at least `each`. Returns its result.
///
/// # Panics
/// If it took a fifth of all those waits or more, because they did not overlap; or less than one wait.
pub fn overlapping<T>(each: Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let took = start.elapsed();
    let waited = each * CROWD as u32;
    assert!(took >= each, "no thread has waited: {took:?}");
    assert!(took < waited / 5, "waits that add up to {waited:?} took {took:?}");
    println!("     waits that add up to {waited:?} took {took:.2?}");
    result
}

/// Sleeps until `condition` is true, while other green threads run.
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the kernel's id of the calling OS thread.
fn os_thread() -> u32 {
    let link = fs::read_link("/proc/thread-self").expect("/proc is mounted");
    let number = link.file_name().and_then(|name| name.to_str()?.parse().ok());
    number.expect("the link ends in the id")
}

/// Checks that no library has made an OS thread. An OS thread of greenline may not have its name yet.
fn assert_alone() {
    let start = Instant::now();
    while os_threads() > 1 {
        assert!(start.elapsed() < Duration::from_secs(5), "a library has made an OS thread");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the number of OS threads of this process, without those that greenline and [`run`] have made and named.
fn os_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    // An OS thread that has ended meanwhile has no name.
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| !name.starts_with("greenline")).count()
}
