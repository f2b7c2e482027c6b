//! `std::sync::mpsc`.

use crate::placement::*;
use crate::support::threads::{ms, until};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError, TrySendError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A sender of either type.
#[derive(Clone)]
enum Tx {
    Unbounded(mpsc::Sender<(usize, u32)>),
    Bounded(mpsc::SyncSender<(usize, u32)>),
}

impl Tx {
    fn channel(bound: Option<usize>) -> (Tx, mpsc::Receiver<(usize, u32)>) {
        match bound {
            None => {
                let (tx, rx) = mpsc::channel();
                (Tx::Unbounded(tx), rx)
            }
            Some(bound) => {
                let (tx, rx) = mpsc::sync_channel(bound);
                (Tx::Bounded(tx), rx)
            }
        }
    }

    fn send(&self, item: (usize, u32)) {
        match self {
            Tx::Unbounded(tx) => tx.send(item).unwrap(),
            Tx::Bounded(tx) => tx.send(item).unwrap(),
        }
    }
}

#[test]
fn mpsc_recv_under_contention_loses_nothing_and_keeps_each_senders_order() {
    for bound in [None, Some(0), Some(1), Some(16)] {
        in_each_placement(|placement| {
            let (tx, rx) = Tx::channel(bound);
            let (tx, rx) = (Mutex::new(Some(tx)), Mutex::new(Some(rx)));
            let cloned = AtomicUsize::new(0);
            placement.run(5, move |number| {
                if number == 0 {
                    let rx = rx.lock().unwrap().take().unwrap();
                    let mut next = [0; 5];
                    for (from, n) in rx {
                        assert_eq!(next[from], n, "{placement:?} {bound:?}");
                        next[from] += 1;
                    }
                    assert_eq!(next, [0, 300, 300, 300, 300], "{placement:?} {bound:?}");
                    return;
                }
                let mine = tx.lock().unwrap().as_ref().unwrap().clone();
                if cloned.fetch_add(1, SeqCst) == 3 {
                    *tx.lock().unwrap() = None;
                }
                for n in 0..300 {
                    mine.send((number, n));
                    if n % 50 == number as u32 {
                        thread::yield_now();
                    }
                }
            });
        });
    }
}

/// Two events that a sender and a receiver report to each other.
type Flags = [AtomicBool; 2];

/// Runs `send` with the sender and `receive` with the receiver of a channel, in a thread each, in each placement.
fn with_both_ends<Tx: Send + 'static, Rx: Send + 'static>(
    channel: impl Fn() -> (Tx, Rx),
    send: fn(Tx, &Flags),
    receive: fn(Rx, &Flags),
) {
    in_each_placement(|placement| {
        println!("{placement:?}");
        let (tx, rx) = channel();
        let (tx, rx) = (Mutex::new(Some(tx)), Mutex::new(Some(rx)));
        let flags = Arc::new(Flags::default());
        placement.run(2, move |number| {
            if number == 0 {
                let tx = tx.lock().unwrap().take().unwrap();
                send(tx, &flags);
            } else {
                let rx = rx.lock().unwrap().take().unwrap();
                receive(rx, &flags);
            }
        });
    });
}

#[test]
fn mpsc_send_to_sync_channel_of_0_returns_when_it_was_received() {
    with_both_ends(
        || mpsc::sync_channel(0),
        |tx, [sending, sent]| {
            assert!(matches!(tx.try_send(1), Err(TrySendError::Full(1))), "there is no receiver yet");
            sending.store(true, SeqCst);
            tx.send(2).unwrap();
            sent.store(true, SeqCst);
        },
        |rx, [sending, sent]| {
            until(|| sending.load(SeqCst));
            (0..100).for_each(|_| thread::yield_now());
            assert!(!sent.load(SeqCst));
            assert_eq!(rx.recv().unwrap(), 2);
            until(|| sent.load(SeqCst));
            assert!(rx.recv().is_err(), "the sender is gone");
        },
    );
}

#[test]
fn mpsc_send_to_sync_channel_of_3_blocks_after_3() {
    with_both_ends(
        || mpsc::sync_channel(3),
        |tx, [full, sent]| {
            (0..3).for_each(|n| tx.send(n).unwrap());
            assert!(matches!(tx.try_send(9), Err(TrySendError::Full(9))));
            full.store(true, SeqCst);
            tx.send(3).unwrap();
            sent.store(true, SeqCst);
            // The receiver goes while items are unread. From then on sending fails.
            while tx.send(4).is_ok() {}
            assert!(matches!(tx.try_send(5), Err(TrySendError::Disconnected(5))));
        },
        |rx, [full, sent]| {
            until(|| full.load(SeqCst));
            (0..50).for_each(|_| thread::yield_now());
            assert!(!sent.load(SeqCst));
            assert_eq!((0..4).map(|_| rx.recv().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
            until(|| sent.load(SeqCst));
        },
    );
}

#[test]
fn mpsc_recv_timeout_returns_timeout_or_disconnected() {
    with_both_ends(
        mpsc::channel,
        |tx, [timed_out, _]| {
            until(|| timed_out.load(SeqCst));
            tx.send("late").unwrap();
        },
        |rx, [timed_out, _]| {
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
            let start = Instant::now();
            assert_eq!(rx.recv_timeout(ms(20)), Err(RecvTimeoutError::Timeout));
            assert!(start.elapsed() >= ms(20));
            timed_out.store(true, SeqCst);
            assert_eq!(rx.recv_timeout(Duration::from_secs(3600)), Ok("late"));
            let end = rx.recv_timeout(Duration::from_secs(3600));
            assert_eq!(end, Err(RecvTimeoutError::Disconnected));
        },
    );
}
