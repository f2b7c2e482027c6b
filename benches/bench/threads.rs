//! Workloads of unmodified `std::thread`, as OS threads and as green threads.

use greenline_bench::{emit, emit_per};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Instant;

/// Measures spawn and join of one thread after the other. OS threads come first, because a patch cannot be undone.
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

/// Measures the workload `yield` with the functions of std.
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
                times.lock().expect("no thread panics").push((start, Instant::now()));
            })
        })
        .collect();
    for handle in handles {
        handle.join().expect("a thread returns");
    }
    let times = times.lock().expect("no thread panics");
    let (Some(first), Some(last)) = (times.iter().map(|t| t.0).min(), times.iter().map(|t| t.1).max()) else {
        return;
    };
    emit(&[("yield_std", (last - first).as_nanos() as f64 / (n * tasks) as f64, "ns")]);
}

/// Measures two threads that send a number there and back by two channels of std.
pub(crate) fn pingpong(n: usize) {
    greenline::patch::all();
    let (ping, pings) = mpsc::channel::<usize>();
    let (pong, pongs) = mpsc::channel::<usize>();
    let echo = thread::spawn(move || {
        pings.into_iter().for_each(|number| pong.send(number).expect("the other thread receives"))
    });
    let asker = thread::spawn(move || {
        let start = Instant::now();
        for number in 0..n {
            ping.send(number).expect("the other thread receives");
            assert_eq!(pongs.recv(), Ok(number));
        }
        start
    });
    let start = asker.join().expect("a thread returns");
    emit_per("pingpong", start, n);
    echo.join().expect("a thread returns");
}

/// Measures threads that lock std's mutex, count, and unlock. If `held`, each yields while it holds the lock.
pub(crate) fn mutex(n: usize, tasks: usize, held: bool) {
    greenline::patch::all();
    let count = Arc::new(Mutex::new(0));
    let start = Instant::now();
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            let count = count.clone();
            thread::spawn(move || {
                for _ in 0..n {
                    let mut count = count.lock().expect("no thread panics");
                    *count += 1;
                    if held {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().expect("a thread returns"));
    assert_eq!(*count.lock().expect("no thread panics"), n * tasks);
    emit_per(if held { "mutex-held" } else { "mutex" }, start, n * tasks);
}
