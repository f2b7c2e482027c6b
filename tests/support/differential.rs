//! Runs one scenario twice and compares: on an OS thread without a hub, where every call goes to the kernel, and in a
//! green thread.

use super::hang_guard::HangGuard;
pub(crate) use super::time::ms;
use greenline::patch;
use greenline::thread::Thread;
use std::cell::Cell;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Number of a descriptor that is not open. It stays so, because other descriptors get the smallest free numbers.
pub(crate) const NOT_OPEN: i32 = 1000;

/// Patches, and aborts the test program if it hangs.
pub(crate) fn setup() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // For the whole program.
        std::mem::forget(HangGuard::new());
        // The kernel's table of descriptors grows: calls that look no further than its end now look at `NOT_OPEN`.
        // SAFETY: no other descriptor has a number so large.
        unsafe { assert_eq!((libc::dup2(2, NOT_OPEN + 1), libc::close(NOT_OPEN + 1)), (NOT_OPEN + 1, 0)) };
    });
    patch::all();
}

/// Lets one test run at a time, and patches: descriptors' numbers belong to the whole process.
pub(crate) fn exclusive() -> MutexGuard<'static, ()> {
    static EXCLUSIVE: Mutex<()> = Mutex::new(());
    // Before `setup`, because a new hub takes descriptors, too.
    let exclusive = EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner);
    setup();
    exclusive
}

thread_local! {
    static IS_GREEN: Cell<bool> = const { Cell::new(false) };
}

/// Runs `scenario` on an OS thread and in a green thread. Returns its result, which must be the same.
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

/// Returns the result of a call of the C library. If it is -1, returns `errno` as the error.
pub(crate) fn answer(result: impl TryInto<i64>) -> Result<i64, i32> {
    match result.try_into().ok().unwrap() {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap()),
        result => Ok(result),
    }
}

/// Calls `f` while another green thread counts once in a millisecond. Returns the result of `f`, and the count.
pub(crate) fn count_while<T>(f: impl FnOnce() -> T) -> (T, u32) {
    let (count, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (counting, stopped) = (count.clone(), stop.clone());
    let counter = thread::spawn(move || {
        while !stopped.load(SeqCst) {
            counting.fetch_add(1, SeqCst);
            thread::sleep(ms(1));
        }
    });
    let result = f();
    let count = count.load(SeqCst);
    stop.store(true, SeqCst);
    counter.join().unwrap();
    (result, count)
}

/// Calls `f`, which must take at least that long. If the caller is a green thread, another one must run meanwhile.
#[track_caller]
pub(crate) fn waits<T>(at_least: Duration, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let (result, count) = count_while(f);
    let took = start.elapsed();
    assert!(took >= at_least.mul_f32(0.9), "{took:?}");
    // If no other green thread has run, the counter has not even begun.
    assert!(count >= 1 || !IS_GREEN.get(), "the others stood still");
    result
}

/// Spawns a thread of the caller's kind, which calls `f` after 20 ms.
pub(crate) fn spawn_delayed<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || {
        thread::sleep(ms(20));
        f()
    })
}

/// Sends `signal` to the calling OS thread every 20 ms, until the returned function is called. An OS thread without a
/// hub sends it, so that the caller's hub may be idle.
pub(crate) fn send_signal_repeatedly(signal: i32) -> impl FnOnce() {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    // SAFETY: no arguments.
    let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
    let send = move || {
        while !stopped.load(SeqCst) {
            thread::sleep(ms(20));
            // SAFETY: no pointers.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
        }
    };
    let sender = Thread::new(send).start().unwrap();
    move || {
        stop.store(true, SeqCst);
        sender.join().unwrap();
    }
}
