//! The same scenario on an OS thread without a hub, where every call goes to the kernel, and in a green thread.

use greenline::patch;
use greenline::thread::Thread;
use std::cell::Cell;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A number that is not open, and stays so: it is beyond what others get.
pub(crate) const NOT_OPEN: i32 = 1000;

/// A hang ends.
pub(crate) fn setup() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let abort_on_timeout = || {
            thread::sleep(Duration::from_secs(100));
            eprintln!("a test hangs");
            std::process::abort();
        };
        drop(Thread::new(abort_on_timeout).daemon(true).start().unwrap());
        // The table of descriptors grows: calls that look no further than its end now look at `NOT_OPEN`.
        // SAFETY: nobody has a number so large.
        unsafe { assert_eq!((libc::dup2(2, NOT_OPEN + 1), libc::close(NOT_OPEN + 1)), (NOT_OPEN + 1, 0)) };
    });
    patch::all();
}

/// One test at a time: the numbers of descriptors are the whole process's.
pub(crate) fn exclusive() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // First, for a hub takes descriptors, too.
    let exclusive = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    setup();
    exclusive
}

thread_local! {
    static IS_GREEN: Cell<bool> = const { Cell::new(false) };
}

/// Both answer the same: what is answered.
#[track_caller]
pub(crate) fn same<T: PartialEq + Debug + Send + 'static>(
    scenario: impl Fn() -> T + Clone + Send + 'static,
) -> T {
    setup();
    let as_os_thread = Thread::new(scenario.clone()).start().unwrap().join().unwrap();
    let green = move || {
        IS_GREEN.set(true);
        scenario()
    };
    let as_green_thread = thread::spawn(green).join().unwrap();
    assert_eq!(as_green_thread, as_os_thread, "green thread, OS thread");
    as_green_thread
}

/// The answer of a call, or the error's number.
pub(crate) fn answer(answer: impl TryInto<i64>) -> Result<i64, i32> {
    match answer.try_into().ok().unwrap() {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap()),
        answer => Ok(answer),
    }
}

/// Calls `f` while another green thread counts, at a millisecond's pace. Answers what it says, and how far that came.
pub(crate) fn count_while<T>(f: impl FnOnce() -> T) -> (T, u32) {
    let (count, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (counting, stopped) = (count.clone(), stop.clone());
    let counter = thread::spawn(move || {
        while !stopped.load(SeqCst) {
            counting.fetch_add(1, SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
    });
    let answer = f();
    let count = count.load(SeqCst);
    stop.store(true, SeqCst);
    counter.join().unwrap();
    (answer, count)
}

/// `f` takes at least so long, and others run meanwhile, if it is a green thread that waits.
#[track_caller]
pub(crate) fn waits<T>(at_least: Duration, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let (answer, count) = count_while(f);
    let took = start.elapsed();
    assert!(took >= at_least.mul_f32(0.9), "{took:?}");
    // If nobody else ran, the counter has not even begun.
    assert!(count >= 1 || !IS_GREEN.get(), "the others stood still");
    answer
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Some other thread, of the kind that the caller is, does `f` a little later.
pub(crate) fn spawn_delayed<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || {
        thread::sleep(ms(20));
        f()
    })
}

/// Sends `signal` to the OS thread that calls, again and again until it is told to stop: from an OS thread, so that
/// the hub may be idle.
pub(crate) fn send_signal_repeatedly(signal: i32) -> impl FnOnce() {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    // SAFETY: no arguments.
    let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
    let sender = move || {
        while !stopped.load(SeqCst) {
            thread::sleep(ms(20));
            // SAFETY: no pointers.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
        }
    };
    let sender = Thread::new(sender).start().unwrap();
    move || {
        stop.store(true, SeqCst);
        sender.join().unwrap();
    }
}
