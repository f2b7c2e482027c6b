//! `kill` and `timeout` of green threads that use std's locks.

use greenline::{JoinError, patch, spawn, yield_now};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

#[test]
fn kill_of_a_mutex_waiter_is_delivered_after_it_got_the_mutex() {
    patch::all();
    let mutex = Arc::new(Mutex::new(0));
    let guard = mutex.lock().unwrap();
    let wanted = mutex.clone();
    let victim = spawn(move || {
        *wanted.lock().unwrap() += 1;
        greenline::sleep(Duration::from_secs(3600));
    });
    let wanted = mutex.clone();
    let other = spawn(move || *wanted.lock().unwrap() += 10);
    yield_now();
    victim.kill();
    (0..10).for_each(|_| yield_now());
    assert!(!victim.is_finished(), "a kill does not unwind out of std's lock");
    drop(guard);
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    other.join().unwrap();
    assert_eq!(*mutex.lock().unwrap(), 11, "the victim got the mutex, released it, and did not poison it");
}

#[test]
fn kill_of_a_mutex_holder_poisons_and_releases_the_mutex() {
    patch::all();
    let mutex = Arc::new(Mutex::new(0));
    let held = mutex.clone();
    let victim = spawn(move || {
        let mut guard = held.lock().unwrap();
        *guard = 1;
        greenline::sleep(Duration::from_secs(3600));
    });
    yield_now();
    let wanted = mutex.clone();
    let waiter =
        thread::spawn(move || wanted.lock().map(|guard| *guard).map_err(|error| *error.into_inner()));
    yield_now();
    victim.kill();
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    assert_eq!(waiter.join().unwrap(), Err(1));
}

/// Spawns a green thread that runs `wait`, and kills it while it waits. The kill must be delivered after `wait`.
fn kill_in(wait: impl FnOnce() + Send + 'static) -> greenline::JoinHandle<()> {
    patch::all();
    let victim = spawn(move || {
        wait();
        yield_now();
        unreachable!("the kill is delivered");
    });
    yield_now();
    victim.kill();
    victim
}

/// A condition's wait may return spuriously. A kill makes it do so.
#[test]
fn kill_in_condvar_wait_makes_it_return_with_the_mutex() {
    let shared = Arc::new((Mutex::new(0), Condvar::new()));
    let inside = shared.clone();
    let victim = kill_in(move || {
        let (mutex, changed) = &*inside;
        let mut guard = changed.wait(mutex.lock().unwrap()).unwrap();
        *guard += 1;
    });
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    assert_eq!(*shared.0.lock().unwrap(), 1);
}

/// `recv` waits for its condition in a loop. After a kill it goes on to wait, and does not spin.
#[test]
fn kill_in_mpsc_recv_is_delivered_when_the_channel_ends() {
    let (tx, rx) = mpsc::channel();
    let received = Arc::new(AtomicU32::new(0));
    let inside = received.clone();
    let victim = kill_in(move || {
        for n in rx {
            inside.fetch_add(n, SeqCst);
        }
    });
    for _ in 0..10 {
        yield_now();
        tx.send(1).unwrap();
    }
    assert!(!victim.is_finished());
    drop(tx);
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
    assert_eq!(received.load(SeqCst), 10);
}

#[test]
fn kill_in_thread_join_is_delivered_when_the_thread_has_ended() {
    patch::all();
    let (go, gone) = mpsc::channel::<()>();
    let joined = thread::spawn(move || gone.recv());
    let victim = kill_in(|| {
        joined.join().unwrap().unwrap_err();
    });
    (0..10).for_each(|_| yield_now());
    assert!(!victim.is_finished());
    drop(go);
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
}

#[test]
fn kill_and_timeout_of_60_mutex_users_lose_no_update() {
    patch::all();
    let mutex = Arc::new(Mutex::new(0u64));
    let done = Arc::new(AtomicU32::new(0));
    let users: Vec<_> = (0..60)
        .map(|n| {
            let (mutex, done) = (mutex.clone(), done.clone());
            spawn(move || {
                loop {
                    let mut guard = mutex.lock().unwrap();
                    let read = *guard;
                    thread::sleep(Duration::from_micros(20));
                    *guard = read + 1;
                    drop(guard);
                    done.fetch_add(1, SeqCst);
                    if n % 3 == 0 {
                        let _ = greenline::timeout(Duration::ZERO, yield_now);
                    } else {
                        yield_now();
                    }
                }
            })
        })
        .collect();
    for victim in &users {
        thread::sleep(Duration::from_micros(300));
        victim.kill();
    }
    for end in greenline::join_all(users) {
        assert!(matches!(end, Err(JoinError::Killed)));
    }
    assert_eq!(*mutex.lock().unwrap(), u64::from(done.load(SeqCst)));
}
