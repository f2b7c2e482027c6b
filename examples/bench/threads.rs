//! The same by unmodified `std::thread`, as OS threads and as green threads.

use crate::measure::{emit, emit_per};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Instant;

/// One thread after the other, as OS threads first, for the patch cannot be undone.
pub(crate) fn spawns(n: usize) {
    let all = || {
        let start = Instant::now();
        for _ in 0..n {
            thread::spawn(|| ()).join().expect("an empty thread returns");
        }
        start.elapsed().as_nanos() as f64 / n as f64
    };
    let os = all();
    greenline::patch::all();
    let green = all();
    emit(&[("spawn_std", green, "ns"), ("spawn_std_os", os, "ns"), ("ratio", os / green, "x")]);
}

/// As the workload `yield`, with std's words for everything.
pub(crate) fn yields(n: usize, tasks: usize) {
    greenline::patch::all();
    let gate = Arc::new(Barrier::new(tasks));
    let times = Arc::new(Mutex::new(Vec::with_capacity(tasks)));
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            let (gate, times) = (gate.clone(), times.clone());
            thread::spawn(move || {
                gate.wait();
                let start = Instant::now();
                for _ in 0..n {
                    thread::yield_now();
                }
                times.lock().expect("nobody panics").push((start, Instant::now()));
            })
        })
        .collect();
    for handle in handles {
        handle.join().expect("a thread returns");
    }
    let times = times.lock().expect("nobody panics");
    let (Some(first), Some(last)) = (times.iter().map(|t| t.0).min(), times.iter().map(|t| t.1).max()) else {
        return;
    };
    emit(&[("yield_std", (last - first).as_nanos() as f64 / (n * tasks) as f64, "ns")]);
}

/// Two threads, two of std's channels, a number there and back.
pub(crate) fn pingpong(n: usize) {
    greenline::patch::all();
    let (ping, pings) = mpsc::channel::<usize>();
    let (pong, pongs) = mpsc::channel::<usize>();
    let echo =
        thread::spawn(move || pings.into_iter().for_each(|number| pong.send(number).expect("it waits")));
    let asker = thread::spawn(move || {
        let start = Instant::now();
        for number in 0..n {
            ping.send(number).expect("it waits");
            assert_eq!(pongs.recv(), Ok(number));
        }
        start
    });
    let start = asker.join().expect("a thread returns");
    emit_per("pingpong", start, n);
    echo.join().expect("a thread returns");
}

/// Each locks std's mutex, counts, and unlocks; `held`: it gives way meanwhile.
pub(crate) fn mutex(n: usize, tasks: usize, held: bool) {
    greenline::patch::all();
    let count = Arc::new(Mutex::new(0));
    let start = Instant::now();
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            let count = count.clone();
            thread::spawn(move || {
                for _ in 0..n {
                    let mut count = count.lock().expect("nobody panics");
                    *count += 1;
                    if held {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().expect("a thread returns"));
    assert_eq!(*count.lock().expect("nobody panics"), n * tasks);
    emit_per(if held { "mutex-held" } else { "mutex" }, start, n * tasks);
}
