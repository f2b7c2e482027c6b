//! Waiting for signals, interposed, and the signal masks of calls that wait for descriptors: as on an OS thread that is
//! not patched. One test, for signals are the process's; each scenario sends them to the OS thread that it runs on.

#![cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]

mod support;

use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use support::differential::{answer, ms, same, send_signal_repeatedly, spawn_delayed, waits};

const SIGNAL: i32 = libc::SIGUSR1;
static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn handler(_: i32) {
    HANDLED.fetch_add(1, SeqCst);
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
    // SAFETY: sets of ours.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before) };
    let answer = f();
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut()) };
    answer
}

fn raise() {
    // SAFETY: no pointers. The OS thread's own.
    unsafe { assert_eq!(libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), SIGNAL), 0) };
}

/// Some other thread sends it to the OS thread that calls, a little later.
fn raise_later() -> thread::JoinHandle<()> {
    // SAFETY: no arguments.
    let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
    // SAFETY: no pointers.
    spawn_delayed(move || unsafe { assert_eq!(libc::syscall(libc::SYS_tgkill, process, thread, SIGNAL), 0) })
}

/// What it answers, and how many handlers have run meanwhile.
fn handled<T>(f: impl FnOnce() -> T) -> (T, u32) {
    let before = HANDLED.load(SeqCst);
    (f(), HANDLED.load(SeqCst) - before)
}

type Call = fn(mask: *const libc::sigset_t, fd: i32, millis: i64) -> i32;

fn ppoll(mask: *const libc::sigset_t, fd: i32, millis: i64) -> i32 {
    let mut one = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let time = libc::timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
    // SAFETY: one descriptor; a time, and the caller's mask.
    unsafe { libc::ppoll(&mut one, 1, &time, mask) }
}

fn pselect(mask: *const libc::sigset_t, fd: i32, millis: i64) -> i32 {
    let time = libc::timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
    // SAFETY: a set and a time, and the caller's mask.
    unsafe {
        let mut set: libc::fd_set = zeroed();
        libc::FD_SET(fd, &mut set);
        let said = libc::pselect(fd + 1, &mut set, null_mut(), null_mut(), &time, mask);
        // Where it fails it does not write.
        assert!(said >= 0 || libc::FD_ISSET(fd, &set));
        said
    }
}

fn epoll_pwait(mask: *const libc::sigset_t, fd: i32, millis: i64) -> i32 {
    // SAFETY: an instance of ours, closed again; room for an event; the caller's mask.
    unsafe {
        let epoll = libc::epoll_create1(0);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        assert_eq!(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event), 0);
        let said = libc::epoll_pwait(epoll, &mut event, 1, millis as i32, mask);
        let errno = *libc::__errno_location();
        libc::close(epoll);
        *libc::__errno_location() = errno;
        said
    }
}

fn masks(call: Call) {
    let said = same(move || {
        let (here, there) = UnixStream::pair().unwrap();
        let (fd, none, all) = (here.as_raw_fd(), set_of(&[]), set_of(&[SIGNAL]));
        blocked(|| {
            let mut said = Vec::new();
            // Nothing comes.
            said.push(handled(|| waits(ms(30), || answer(call(&none, fd, 30)))));
            // It has come already, and is let in.
            raise();
            said.push(handled(|| answer(call(&none, fd, 60_000))));
            // It is not let in by this one.
            raise();
            said.push(handled(|| answer(call(&all, fd, 30))));
            said.push(handled(|| answer(call(null(), fd, 30))));
            said.push(handled(|| answer(call(&none, fd, 60_000))));
            // It comes later.
            let other = raise_later();
            said.push(handled(|| waits(ms(10), || answer(call(&none, fd, 60_000)))));
            other.join().unwrap();
            // Something comes instead.
            let writer = spawn_delayed(move || std::io::Write::write_all(&mut &there, b"x").unwrap());
            said.push(handled(|| waits(ms(10), || answer(call(&none, fd, 60_000)))));
            writer.join().unwrap();
            said
        })
    });
    let interrupted = (Err(libc::EINTR), 1);
    let nothing = (Ok(0), 0);
    assert_eq!(said, [nothing, interrupted, nothing, nothing, interrupted, interrupted, (Ok(1), 0)]);
}

/// Unmasked, a handler that runs while all wait ends it, too.
fn interrupted(call: Call) {
    let said = same(move || {
        let (here, _there) = UnixStream::pair().unwrap();
        let stop = send_signal_repeatedly(SIGNAL);
        let said = answer(call(null(), here.as_raw_fd(), 60_000));
        stop();
        said
    });
    assert_eq!(said, Err(libc::EINTR));
}

fn wait_for_one() {
    let said = same(|| {
        let set = set_of(&[SIGNAL, libc::SIGUSR2]);
        blocked(|| {
            // SAFETY: sets, times and rooms of ours.
            unsafe {
                let mut info: libc::siginfo_t = zeroed();
                let time = |millis: i64| libc::timespec {
                    tv_sec: millis / 1000,
                    tv_nsec: millis % 1000 * 1_000_000,
                };
                let mut said = vec![
                    answer(libc::sigtimedwait(&set, &mut info, &time(0))),
                    waits(ms(30), || answer(libc::sigtimedwait(&set, &mut info, &time(30)))),
                    answer(libc::sigtimedwait(&set, &mut info, &libc::timespec { tv_sec: 0, tv_nsec: -1 })),
                ];
                raise();
                said.push(answer(libc::sigtimedwait(&set, &mut info, &time(60_000))));
                said.push(Ok(i64::from(info.si_signo == SIGNAL && info.si_code == libc::SI_USER)));
                let other = raise_later();
                said.push(waits(ms(10), || answer(libc::sigwaitinfo(&set, &mut info))));
                other.join().unwrap();
                said.push(Ok(i64::from(info.si_pid() == libc::getpid())));
                let other = raise_later();
                let mut signal = 0;
                said.push(waits(ms(10), || answer(libc::sigwait(&set, &mut signal))));
                other.join().unwrap();
                said.push(Ok(i64::from(signal)));
                said
            }
        })
    });
    let (signal, again) = (Ok(i64::from(SIGNAL)), Err(libc::EAGAIN));
    assert_eq!(said, [again, again, Err(libc::EINVAL), signal, Ok(1), signal, Ok(1), Ok(0), signal]);
}

fn suspend_and_pause() {
    let said = same(|| {
        blocked(|| {
            let none = set_of(&[]);
            raise();
            // SAFETY: a set of ours.
            let suspend = || unsafe { answer(libc::sigsuspend(&none)) };
            let first = handled(suspend);
            let other = raise_later();
            let second = handled(|| waits(ms(10), suspend));
            other.join().unwrap();
            (first, second)
        })
    });
    let once = (Err(libc::EINTR), 1);
    assert_eq!(said, (once, once));

    let said = same(|| {
        let stop = send_signal_repeatedly(SIGNAL);
        // SAFETY: no preconditions.
        let said = waits(ms(0), || unsafe { answer(libc::pause()) });
        stop();
        said
    });
    assert_eq!(said, Err(libc::EINTR));
}

/// A descriptor for signals is read from by a green thread.
fn descriptor() {
    let said = same(|| {
        blocked(|| {
            let set = set_of(&[SIGNAL]);
            // SAFETY: a set of ours, room for one answer.
            unsafe {
                let fd = libc::signalfd(-1, &set, 0);
                let mut info: libc::signalfd_siginfo = zeroed();
                let other = raise_later();
                let said =
                    waits(ms(10), || answer(libc::read(fd, (&raw mut info).cast(), size_of_val(&info))));
                other.join().unwrap();
                libc::close(fd);
                (said, info.ssi_signo)
            }
        })
    });
    assert_eq!(said, (Ok(128), SIGNAL as u32));
}

/// Whether the signal is blocked for who asks.
fn is_blocked(signal: i32) -> bool {
    let mut set = set_of(&[]);
    // SAFETY: sets of ours.
    unsafe {
        assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, null(), &mut set), 0);
        libc::sigismember(&set, signal) == 1
    }
}

/// What a thread blocks is its own: while it runs, after it has given way, and for those that it makes; and not theirs
/// who run meanwhile, or afterwards.
fn masks_are_the_threads_own() {
    let said = same(|| {
        let block_all = || {
            // SAFETY: a set of ours.
            unsafe {
                let mut all = set_of(&[]);
                libc::sigfillset(&mut all);
                assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &all, null_mut()), 0);
            }
        };
        let (say, ask) = std::sync::mpsc::channel::<()>();
        let deaf = thread::spawn(move || {
            block_all();
            thread::sleep(ms(1));
            let before = is_blocked(SIGNAL);
            let made = thread::spawn(|| is_blocked(SIGNAL)).join().unwrap();
            // It lives on.
            ask.recv().unwrap_err();
            (before, made, is_blocked(SIGNAL))
        });
        thread::sleep(ms(20));
        let meanwhile = is_blocked(SIGNAL);
        // It is handled, though one of the threads has blocked it.
        let ((), handled) = handled(|| {
            let before = HANDLED.load(SeqCst);
            // SAFETY: no pointers; the process, which is to say whoever lets it in.
            assert_eq!(unsafe { libc::kill(libc::getpid(), SIGNAL) }, 0);
            while HANDLED.load(SeqCst) == before {
                thread::sleep(ms(1));
            }
        });
        drop(say);
        (meanwhile, handled, deaf.join().unwrap(), is_blocked(SIGNAL))
    });
    assert_eq!(said, (false, 1, (true, true, true), false));
}

/// Two threads that block and restore in turn have each what it has blocked, and leave nothing behind.
fn masks_are_restored() {
    let said = same(|| {
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
    assert_eq!(said, (((true, false), (true, false)), false));
}

/// What a thread waits for it has blocked, and who waits for nothing leaves nothing behind.
fn what_is_waited_for_is_let_go_of() {
    let said = same(|| {
        let set = set_of(&[SIGNAL]);
        let waiter = move || {
            blocked(|| {
                let other = raise_later();
                let mut signal = 0;
                // SAFETY: a set, and room for a number.
                let said = unsafe { answer(libc::sigwait(&set, &mut signal)) };
                other.join().unwrap();
                (said, signal)
            })
        };
        (waiter(), is_blocked(SIGNAL), thread::spawn(waiter).join().unwrap(), is_blocked(SIGNAL))
    });
    let waited = (Ok(0), SIGNAL);
    assert_eq!(said, (waited, false, waited, false));
}

#[test]
fn signals_are_waited_for_as_ever() {
    // SAFETY: the handler only counts. No restarts, as for calls that end by a signal.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler as extern "C" fn(i32) as usize;
        assert_eq!(libc::sigaction(SIGNAL, &action, null_mut()), 0);
    }
    for call in [ppoll as Call, pselect, epoll_pwait] {
        masks(call);
        interrupted(call);
    }
    wait_for_one();
    suspend_and_pause();
    descriptor();
    masks_are_the_threads_own();
    masks_are_restored();
    what_is_waited_for_is_let_go_of();
}
