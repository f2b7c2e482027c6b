//! The interposed sleep family. This file has one test, because a patch lasts as long as the process: the first lines have
//! to run before it.

#![cfg(feature = "patch")]

mod support;

use greenline::patch::{self, Kind};
use greenline::*;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::time::{HOUR, ms};

/// Returns how long eight green threads take that each call `nap`.
fn eight(nap: impl Fn() + Copy + 'static) -> Duration {
    let start = Instant::now();
    join_all((0..8).map(|_| spawn(nap)));
    start.elapsed()
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec { tv_sec: duration.as_secs() as _, tv_nsec: duration.subsec_nanos() as _ }
}

#[test]
fn patch_sleep_makes_the_sleep_family_yield() {
    // Without a patch these are plain system calls, one after the other.
    assert!(!patch::is_patched(Kind::Sleep));
    assert!(eight(|| std::thread::sleep(ms(5))) >= ms(40));

    patch::sleep();
    patch::sleep();
    assert!(patch::is_patched(Kind::Sleep) && !patch::is_patched(Kind::Locks));

    // Patched, they overlap: eight of 100 ms take far less than 800 ms.
    let calls: [(&str, fn()); 6] = [
        ("thread::sleep", || std::thread::sleep(ms(100))),
        ("clock_nanosleep, absolute", || {
            let mut now = timespec(Duration::ZERO);
            // SAFETY: the timespec lives as long as the call.
            unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
            let until = timespec(Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + ms(100));
            // SAFETY: as above.
            let answer = unsafe {
                libc::clock_nanosleep(libc::CLOCK_REALTIME, libc::TIMER_ABSTIME, &until, std::ptr::null_mut())
            };
            assert_eq!(answer, 0);
        }),
        ("nanosleep", || {
            // SAFETY: the timespec lives as long as the call.
            assert_eq!(unsafe { libc::nanosleep(&timespec(ms(100)), std::ptr::null_mut()) }, 0);
        }),
        ("usleep", || {
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::usleep(100_000) }, 0);
        }),
        ("greenline::sleep beside it", || sleep(ms(100))),
        ("thread::yield_now", || (0..100).for_each(|_| std::thread::yield_now())),
    ];
    for (what, call) in calls {
        let took = eight(call);
        assert!(took < ms(700), "{what}: {took:?}");
        if what != "thread::yield_now" {
            assert!(took >= ms(100), "{what}: {took:?}");
        }
    }
    // SAFETY: no pointers.
    let took = eight(|| assert_eq!(unsafe { libc::sleep(1) }, 0));
    assert!(took >= ms(1000) && took < ms(7000), "sleep: {took:?}");

    // std's `yield_now` lets another green thread run.
    let ran = Rc::new(Cell::new(false));
    let inside = ran.clone();
    spawn(move || inside.set(true));
    std::thread::yield_now();
    assert!(ran.get());

    // std's `sleep` in the root lets the hub run.
    let ticks = Rc::new(Cell::new(0));
    let inside = ticks.clone();
    let ticker = spawn(move || {
        loop {
            inside.set(inside.get() + 1);
            std::thread::sleep(ms(1));
            yield_now();
        }
    });
    std::thread::sleep(ms(50));
    assert!(ticks.get() >= 5, "{}", ticks.get());

    // A kill in std's `sleep`, which cannot fail, makes it return early. The unwind begins at greenline's next call.
    let start = Instant::now();
    ticker.kill();
    assert!(matches!(ticker.join(), Err(JoinError::Killed)));
    let sleeper = spawn(|| {
        std::thread::sleep(HOUR);
        "woke early"
    });
    yield_now();
    sleeper.kill();
    assert_eq!(sleeper.join().unwrap(), "woke early");
    let limited = timeout(ms(5), || {
        std::thread::sleep(HOUR);
        yield_now();
    });
    assert!(limited.is_err());
    assert!(start.elapsed() < Duration::from_secs(60));

    // A kill in a loop of such calls does not make the loop spin: one call returns early, the next ones sleep as before.
    let rounds = Rc::new(Cell::new(0u32));
    let (count, watch) = (rounds.clone(), Rc::new(Cell::new(false)));
    let stop = watch.clone();
    let loops = spawn(move || {
        while !watch.get() {
            std::thread::sleep(ms(10));
            count.set(count.get() + 1);
        }
    });
    yield_now();
    loops.kill();
    yield_now();
    yield_now();
    assert_eq!(rounds.get(), 1, "the first sleep returned early");
    sleep(ms(200));
    stop.set(true);
    loops.join().unwrap();
    assert!(rounds.get() <= 22, "{}", rounds.get());

    // Across such a call, each green thread keeps its own errno, as a thread does.
    // SAFETY: the address belongs to this OS thread.
    let errno = || unsafe { &mut *libc::__errno_location() };
    let other = spawn(move || *errno() = 99);
    *errno() = 5;
    std::thread::yield_now();
    assert_eq!(*errno(), 5);
    other.join().unwrap();

    // The kernel refuses the same arguments in a green thread and outside of one.
    let refused = || {
        let bad = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000_000 };
        // SAFETY: the timespec lives as long as the calls. A null pointer is the subject of this test.
        unsafe {
            assert_eq!(
                libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &bad, std::ptr::null_mut()),
                libc::EINVAL
            );
            assert_eq!(libc::nanosleep(&bad, std::ptr::null_mut()), -1);
            assert_eq!(*libc::__errno_location(), libc::EINVAL);
            let null = std::ptr::null();
            assert_eq!(
                libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, null, std::ptr::null_mut()),
                libc::EFAULT
            );
            assert_eq!(libc::clock_nanosleep(9999, 0, &timespec(ms(1)), std::ptr::null_mut()), libc::EINVAL);
        }
    };
    refused();
    spawn(refused).join().unwrap();

    // On an OS thread without a hub the calls go to the kernel.
    let start = Instant::now();
    std::thread::spawn(|| std::thread::sleep(ms(30))).join().unwrap();
    assert!(start.elapsed() >= ms(30));

    // `coverage` lists the interposed symbols.
    let sleeping = patch::coverage().filter(|covered| covered.kind == Kind::Sleep);
    let symbols: Vec<&str> = sleeping.map(|covered| covered.symbol).collect();
    assert_eq!(symbols, ["clock_nanosleep", "nanosleep", "usleep", "sleep", "sched_yield"]);
}
