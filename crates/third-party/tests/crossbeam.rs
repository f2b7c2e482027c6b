//! crossbeam-channel, unmodified, under the patch: every flavour and `select!`, among green threads of one hub, between
//! two hubs, and with OS threads.

#![cfg(feature = "patch")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use crossbeam_channel::{
    Receiver, RecvTimeoutError, Select, Sender, TryRecvError, TrySendError, after, at, bounded, never,
    select, tick, unbounded,
};
use greenline::patch;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::threads::{Green, Join, Os, join_each, ms, start, start_hub};

/// Where a thread of a test runs.
#[derive(Clone, Copy, Debug)]
enum Place {
    Here,
    OtherHub,
    OsThread,
}

impl Place {
    const ALL: [Place; 3] = [Place::Here, Place::OtherHub, Place::OsThread];

    /// Starts `work` there. Returns the function that joins it.
    fn start(self, work: impl FnOnce() + Send + 'static) -> Join {
        match self {
            Place::Here => start(Green, work),
            Place::OtherHub => start_hub([work]),
            Place::OsThread => start(Os, work),
        }
    }
}

/// Four threads send and three receive. Each item arrives once.
fn send_and_receive(place: Place, (tx, rx): (Sender<u32>, Receiver<u32>)) {
    const EACH: u32 = 300;
    let got = Arc::new(Mutex::new(Vec::new()));
    let mut ends = Vec::new();
    for from in 0..4 {
        let tx = tx.clone();
        ends.push(if from % 2 == 0 { place } else { Place::Here }.start(move || {
            for n in 0..EACH {
                tx.send(from * EACH + n).unwrap();
                if n % 64 == 0 {
                    thread::sleep(Duration::from_micros(50));
                }
            }
        }));
    }
    drop(tx);
    for to in 0..3 {
        let (rx, got) = (rx.clone(), got.clone());
        ends.push(if to % 2 == 1 { place } else { Place::Here }.start(move || {
            for n in rx {
                got.lock().unwrap().push(n);
            }
        }));
    }
    drop(rx);
    join_each(ends);
    let mut got = std::mem::take(&mut *got.lock().unwrap());
    got.sort_unstable();
    assert_eq!(got, (0..4 * EACH).collect::<Vec<_>>(), "{place:?}");
}

#[test]
fn crossbeam_recv_from_every_flavour_loses_nothing() {
    patch::all();
    for place in Place::ALL {
        send_and_receive(place, unbounded());
        for bound in [0, 1, 10] {
            send_and_receive(place, bounded(bound));
        }
    }
}

#[test]
fn crossbeam_send_to_a_full_channel_blocks() {
    patch::all();
    for place in Place::ALL {
        for bound in [0, 3] {
            let (tx, rx) = bounded(bound);
            (0..bound).for_each(|n| tx.send(n).unwrap());
            assert!(matches!(tx.try_send(9), Err(TrySendError::Full(9))));
            let sent = Arc::new(AtomicBool::new(false));
            let (inside, (begin, begun)) = (sent.clone(), bounded(1));
            let end = place.start(move || {
                begin.send(()).unwrap();
                tx.send(bound).unwrap();
                inside.store(true, SeqCst);
            });
            begun.recv().unwrap();
            (0..50).for_each(|_| thread::yield_now());
            assert!(!sent.load(SeqCst), "{place:?} {bound}");
            assert_eq!(
                (0..=bound).map(|_| rx.recv().unwrap()).collect::<Vec<_>>(),
                (0..=bound).collect::<Vec<_>>()
            );
            end();
            assert!(sent.load(SeqCst));
            assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        }
    }
}

#[test]
fn crossbeam_recv_timeout_after_at_and_tick_keep_their_times() {
    patch::all();
    let sleepers: Vec<_> = (0..20)
        .map(|_| {
            thread::spawn(|| {
                let (_tx, rx) = unbounded::<()>();
                let start = Instant::now();
                assert_eq!(rx.recv_timeout(ms(30)), Err(RecvTimeoutError::Timeout));
                let woken = after(ms(30)).recv().unwrap();
                assert!(woken >= start + ms(60));
                at(start + ms(90)).recv().unwrap();
                assert!(start.elapsed() >= ms(90));
                let (full, _rx) = bounded(0);
                assert!(full.send_timeout((), ms(10)).unwrap_err().is_timeout());
                let ticks = tick(ms(10));
                let times: Vec<Instant> = (0..3).map(|_| ticks.recv().unwrap()).collect();
                assert!(times[2] - times[0] >= ms(20));
                assert_eq!(never::<()>().recv_timeout(ms(10)), Err(RecvTimeoutError::Timeout));
                start.elapsed()
            })
        })
        .collect();
    let start = Instant::now();
    let each: Duration = sleepers.into_iter().map(|one| one.join().unwrap()).sum();
    assert!(start.elapsed() * 4 < each, "they did not wait together: {:?} of {each:?}", start.elapsed());
}

#[test]
fn crossbeam_select_takes_what_is_ready() {
    patch::all();
    for place in Place::ALL {
        let (numbers, from_numbers) = unbounded();
        let (words, from_words) = bounded(0);
        let (to_back, back) = bounded(1);
        let (quit, quits) = bounded::<()>(0);
        let ticked = Arc::new(AtomicBool::new(false));
        let ticks = ticked.clone();
        let selects = place.start(move || {
            let (mut sum, mut length, mut sent) = (0, 0, 0);
            let ticker = tick(ms(1));
            loop {
                select! {
                    recv(from_numbers) -> n => sum += n.unwrap_or(0),
                    recv(from_words) -> word => length += word.map_or(0, str::len),
                    send(to_back, sent) -> answer => {
                        answer.unwrap();
                        sent += 1;
                    }
                    recv(ticker) -> _ => ticks.store(true, SeqCst),
                    recv(never::<()>()) -> _ => unreachable!(),
                    recv(quits) -> _ => break,
                }
            }
            // This takes the rest without waiting.
            while let Ok(n) = from_numbers.try_recv() {
                sum += n;
            }
            assert_eq!((sum, length, sent), (5050, 500, 101), "{place:?}");
            // Nothing is ready. The default runs, at once and after a time.
            select! {
                recv(never::<()>()) -> _ => unreachable!(),
                default => {}
            }
            select! {
                recv(never::<()>()) -> _ => unreachable!(),
                default(ms(5)) => {}
            }
        });
        // The senders live until the end. A channel without senders is always ready, and the loop would not block.
        let more = numbers.clone();
        let sends = Place::Here.start(move || (1..=100).for_each(|n| more.send(n).unwrap()));
        let (end, ended) = bounded::<()>(0);
        let (done, is_done) = bounded(1);
        let talks = Place::Here.start(move || {
            (0..100).for_each(|_| words.send("words").unwrap());
            done.send(()).unwrap();
            assert!(ended.recv().is_err());
        });
        for n in 0..100 {
            assert_eq!(back.recv().unwrap(), n);
        }
        sends();
        is_done.recv().unwrap();
        while !back.is_full() || !ticked.load(SeqCst) {
            thread::yield_now();
        }
        quit.send(()).unwrap();
        selects();
        drop((end, numbers));
        talks();
    }
}

#[test]
fn crossbeam_select_struct_over_50_channels_receives_all() {
    patch::all();
    let channels: Vec<_> = (0..50).map(|_| bounded::<usize>(0)).collect();
    let senders: Vec<_> = channels
        .iter()
        .enumerate()
        .map(|(n, (tx, _))| {
            let tx = tx.clone();
            thread::spawn(move || (0..20).for_each(|_| tx.send(n).unwrap()))
        })
        .collect();
    let mut counts = [0; 50];
    let mut selects = Select::new();
    for (_, rx) in &channels {
        selects.recv(rx);
    }
    for _ in 0..50 * 20 {
        let ready = selects.select();
        let at = ready.index();
        assert_eq!(ready.recv(&channels[at].1).unwrap(), at);
        counts[at] += 1;
    }
    assert_eq!(counts, [20; 50]);
    senders.into_iter().for_each(|one| one.join().unwrap());
}
