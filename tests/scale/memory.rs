//! Memory is given back. The test measures its whole process.

use crate::support::proc_fs::{open_fds, resident_kib};
use greenline::*;
use std::time::Duration;

/// Runs `work` until its memory is warm, then twice more. Returns the smaller growth of the two, in KiB: a leak grows each
/// time, but a huge page of 2 MiB is touched for the first time only once.
fn grown_kib(mut work: impl FnMut()) -> i64 {
    work();
    let mut again = || {
        let before = resident_kib() as i64;
        work();
        resident_kib() as i64 - before
    };
    again().min(again())
}

pub(crate) fn memory_of_kills_timeouts_generators_and_hubs_is_given_back() {
    let waves = grown_kib(|| {
        for _ in 0..250 {
            let wave: Vec<_> = (0..2000u64)
                .map(|n| {
                    spawn(move || {
                        yield_now();
                        Box::new(n)
                    })
                })
                .collect();
            assert_eq!(wave.into_iter().map(|one| *one.join().unwrap()).sum::<u64>(), 1999 * 1000);
        }
    });
    assert!(waves < 2048, "1,000,000 spawns in waves: {waves} KiB more");

    let ends = grown_kib(|| {
        for n in 0..100_000u32 {
            let handle =
                Builder::new().name(n.to_string()).spawn(|| sleep(Duration::from_secs(3600))).unwrap();
            if n % 2 == 0 {
                yield_now();
            }
            handle.kill();
            assert!(handle.join().is_err());
        }
    });
    assert!(ends < 2048, "kills and their timers: {ends} KiB more");

    let timeouts = grown_kib(|| {
        for _ in 0..300_000 {
            timeout(Duration::from_secs(3600), yield_now).unwrap();
        }
    });
    assert!(timeouts < 2048, "timeouts that did not fire: {timeouts} KiB more");

    let inner = grown_kib(|| {
        timeout(Duration::from_secs(3600), || {
            for _ in 0..300_000 {
                timeout(Duration::from_secs(3600), yield_now).unwrap();
            }
        })
        .unwrap();
    });
    assert!(inner < 2048, "timeouts inside of one that is open: {inner} KiB more");

    let delayed = grown_kib(|| {
        for _ in 0..200_000 {
            let later = spawn_after(Duration::from_secs(3600), || ());
            later.kill();
            assert!(later.join().is_err());
        }
    });
    assert!(delayed < 2048, "delayed starts that were killed before their time: {delayed} KiB more");

    let generators = grown_kib(|| {
        for n in 0..50_000 {
            let mut numbers = Generator::new(move |y| {
                let kept = vec![n; 100];
                kept.iter().for_each(|&n| y.yield_(n));
            });
            assert_eq!(numbers.next(), Some(n)); // then it is dropped half-way
        }
    });
    assert!(generators < 2048, "generators: {generators} KiB more");

    let hubs = grown_kib(|| {
        for _ in 0..500 {
            std::thread::spawn(|| {
                let handle = Handle::current().unwrap();
                drop(spawn(|| sleep(Duration::from_secs(3600))));
                yield_now();
                drop(handle);
                shutdown();
            })
            .join()
            .unwrap();
        }
    });
    assert!(hubs < 2048, "hubs of OS threads that have ended: {hubs} KiB more");
    let fds = open_fds();
    assert!(fds < 20, "{fds} descriptors are open");
}
