//! `RwLock`.

use crate::placement::*;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier, RwLock, TryLockError};
use std::thread;
use std::time::Duration;

#[test]
fn rwlock_write_excludes_all_others_and_loses_no_update() {
    in_each_placement(|placement| {
        let lock = Arc::new(RwLock::new((0u32, 0u32)));
        let total = lock.clone();
        placement.run(8, move |number| {
            for round in 0..60 {
                if number % 4 == 1 || number % 4 == 2 {
                    let mut pair = lock.write().unwrap();
                    pair.0 += 1;
                    match round % 3 {
                        0 => thread::sleep(Duration::from_micros(100)),
                        _ => thread::yield_now(),
                    }
                    pair.1 += 1;
                } else {
                    let pair = lock.read().unwrap();
                    let first = pair.0;
                    thread::yield_now();
                    assert_eq!((first, first), *pair, "{placement:?}");
                }
            }
        });
        assert_eq!(*total.read().unwrap(), (240, 240), "{placement:?}");
    });
}

#[test]
fn rwlock_read_admits_two_and_keeps_a_writer_out() {
    in_each_placement(|placement| {
        let lock = Arc::new(RwLock::new(0));
        let (both, written) = (Arc::new(Barrier::new(3)), Arc::new(AtomicBool::new(false)));
        placement.run(3, move |number| {
            if number < 2 {
                let value = lock.read().unwrap();
                both.wait();
                both.wait();
                assert_eq!(*value, 0, "{placement:?}");
                assert!(!written.load(SeqCst));
            } else {
                both.wait();
                assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)), "{placement:?}");
                assert!(lock.try_read().is_ok());
                both.wait();
                *lock.write().unwrap() = 1;
                written.store(true, SeqCst);
                let writer = lock.write().unwrap();
                assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
                drop(writer);
            }
        });
    });
}
