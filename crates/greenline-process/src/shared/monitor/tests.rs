//! Tests of the monitor, some of which kill a process in the middle of a transaction.
//!
//! Next: `shared/monitor.rs`.

use super::*;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Aborts the process if the test hangs.
struct Watchdog(#[allow(dead_code)] mpsc::Sender<()>);

impl Watchdog {
    fn new(seconds: u64) -> Watchdog {
        let (alive, watched) = mpsc::channel();
        std::thread::spawn(move || {
            if watched.recv_timeout(Duration::from_secs(seconds)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("a test hangs");
                std::process::abort();
            }
        });
        Watchdog(alive)
    }
}

/// Forks a child that runs `f`. `f` must not need a hub, because other tests run on other OS threads.
fn fork(f: impl FnOnce()) -> i32 {
    // SAFETY: the child does not return.
    match unsafe { libc::fork() } {
        0 => {
            let panicked = catch_unwind(AssertUnwindSafe(f)).is_err();
            // SAFETY: the process ends here.
            unsafe { libc::_exit(panicked as i32) }
        }
        child => child,
    }
}

fn kill_and_reap(child: i32) {
    // SAFETY: `child` is a child of this process that was not reaped.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}

fn kill_self() {
    // SAFETY: the process kills itself.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

#[test]
fn try_change_that_fails_or_unwinds_changes_nothing() {
    let monitor = Monitor::new(1, 0).unwrap();
    assert_eq!(monitor.try_change(|state| (std::mem::replace(&mut **state, 2) == 7).then_some(())), None);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        monitor.change(|state| {
            **state = 3;
            panic!("boom");
        })
    }));
    assert!(unwound.is_err());
    assert_eq!(monitor.snapshot(), 1);
    assert_eq!(monitor.change(|state| std::mem::replace(&mut **state, 4)), 1);
    assert_eq!(monitor.snapshot(), 4);
}

#[test]
fn change_of_a_killed_process_leaves_the_old_state_or_the_new() {
    let _watchdog = Watchdog::new(100);
    let monitor = Monitor::new([0u64; 100], 0).unwrap();
    let mut before = 0;
    for round in 0..300 {
        let children: Vec<i32> = (0..2)
            .map(|_| {
                fork(|| {
                    loop {
                        monitor.change(|state| state.iter_mut().for_each(|word| *word += 1));
                    }
                })
            })
            .collect();
        // Until both have begun, and a moment longer.
        while monitor.snapshot()[0] < before + 10 {
            std::thread::yield_now();
        }
        (0..round * 10).for_each(|_| std::hint::spin_loop());
        for child in children {
            kill_and_reap(child);
            let state = monitor.snapshot();
            assert!(state.iter().all(|&word| word == state[0]), "{state:?}");
            before = state[0];
        }
    }
}

#[test]
fn change_of_a_process_killed_inside_leaves_the_old_state_and_a_free_mutex() {
    let _watchdog = Watchdog::new(20);
    let monitor = Monitor::new(1, 1).unwrap();
    let child = fork(|| {
        monitor.change(|state| {
            **state = 2;
            kill_self();
        });
    });
    kill_and_reap(child);
    assert_eq!(monitor.snapshot(), 1);
}

#[test]
fn notify_all_before_a_kill_wakes_waiters_in_vain() {
    let _watchdog = Watchdog::new(20);
    let monitor = Monitor::new(0, 1).unwrap();
    let first = fork(|| {
        while monitor.has_waiters(0).load(Relaxed) == 0 {
            std::hint::spin_loop();
        }
        monitor.change(|state| {
            state.notify_all(0);
            **state = 7;
            kill_self();
        });
    });
    let second = fork(|| {
        while !is_zombie(first) {
            std::hint::spin_loop();
        }
        monitor.change(|state| {
            **state = 8;
            state.notify_all(0);
        });
    });
    assert_eq!(monitor.wait(0, Limit::Unlimited, |state| (**state != 0).then_some(**state)), Some(8));
    kill_and_reap(first);
    kill_and_reap(second);
}

fn is_zombie(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn wait_by_os_threads_alternates() {
    let _watchdog = Watchdog::new(60);
    let monitor = Monitor::new(0, 2).unwrap();
    let turn = |of: u64| {
        let monitor = monitor.clone();
        move || {
            for _ in 0..2_000 {
                let turned = monitor.wait(of as usize, Limit::Unlimited, |state| {
                    (**state % 2 == of).then(|| **state += 1)?;
                    state.notify_all(1 - of as usize);
                    Some(())
                });
                assert_eq!(turned, Some(()));
            }
        }
    };
    let other = std::thread::spawn(turn(1));
    turn(0)();
    other.join().unwrap();
    assert_eq!(monitor.snapshot(), 4_000);
}

#[test]
fn wait_at_one_condvar_for_different_conditions() {
    let _watchdog = Watchdog::new(60);
    for _ in 0..200 {
        let monitor = Monitor::new(0, 1).unwrap();
        let waiter = |for_what: u64| {
            let monitor = monitor.clone();
            move || monitor.wait(0, Limit::Unlimited, |state| (**state >= for_what).then_some(())).unwrap()
        };
        let at = |value: u64| {
            monitor.change(|state| {
                **state = value;
                state.notify_all(0);
            });
        };
        let (low, high) = (std::thread::spawn(waiter(1)), std::thread::spawn(waiter(2)));
        // Also green threads of one hub.
        let (green_low, green_high) = (greenline::spawn(waiter(1)), greenline::spawn(waiter(2)));
        greenline::yield_now();
        at(1);
        low.join().unwrap();
        green_low.join().unwrap();
        assert!(!green_high.is_finished());
        at(2);
        high.join().unwrap();
        green_high.join().unwrap();
    }
}

#[test]
fn wait_ended_by_deadline_or_kill_changes_nothing() {
    let _watchdog = Watchdog::new(60);
    let monitor = Monitor::new(0, 1).unwrap();
    let never = |state: &mut Transaction<'_, u64>| {
        **state += 1;
        None::<()>
    };
    assert_eq!(monitor.wait(0, Limit::timeout(Duration::ZERO), never), None);
    assert_eq!(monitor.wait(0, Limit::timeout(Duration::from_millis(5)), never), None);
    let inside = monitor.clone();
    let waiter = greenline::spawn(move || inside.wait(0, Limit::Unlimited, never));
    greenline::yield_now();
    waiter.kill();
    assert!(waiter.join().is_err());
    assert!(
        greenline::timeout(Duration::from_millis(5), || monitor.wait(0, Limit::Unlimited, never)).is_err()
    );
    assert_eq!(monitor.snapshot(), 0);
}

#[test]
fn notify_all_without_waiters_makes_no_system_call() {
    let monitor = Monitor::new(0, 1).unwrap();
    let counter = || {
        let mut count = [0u8; 8];
        // SAFETY: `count` has room for eight bytes. The descriptor is non-blocking.
        let read = unsafe {
            libc::read(monitor.0.condvars[0].counter.as_fd().as_raw_fd(), count.as_mut_ptr().cast(), 8)
        };
        if read == 8 { u64::from_ne_bytes(count) } else { 0 }
    };
    let notify = || monitor.change(|state| state.notify_all(0));
    notify();
    assert_eq!(counter(), 0);
    monitor.wait(0, Limit::timeout(Duration::ZERO), |_| None::<()>);
    notify();
    notify();
    assert_eq!(counter(), 1);
}
