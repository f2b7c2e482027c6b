//! Panics of threads, and `panicking`.

use crate::support::threads::ms;
use greenline::patch;
use std::panic::{catch_unwind, panic_any, resume_unwind};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};

/// Joins a thread that panicked and returns the payload.
pub(crate) fn payload_of<P: 'static>(thread: JoinHandle<()>) -> P {
    *thread.join().unwrap_err().downcast().unwrap()
}

#[test]
fn join_returns_the_payload_of_a_panic() {
    patch::all();
    assert_eq!(payload_of::<&str>(thread::spawn(|| panic!("text"))), "text");
    let value = thread::spawn(|| {
        thread::sleep(ms(1));
        panic_any(vec![1, 2])
    });
    assert_eq!(payload_of::<Vec<i32>>(value), [1, 2]);
    assert_eq!(payload_of::<char>(thread::spawn(|| resume_unwind(Box::new('x')))), 'x');
}

#[test]
fn panicking_is_per_thread_while_destructors_sleep() {
    struct Sleeps(Arc<Barrier>);
    impl Drop for Sleeps {
        fn drop(&mut self) {
            assert!(thread::panicking());
            thread::sleep(ms(1));
            self.0.wait();
            // A second panic, in a destructor that runs while unwinding, is caught.
            assert!(catch_unwind(|| resume_unwind(Box::new("inner"))).is_err());
            self.0.wait();
            assert!(thread::panicking());
        }
    }
    patch::all();
    let barrier = Arc::new(Barrier::new(7));
    let unwinding: Vec<_> = (0..5usize)
        .map(|n| {
            let sleeps = Sleeps(barrier.clone());
            thread::spawn(move || {
                let _sleeps = sleeps;
                panic_any(n)
            })
        })
        .collect();
    let inside = barrier.clone();
    let calm = thread::spawn(move || {
        inside.wait();
        let meanwhile = thread::panicking();
        inside.wait();
        meanwhile
    });
    barrier.wait();
    assert!(!thread::panicking());
    let others = thread::spawn(|| (thread::panicking(), catch_unwind(|| panic!("beside")).is_err()));
    assert_eq!(others.join().unwrap(), (false, true));
    barrier.wait();
    assert!(!calm.join().unwrap());
    for (n, one) in unwinding.into_iter().enumerate() {
        assert_eq!(payload_of::<usize>(one), n);
    }
}
