//! Calls that wait for signals, and the signal masks of calls that wait for descriptors: as on an OS thread that is not
//! patched. Each scenario sends its signals to the OS thread that it runs on.

use crate::support::differential::{
    answer, exclusive, ms, same, send_signal_repeatedly, spawn_delayed, waits,
};
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::{null, null_mut};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;

const SIGNAL: i32 = libc::SIGUSR1;
static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn handler(_: i32) {
    HANDLED.fetch_add(1, SeqCst);
}

/// Installs the handler. The tests run one at a time, because handlers are the process's.
fn with_handler() -> MutexGuard<'static, ()> {
    let exclusive = exclusive();
    // SAFETY: the handler only counts. Without SA_RESTART, because calls that end by a signal are tested.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler as extern "C" fn(i32) as usize;
        assert_eq!(libc::sigaction(SIGNAL, &action, null_mut()), 0);
    }
    exclusive
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: all zeros is the empty set.
    unsafe {
        let mut set = zeroed();
        signals.iter().for_each(|&signal| assert_eq!(libc::sigaddset(&mut set, signal), 0));
        set
    }
}

/// Calls `f` with the signal blocked.
fn blocked<T>(f: impl FnOnce() -> T) -> T {
    let (set, mut before) = (set_of(&[SIGNAL]), set_of(&[]));
    // SAFETY: the sets are in this frame.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before) };
    let result = f();
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut()) };
    result
}

fn raise() {
    // SAFETY: no pointers. The signal goes to the calling OS thread.
    unsafe { assert_eq!(libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), SIGNAL), 0) };
}

/// Starts a thread that sends the signal to the caller's OS thread a little later.
fn raise_later() -> thread::JoinHandle<()> {
    // SAFETY: no arguments.
    let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
    // SAFETY: no pointers.
    spawn_delayed(move || unsafe { assert_eq!(libc::syscall(libc::SYS_tgkill, process, thread, SIGNAL), 0) })
}

/// Calls `f`. Returns its result, and how many handlers have run meanwhile.
fn handled<T>(f: impl FnOnce() -> T) -> (T, u32) {
    let before = HANDLED.load(SeqCst);
    (f(), HANDLED.load(SeqCst) - before)
}

type Call = fn(mask: *const libc::sigset_t, fd: i32, millis: i64) -> i32;

fn ppoll(mask: *const libc::sigset_t, fd: i32, millis: i64) -> i32 {
    let mut one = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let time = libc::timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
    // SAFETY: there is one descriptor; the time is in this frame, the mask is the caller's.
    unsafe { libc::ppoll(&mut one, 1, &time, mask) }
}

fn pselect(mask: *const libc::sigset_t, fd: i32, millis: i64) -> i32 {
    let time = libc::timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
    // SAFETY: the set and the time are in this frame, the mask is the caller's.
    unsafe {
        let mut set: libc::fd_set = zeroed();
        libc::FD_SET(fd, &mut set);
        let results = libc::pselect(fd + 1, &mut set, null_mut(), null_mut(), &time, mask);
        // A call that fails does not write the set.
        assert!(results >= 0 || libc::FD_ISSET(fd, &set));
        results
    }
}

fn epoll_pwait(mask: *const libc::sigset_t, fd: i32, millis: i64) -> i32 {
    // SAFETY: the instance is made and closed here; the event is in this frame, the mask is the caller's.
    unsafe {
        let epoll = libc::epoll_create1(0);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        assert_eq!(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event), 0);
        let results = libc::epoll_pwait(epoll, &mut event, 1, millis as i32, mask);
        let errno = *libc::__errno_location();
        libc::close(epoll);
        *libc::__errno_location() = errno;
        results
    }
}

fn check_mask(call: Call) {
    let results = same(move || {
        let (here, there) = UnixStream::pair().unwrap();
        let (fd, none, all) = (here.as_raw_fd(), set_of(&[]), set_of(&[SIGNAL]));
        blocked(|| {
            let mut results = Vec::new();
            // No signal comes.
            results.push(handled(|| waits(ms(30), || answer(call(&none, fd, 30)))));
            // The signal is pending, and the mask admits it.
            raise();
            results.push(handled(|| answer(call(&none, fd, 60_000))));
            // The signal is pending, and the mask blocks it.
            raise();
            results.push(handled(|| answer(call(&all, fd, 30))));
            results.push(handled(|| answer(call(null(), fd, 30))));
            results.push(handled(|| answer(call(&none, fd, 60_000))));
            // The signal comes while the call waits.
            let other = raise_later();
            results.push(handled(|| waits(ms(10), || answer(call(&none, fd, 60_000)))));
            other.join().unwrap();
            // A byte comes instead of a signal.
            let writer = spawn_delayed(move || std::io::Write::write_all(&mut &there, b"x").unwrap());
            results.push(handled(|| waits(ms(10), || answer(call(&none, fd, 60_000)))));
            writer.join().unwrap();
            results
        })
    });
    let interrupted = (Err(libc::EINTR), 1);
    let nothing = (Ok(0), 0);
    assert_eq!(results, [nothing, interrupted, nothing, nothing, interrupted, interrupted, (Ok(1), 0)]);
}

/// Without a mask, a handler that runs while all green threads wait ends the call, too.
fn check_interrupt(call: Call) {
    let results = same(move || {
        let (here, _there) = UnixStream::pair().unwrap();
        let stop = send_signal_repeatedly(SIGNAL);
        let results = answer(call(null(), here.as_raw_fd(), 60_000));
        stop();
        results
    });
    assert_eq!(results, Err(libc::EINTR));
}

const CALLS: [Call; 3] = [ppoll, pselect, epoll_pwait];

#[test]
fn ppoll_pselect_and_epoll_pwait_use_their_mask_while_they_wait() {
    let _exclusive = with_handler();
    CALLS.into_iter().for_each(check_mask);
}

#[test]
fn ppoll_pselect_and_epoll_pwait_return_eintr_after_a_handler() {
    let _exclusive = with_handler();
    CALLS.into_iter().for_each(check_interrupt);
}

#[test]
fn sigtimedwait_sigwaitinfo_and_sigwait_wait_for_a_signal() {
    let _exclusive = with_handler();
    let results = same(|| {
        let set = set_of(&[SIGNAL, libc::SIGUSR2]);
        blocked(|| {
            // SAFETY: the set, the times and the results are in this frame or its caller's.
            unsafe {
                let mut info: libc::siginfo_t = zeroed();
                let time = |millis: i64| libc::timespec {
                    tv_sec: millis / 1000,
                    tv_nsec: millis % 1000 * 1_000_000,
                };
                let mut results = vec![
                    answer(libc::sigtimedwait(&set, &mut info, &time(0))),
                    waits(ms(30), || answer(libc::sigtimedwait(&set, &mut info, &time(30)))),
                    answer(libc::sigtimedwait(&set, &mut info, &libc::timespec { tv_sec: 0, tv_nsec: -1 })),
                ];
                raise();
                results.push(answer(libc::sigtimedwait(&set, &mut info, &time(60_000))));
                results.push(Ok(i64::from(info.si_signo == SIGNAL && info.si_code == libc::SI_USER)));
                let other = raise_later();
                results.push(waits(ms(10), || answer(libc::sigwaitinfo(&set, &mut info))));
                other.join().unwrap();
                results.push(Ok(i64::from(info.si_pid() == libc::getpid())));
                let other = raise_later();
                let mut signal = 0;
                results.push(waits(ms(10), || answer(libc::sigwait(&set, &mut signal))));
                other.join().unwrap();
                results.push(Ok(i64::from(signal)));
                results
            }
        })
    });
    let (signal, again) = (Ok(i64::from(SIGNAL)), Err(libc::EAGAIN));
    assert_eq!(results, [again, again, Err(libc::EINVAL), signal, Ok(1), signal, Ok(1), Ok(0), signal]);
}

#[test]
fn sigsuspend_returns_eintr_after_a_handler() {
    let _exclusive = with_handler();
    let results = same(|| {
        blocked(|| {
            let none = set_of(&[]);
            raise();
            // SAFETY: the set is in this frame.
            let suspend = || unsafe { answer(libc::sigsuspend(&none)) };
            let first = handled(suspend);
            let other = raise_later();
            let second = handled(|| waits(ms(10), suspend));
            other.join().unwrap();
            (first, second)
        })
    });
    let once = (Err(libc::EINTR), 1);
    assert_eq!(results, (once, once));
}

#[test]
fn pause_returns_eintr_after_a_handler() {
    let _exclusive = with_handler();
    let results = same(|| {
        let stop = send_signal_repeatedly(SIGNAL);
        // SAFETY: no preconditions.
        let results = waits(ms(0), || unsafe { answer(libc::pause()) });
        stop();
        results
    });
    assert_eq!(results, Err(libc::EINTR));
}

#[test]
fn signalfd_read_waits_for_a_signal() {
    let _exclusive = with_handler();
    let results = same(|| {
        blocked(|| {
            let set = set_of(&[SIGNAL]);
            // SAFETY: the set and the information are in this frame.
            unsafe {
                let fd = libc::signalfd(-1, &set, 0);
                let mut info: libc::signalfd_siginfo = zeroed();
                let other = raise_later();
                let results =
                    waits(ms(10), || answer(libc::read(fd, (&raw mut info).cast(), size_of_val(&info))));
                other.join().unwrap();
                libc::close(fd);
                (results, info.ssi_signo)
            }
        })
    });
    assert_eq!(results, (Ok(128), SIGNAL as u32));
}

/// Returns whether the calling thread has blocked the signal.
fn is_blocked(signal: i32) -> bool {
    let mut set = set_of(&[]);
    // SAFETY: the sets are in this frame.
    unsafe {
        assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, null(), &mut set), 0);
        libc::sigismember(&set, signal) == 1
    }
}

/// A green thread has its signals blocked while it runs, after it has waited, and for the threads that it starts. Green
/// threads that run meanwhile or afterwards do not have them blocked.
#[test]
fn pthread_sigmask_blocks_signals_of_one_green_thread_only() {
    let _exclusive = with_handler();
    let results = same(|| {
        let block_all = || {
            // SAFETY: the set is in this frame.
            unsafe {
                let mut all = set_of(&[]);
                libc::sigfillset(&mut all);
                assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &all, null_mut()), 0);
            }
        };
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let blocker = thread::spawn(move || {
            block_all();
            thread::sleep(ms(1));
            let before = is_blocked(SIGNAL);
            let made = thread::spawn(|| is_blocked(SIGNAL)).join().unwrap();
            // It lives while the others look.
            gone.recv().unwrap_err();
            (before, made, is_blocked(SIGNAL))
        });
        thread::sleep(ms(20));
        let meanwhile = is_blocked(SIGNAL);
        // The signal is handled, although one of the green threads has blocked it.
        let ((), handled) = handled(|| {
            let before = HANDLED.load(SeqCst);
            // SAFETY: no pointers. The signal goes to any thread of the process that does not block it.
            assert_eq!(unsafe { libc::kill(libc::getpid(), SIGNAL) }, 0);
            while HANDLED.load(SeqCst) == before {
                thread::sleep(ms(1));
            }
        });
        drop(go);
        (meanwhile, handled, blocker.join().unwrap(), is_blocked(SIGNAL))
    });
    assert_eq!(results, (false, 1, (true, true, true), false));
}

/// Two green threads block and restore in turn. Each has its own signals blocked, and none stay blocked at the end.
#[test]
fn pthread_sigmask_restored_by_two_green_threads_in_turn_leaves_nothing_blocked() {
    let _exclusive = with_handler();
    let results = same(|| {
        let one = |wait: u64| {
            move || {
                let inside = blocked(|| {
                    thread::sleep(ms(wait));
                    is_blocked(SIGNAL)
                });
                (inside, is_blocked(SIGNAL))
            }
        };
        let (first, second) = (thread::spawn(one(10)), thread::spawn(one(30)));
        let both = (first.join().unwrap(), second.join().unwrap());
        (both, is_blocked(SIGNAL))
    });
    assert_eq!(results, (((true, false), (true, false)), false));
}

/// A green thread has the signal blocked for which it waits. Others do not have it blocked afterwards.
#[test]
fn sigwait_leaves_nothing_blocked_in_other_green_threads() {
    let _exclusive = with_handler();
    let results = same(|| {
        let set = set_of(&[SIGNAL]);
        let waiter = move || {
            blocked(|| {
                let other = raise_later();
                let mut signal = 0;
                // SAFETY: the set and the number are in this frame.
                let results = unsafe { answer(libc::sigwait(&set, &mut signal)) };
                other.join().unwrap();
                (results, signal)
            })
        };
        (waiter(), is_blocked(SIGNAL), thread::spawn(waiter).join().unwrap(), is_blocked(SIGNAL))
    });
    let waited = (Ok(0), SIGNAL);
    assert_eq!(results, (waited, false, waited, false));
}
