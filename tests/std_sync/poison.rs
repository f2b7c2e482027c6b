//! Poisoning of `Mutex` and `RwLock`.

use crate::placement::*;
use crate::support::threads::ms;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, Mutex, RwLock, TryLockError};
use std::thread;

#[test]
fn mutex_and_rwlock_write_are_poisoned_by_a_panic_and_rwlock_read_is_not() {
    in_each_placement(|placement| {
        let (mutex, lock, read) =
            (Arc::new(Mutex::new(1)), Arc::new(RwLock::new(1)), Arc::new(RwLock::new(1)));
        let (poisoned, written, only_read) = (mutex.clone(), lock.clone(), read.clone());
        placement.run(4, move |number| {
            let ended = catch_unwind(AssertUnwindSafe(|| match number {
                0 => {
                    let mut guard = mutex.lock().unwrap();
                    *guard = 2;
                    thread::sleep(ms(2));
                    panic!("with the mutex");
                }
                1 => {
                    let mut guard = lock.write().unwrap();
                    *guard = 2;
                    thread::sleep(ms(2));
                    panic!("with the write lock");
                }
                _ => {
                    let _guard = read.read().unwrap();
                    thread::sleep(ms(2));
                    panic!("with a read lock");
                }
            }));
            assert!(ended.is_err());
        });
        assert!(poisoned.is_poisoned() && written.is_poisoned() && !only_read.is_poisoned(), "{placement:?}");
        assert_eq!(*poisoned.lock().unwrap_err().into_inner(), 2);
        assert!(matches!(poisoned.try_lock(), Err(TryLockError::Poisoned(_))));
        assert_eq!(*written.read().unwrap_err().into_inner(), 2);
        poisoned.clear_poison();
        assert_eq!(*poisoned.lock().unwrap(), 2);
        drop(only_read.write().unwrap());
    });
}

#[test]
fn mutex_of_other_threads_is_not_poisoned_while_one_blocks_in_unwinding() {
    in_each_placement(|placement| {
        /// Its destructor waits until the others have held the lock, and then locks it, too.
        struct Slow<'a>(&'a Mutex<u32>, &'a Barrier);
        impl Drop for Slow<'_> {
            fn drop(&mut self) {
                assert!(thread::panicking());
                self.1.wait();
                // std does not poison a mutex that was locked while its thread was unwinding already.
                *self.0.lock().unwrap() += 1;
                self.1.wait();
                assert!(thread::panicking());
            }
        }
        let mutex = Arc::new(Mutex::new(0));
        let total = mutex.clone();
        let (barrier, held) = (Barrier::new(4), [const { Mutex::new(()) }; 4]);
        placement.run(4, move |number| {
            if number < 2 {
                let ended = catch_unwind(AssertUnwindSafe(|| {
                    let _slow = Slow(&mutex, &barrier);
                    panic!("and now the destructor");
                }));
                assert!(ended.is_err() && !thread::panicking());
            } else {
                let guard = held[number].lock().unwrap();
                barrier.wait();
                // Two other threads unwind meanwhile, these two do not.
                assert!(!thread::panicking(), "{placement:?}");
                *mutex.lock().unwrap() += 1;
                drop(guard);
                barrier.wait();
            }
            assert!(!held[number].is_poisoned(), "{placement:?}");
        });
        assert!(!total.is_poisoned(), "{placement:?}");
        assert_eq!(*total.lock().unwrap(), 4);
    });
}
