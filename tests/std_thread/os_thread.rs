//! Green threads beside OS threads: joins across, and OS threads that end.

use crate::panic::payload_of;
use crate::support::threads::{ms, os_thread};
use greenline::patch;
use greenline::thread::Thread;
use std::cell::RefCell;
use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;

#[test]
fn join_works_between_green_threads_and_os_threads() {
    patch::all();
    let here = os_thread();
    assert_ne!(Thread::new(os_thread).name("real").start().unwrap().join().unwrap(), here);

    // On an OS thread without a hub, std makes OS threads. While a green thread joins one, other green threads run.
    let (tx, rx) = mpsc::channel::<()>();
    let made = Thread::new(move || (os_thread(), thread::spawn(move || (os_thread(), rx.recv().is_err()))));
    let (maker, std) = made.start().unwrap().join().unwrap();
    let releaser = thread::spawn(move || drop(tx));
    let (tid, was_released) = std.join().unwrap();
    assert!(was_released && tid != here && tid != maker);
    releaser.join().unwrap();

    // An OS thread without a hub, and another hub, join a green thread of this hub.
    for with_hub in [false, true] {
        let green = thread::spawn(move || {
            thread::sleep(ms(3));
            os_thread()
        });
        let joiner = Thread::new(move || {
            if with_hub {
                patch::all();
            }
            green.join().unwrap()
        });
        assert_eq!(joiner.start().unwrap().join().unwrap(), here);
        let bad = thread::spawn(|| panic_any(3u64));
        let joiner = Thread::new(move || payload_of::<u64>(bad));
        assert_eq!(joiner.start().unwrap().join().unwrap(), 3);
    }
}

#[test]
fn spawned_threads_go_on_after_their_os_thread_has_returned() {
    patch::all();
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let other = Thread::new(move || {
        patch::all();
        for _ in 0..5 {
            let count = count.clone();
            thread::spawn(move || {
                thread::sleep(ms(5));
                count.fetch_add(1, SeqCst);
            });
        }
    });
    other.start().unwrap().join().unwrap();
    while ended.load(SeqCst) < 5 {
        thread::yield_now();
    }
}

#[test]
fn join_works_after_the_hub_of_the_thread_has_ended() {
    patch::all();
    for _ in 0..20 {
        let other = Thread::new(|| {
            patch::all();
            let slow = thread::spawn(|| {
                thread::sleep(ms(1));
                "slow"
            });
            (slow, thread::spawn(|| "quick"), thread::spawn(|| panic_any("bad")))
        });
        let (slow, quick, bad) = other.start().unwrap().join().unwrap();
        assert_eq!(slow.join().unwrap(), "slow");
        drop(quick);
        assert_eq!(payload_of::<&str>(bad), "bad");
    }
}

#[test]
fn spawn_and_join_work_in_destructors_of_an_ending_os_thread() {
    struct MakesOne(mpsc::Sender<&'static str>, &'static str);
    impl Drop for MakesOne {
        fn drop(&mut self) {
            let tx = self.0.clone();
            thread::spawn(move || {
                thread::sleep(ms(1));
                tx.send("made").unwrap();
            })
            .join()
            .unwrap();
            self.0.send(self.1).unwrap();
        }
    }
    thread_local! {
        static BEFORE: RefCell<Option<MakesOne>> = const { RefCell::new(None) };
        static AFTER: RefCell<Option<MakesOne>> = const { RefCell::new(None) };
    }
    patch::all();
    let (tx, rx) = mpsc::channel();
    // `BEFORE` is destroyed after the hub, `AFTER` is destroyed before.
    let other = Thread::new(move || {
        BEFORE.set(Some(MakesOne(tx.clone(), "before")));
        patch::all();
        AFTER.set(Some(MakesOne(tx, "after")));
    });
    other.start().unwrap().join().unwrap();
    assert_eq!(rx.iter().collect::<Vec<_>>(), ["made", "after", "made", "before"]);
}
