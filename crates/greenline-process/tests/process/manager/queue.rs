//! Queues: order, limits, closing, joining, and getters that give up or die.

use super::{LONG, MOMENT, child, children, in_green_threads, joined, kill, manager, pair, send, stopped_in};
use crate::support::time::wait_until;
use greenline::{kill_all, sleep, spawn, timeout, yield_now};
use greenline_process::manager::{GetError, PutError};
use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(crate) fn get_returns_messages_in_order_and_len_counts_them() {
    let manager = manager();
    let queue = manager.queue::<String>(0).unwrap();
    assert!(queue.is_empty().unwrap());
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    for n in 0..5 {
        queue.put(n.to_string()).unwrap();
        assert_eq!(queue.len().unwrap(), n + 1);
    }
    for n in 0..5 {
        assert_eq!(queue.get().unwrap(), n.to_string());
    }
    assert!(queue.is_empty().unwrap());
    let before = Instant::now();
    assert!(matches!(queue.get_timeout(MOMENT), Err(GetError::TimedOut)));
    assert!(before.elapsed() >= MOMENT);
}

pub(crate) fn put_waits_while_the_queue_is_full() {
    let manager = manager();
    let queue = manager.queue::<u32>(2).unwrap();
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    assert!(matches!(queue.try_put(3), Err(PutError::Full(3))));
    assert!(matches!(queue.put_timeout(4, MOMENT), Err(PutError::TimedOut(4))));
    let (there, here) = (queue.clone(), queue.clone());
    let process = child(move || there.put(5).unwrap());
    let thread = spawn(move || here.put_timeout(6, LONG).unwrap());
    sleep(MOMENT);
    assert_eq!(queue.len().unwrap(), 2);
    let mut got: Vec<u32> = (0..4).map(|_| queue.get().unwrap()).collect();
    assert_eq!(got[..2], [1, 2]);
    got.sort_unstable();
    assert_eq!(got, [1, 2, 5, 6]);
    joined([process]);
    thread.join().unwrap();
}

pub(crate) fn close_ends_waiting_and_later_calls() {
    let manager = manager();
    let (queue, other) = (manager.queue::<u32>(1).unwrap(), manager.queue::<u32>(0).unwrap());
    let inside = queue.clone();
    let getters = children(3, move || assert!(matches!(inside.get(), Err(GetError::Closed))));
    sleep(MOMENT);
    queue.close().unwrap();
    joined(getters);
    assert!(queue.is_closed().unwrap() && !other.is_closed().unwrap());
    assert!(matches!(queue.put(7), Err(PutError::Closed(7))));

    other.put(1).unwrap();
    other.put(2).unwrap();
    other.close().unwrap();
    assert_eq!(other.iter().collect::<Vec<_>>(), [1, 2]);
    assert!(matches!(other.get(), Err(GetError::Closed)));
}

pub(crate) fn join_waits_until_task_done_for_all() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    queue.join().unwrap();
    (0..4).for_each(|n| queue.put(n).unwrap());
    assert!(!queue.join_timeout(MOMENT).unwrap());
    let (inside, done) = (queue.clone(), manager.value(&0u32).unwrap());
    let counting = done.clone();
    let worker = child(move || {
        for _ in 0..4 {
            inside.get().unwrap();
            sleep(MOMENT / 10);
            counting.update(|n| n + 1).unwrap();
            assert!(inside.task_done().unwrap());
        }
    });
    queue.join().unwrap();
    assert_eq!(done.get().unwrap(), 4);
    assert!(!queue.task_done().unwrap());
    joined([worker]);
}

pub(crate) fn iter_shares_messages_among_processes_and_green_threads() {
    const EACH: u64 = 25;
    let manager = manager();
    let (work, done) = (manager.queue::<u64>(10).unwrap(), manager.queue::<u64>(0).unwrap());
    // The numbers of the putters' rounds, so that all messages are different.
    let rounds = manager.queue::<u64>(0).unwrap();
    (0..12).for_each(|n| rounds.put(n).unwrap());
    let into = work.clone();
    let putters = children(3, move || {
        in_green_threads(4, move || {
            let round = rounds.get().unwrap();
            (0..EACH).for_each(|n| into.put(round * EACH + n).unwrap());
        });
    });
    let (from, into) = (work.clone(), done.clone());
    let getters = children(2, move || {
        in_green_threads(3, move || from.iter().for_each(|n| into.put(n).unwrap()));
    });
    joined(putters);
    work.close().unwrap();
    joined(getters);
    done.close().unwrap();
    let mut all: Vec<u64> = done.iter().collect();
    all.sort_unstable();
    assert_eq!(all, (0..12 * EACH).collect::<Vec<_>>());
}

pub(crate) fn get_lets_other_green_threads_run() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let (event, inside) = (manager.event().unwrap(), queue.clone());
    let getter = spawn(move || inside.get().unwrap());
    let ticks = Rc::new(Cell::new(0));
    let counter = ticks.clone();
    let ticker = spawn(move || {
        loop {
            counter.set(counter.get() + 1);
            yield_now();
        }
    });
    for _ in 0..20 {
        event.set().unwrap();
        assert!(event.is_set().unwrap());
    }
    assert!(ticks.get() >= 20 && !getter.is_finished());
    queue.put(9).unwrap();
    assert_eq!(getter.join().unwrap(), 9);
    ticker.kill();
}

pub(crate) fn get_killed_or_timed_out_takes_no_message() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    for round in 0..20 {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                spawn(move || queue.get().unwrap())
            })
            .collect();
        assert!(timeout(Duration::from_millis(3), || queue.get()).is_err());
        // In every other round the kill comes at the moment at which there is a message for the getters.
        let putter = queue.clone();
        let put = move || putter.put(round).unwrap();
        let ended = if round % 2 == 0 {
            let putter = spawn(put);
            yield_now();
            let ended = kill_all(threads);
            putter.join().unwrap();
            ended
        } else {
            let ended = kill_all(threads);
            put();
            ended
        };
        let mut got: Vec<u32> = ended.into_iter().filter_map(Result::ok).collect();
        if got.is_empty() {
            // No getter was faster than the kill.
            got.push(queue.get_timeout(LONG / 2).unwrap());
        }
        assert_eq!(got, [round]);
    }
    assert!(queue.is_empty().unwrap());
}

pub(crate) fn get_killed_leaves_although_a_child_has_its_connection() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let inside = queue.clone();
    let getter = spawn(move || drop(inside.get()));
    sleep(MOMENT);
    let (end, until) = pair();
    let copies = child(move || drop((&until).read(&mut [0])));
    kill_all([getter]);
    queue.put(1).unwrap();
    assert_eq!(queue.get_timeout(LONG / 2).unwrap(), 1);
    send(&end);
    joined([copies]);
}

pub(crate) fn get_by_process_that_dies_returns_the_message() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let inside = queue.clone();
    let getter = stopped_in(move || drop(inside.get()));
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    // The server sends the first message to the stopped process, which cannot acknowledge it.
    wait_until(|| queue.len().unwrap() == 1);
    kill(&getter);
    wait_until(|| queue.len().unwrap() == 2);
    assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (1, 2));
}

pub(crate) fn get_by_processes_that_die_returns_their_messages_in_order() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let getters = [queue.clone(), queue.clone()].map(|queue| stopped_in(move || drop(queue.get())));
    (1..=3).for_each(|n| queue.put(n).unwrap());
    // The server sends a message to each of the stopped processes.
    wait_until(|| queue.len().unwrap() == 1);
    for (getter, len) in getters.iter().zip(2..) {
        kill(getter);
        wait_until(|| queue.len().unwrap() == len);
    }
    queue.close().unwrap();
    assert_eq!(queue.iter().collect::<Vec<_>>(), [1, 2, 3]);
}
