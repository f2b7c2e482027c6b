//! What the tests of client libraries have in common. Each is a program that patches in the first line of `main`,
//! makes plain `std::thread`s, and has a library that has never heard of greenline wait in them: for a server, for a
//! file that others have locked. What a crowd of them has waited must add up to far more than the time that has
//! passed, and no OS thread but the first may have taken part.
//!
//! The servers are started, and named in the environment, by `.ci/servers`.

use greenline::thread::Thread;
use std::panic::catch_unwind;
use std::process::{ExitCode, abort};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// How many threads there are at once.
pub const CROWD: usize = 200;

/// After that long, a program of tests is taken to hang.
const PATIENCE: Duration = Duration::from_secs(100);

/// The `main` of a program of tests: [`run`]s these functions.
#[macro_export]
macro_rules! main {
    ($($test:ident),+ $(,)?) => {
        fn main() -> std::process::ExitCode {
            $crate::run(&[$((stringify!($test), $test)),+])
        }
    };
}

/// Patches, and runs those tests whose names contain a word of the command line, one after the other; without a word,
/// all.
pub fn run(tests: &[(&'static str, fn())]) -> ExitCode {
    greenline::patch::all();
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let current = Arc::new(Mutex::new(""));
    watch(current.clone());
    let mut failures = 0;
    for &(name, test) in tests.iter().filter(|(name, _)| wanted(name)) {
        *current.lock().expect("nobody panics with it") = name;
        let start = Instant::now();
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {} ({:.2?})", if passed { "ok" } else { "FAILED" }, start.elapsed());
        failures += usize::from(!passed);
    }
    ExitCode::from(u8::from(failures > 0))
}

/// Ends the process when it hangs: from an OS thread, since one that hangs may never come back to its hub.
fn watch(current: Arc<Mutex<&'static str>>) {
    let watch = move || {
        thread::sleep(PATIENCE);
        eprintln!("test {} ... hangs", current.lock().expect("nobody panics with it"));
        abort();
    };
    Thread::new(watch).name("greenline-tests").daemon(true).start().expect("an OS thread can be made");
}

/// The address of a server, from the environment.
///
/// # Panics
/// It is not there: the tests must not pass without their servers.
pub fn server(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set. The tests want servers: .ci/servers cargo test -p greenline-clients")
    })
}

/// Runs `work` in [`CROWD`] threads at once, and answers what each has answered; each is told its number.
///
/// # Panics
/// One of them panicked, or has run on another OS thread than this, or left others behind.
pub fn crowd<T: Send + 'static>(work: impl Fn(usize) -> T + Send + Sync + 'static) -> Vec<T> {
    let here = os_thread();
    let work = Arc::new(work);
    let threads: Vec<_> = (0..CROWD)
        .map(|number| {
            let work = work.clone();
            thread::spawn(move || {
                let answer = work(number);
                assert_eq!(os_thread(), here, "a green thread stays on its OS thread");
                assert_alone();
                answer
            })
        })
        .collect();
    // All are joined before one fails, lest the others run on under the next test.
    let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
    ended.into_iter().map(|ended| ended.expect("no thread of the crowd panics")).collect()
}

/// Runs `work`, in which each of a [`crowd`] waits for at least `each`, and answers what it answers.
///
/// # Panics
/// It took a fifth of all those waits, or more: they did not overlap. Or less than one of them.
pub fn overlapping<T>(each: Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = work();
    let took = start.elapsed();
    let waited = each * CROWD as u32;
    assert!(took >= each, "nobody has waited: {took:?}");
    assert!(took < waited / 5, "waits that add up to {waited:?} took {took:?}");
    println!("     waits that add up to {waited:?} took {took:.2?}");
    answer
}

/// Has the others run until `condition` is true.
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// The kernel's number of the OS thread that runs this.
fn os_thread() -> u32 {
    let link = fs::read_link("/proc/thread-self").expect("/proc is mounted");
    let number = link.file_name().and_then(|name| name.to_str()?.parse().ok());
    number.expect("it ends in the number")
}

/// Checks that no library has made an OS thread. One of greenline's may not have its name yet.
fn assert_alone() {
    let start = Instant::now();
    while os_threads() > 1 {
        assert!(start.elapsed() < Duration::from_secs(5), "a library has made an OS thread");
        thread::sleep(Duration::from_millis(1));
    }
}

/// How many OS threads this process has, without those that greenline and [`run`] have made and named.
fn os_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    // One that has ended meanwhile has no name.
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| !name.starts_with("greenline")).count()
}
