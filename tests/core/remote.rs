//! Handles, by which other OS threads use a hub.

use greenline::*;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;

fn assert_send_sync_clone<T: Send + Sync + Clone>(_: &T) {}

/// Runs a hub on an OS thread of its own, until the returned sender is dropped.
fn hub() -> (Handle, std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (give, take) = channel();
    let (end, ended) = channel::<()>();
    let thread = std::thread::Builder::new().name("hub".into()).spawn(move || {
        give.send(Handle::current().unwrap()).unwrap();
        while ended.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
            sleep(Duration::from_millis(1));
        }
    });
    (take.recv().unwrap(), end, thread.unwrap())
}

#[test]
fn handle_spawn_runs_the_closure_there_and_join_returns_its_value() {
    let (handle, end, thread) = hub();
    assert_send_sync_clone(&handle);
    let there = handle.spawn(|| std::thread::current().name().map(str::to_owned)).unwrap();
    assert_eq!(there.join().unwrap().as_deref(), Some("hub"));
    let bad = handle.spawn(|| panic!("there")).unwrap();
    assert!(bad.join().unwrap_err().to_string().ends_with("there"));
    let both = handle.spawn(|| join_all([spawn(|| 1), spawn(|| 2)]).len()).unwrap();
    assert_eq!(both.join().unwrap(), 2);
    drop(end);
    thread.join().unwrap();
}

#[test]
fn handle_spawn_wakes_a_hub_that_sleeps() {
    let (give, take) = channel();
    let thread = std::thread::spawn(move || {
        let stop = std::rc::Rc::new(std::cell::Cell::new(None));
        thread_local! {
            static STOP: std::cell::RefCell<Option<std::rc::Rc<std::cell::Cell<Option<wait::Ticket>>>>> =
                const { std::cell::RefCell::new(None) };
        }
        STOP.set(Some(stop.clone()));
        let ticket = wait::ticket();
        stop.set(Some(ticket));
        let stopper: fn() = || STOP.with_borrow(|stop| assert!(stop.as_ref().unwrap().get().unwrap().wake()));
        give.send((Handle::current().unwrap(), stopper)).unwrap();
        wait::park(ticket, None, "the stopper"); // only the handle can wake it
    });
    let (handle, stopper) = take.recv().unwrap();
    std::thread::sleep(Duration::from_millis(20)); // the hub likely sleeps by now; it has to work either way
    handle.spawn(stopper).unwrap().join().unwrap();
    thread.join().unwrap();
}

#[test]
fn handle_spawn_to_a_hub_that_is_gone_returns_the_closure() {
    let (handle, end, thread) = hub();
    drop(end);
    thread.join().unwrap();
    let HubGone(f) = handle.spawn(|| 7).unwrap_err();
    assert_eq!(f(), 7);
    assert!(handle.spawn(|| ()).unwrap_err().to_string().contains("hub is gone"));
}

#[test]
fn remote_join_handle_of_unfinished_work_returns_an_error_when_the_hub_ends() {
    let (give, take) = channel();
    let go = Arc::new(Barrier::new(2));
    let there = go.clone();
    let thread = std::thread::spawn(move || {
        give.send(Handle::current().unwrap()).unwrap();
        there.wait();
        yield_now(); // starts the green thread that has come, and ends
    });
    let handle = take.recv().unwrap();
    let begun = handle.spawn(|| sleep(Duration::from_secs(3600))).unwrap();
    go.wait();
    thread.join().unwrap();
    assert!(matches!(begun.join(), Err(JoinError::Killed | JoinError::HubGone)));
    let late: Result<RemoteJoinHandle<()>, _> = handle.spawn(|| ());
    assert!(late.is_err());
}

#[test]
fn remote_join_handle_joined_on_a_hub_lets_that_hub_run_on() {
    let (handle, end, thread) = hub();
    let ticks = std::rc::Rc::new(std::cell::Cell::new(0));
    let inside = ticks.clone();
    let ticker = spawn(move || {
        loop {
            inside.set(inside.get() + 1);
            sleep(Duration::from_millis(1));
        }
    });
    let there = handle.spawn(|| sleep(Duration::from_millis(30))).unwrap();
    there.join().unwrap();
    assert!(ticks.get() >= 3, "{}", ticks.get());
    let in_green = spawn(move || handle.spawn(|| 5).unwrap().join().unwrap());
    assert_eq!(in_green.join().unwrap(), 5);
    kill_all([ticker]);
    drop(end);
    thread.join().unwrap();
}

#[test]
fn handle_spawn_from_many_os_threads_loses_nothing() {
    let (handle, end, thread) = hub();
    let sum = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = (0..8u64)
        .map(|n| {
            let (handle, sum) = (handle.clone(), sum.clone());
            std::thread::spawn(move || {
                for k in 0..500 {
                    let sum = sum.clone();
                    let there = handle.spawn(move || sum.fetch_add(n * 500 + k, SeqCst)).unwrap();
                    if k % 7 == 0 {
                        there.join().unwrap();
                    }
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    handle.spawn(|| ()).unwrap().join().unwrap();
    assert_eq!(sum.load(SeqCst), (0..4000).sum::<u64>());
    drop(end);
    thread.join().unwrap();
}

#[test]
fn handle_spawn_and_join_between_two_hubs_ping_pong() {
    let (a, end_a, thread_a) = hub();
    let (b, end_b, thread_b) = hub();
    fn bounce(left: u32, here: Handle, there: Handle) -> u32 {
        if left == 0 {
            return 0;
        }
        let (h, t) = (here.clone(), there.clone());
        there.spawn(move || bounce(left - 1, t, h)).unwrap().join().unwrap() + 1
    }
    let (h, t) = (a.clone(), b.clone());
    assert_eq!(a.spawn(move || bounce(100, h, t)).unwrap().join().unwrap(), 100);
    drop((end_a, end_b));
    thread_a.join().unwrap();
    thread_b.join().unwrap();
}

#[test]
fn remote_join_handle_of_an_abandoned_green_thread_returns_hub_gone() {
    let (give, take) = channel();
    let thread = std::thread::spawn(move || {
        give.send(Handle::current().unwrap()).unwrap();
        sleep(Duration::from_millis(20));
    });
    let handle = take.recv().unwrap();
    let immortal = handle.spawn(|| {
        loop {
            let _ = std::panic::catch_unwind(|| sleep(Duration::from_millis(1)));
        }
    });
    let immortal: RemoteJoinHandle<()> = immortal.unwrap();
    assert!(matches!(immortal.join(), Err(JoinError::HubGone)));
    thread.join().unwrap();
}
