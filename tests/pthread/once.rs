//! `pthread_once`.

use crate::c::*;
use crate::support::threads::*;
use greenline::patch;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

#[test]
fn pthread_once_with_sleeping_init_runs_it_once() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static DONE: AtomicBool = AtomicBool::new(false);
    extern "C-unwind" fn init() {
        RUNS.fetch_add(1, SeqCst);
        std::thread::sleep(ms(20));
        DONE.store(true, SeqCst);
    }
    patch::all();
    let once = Shared::new(libc::PTHREAD_ONCE_INIT);
    let joins: Vec<_> = (0..8)
        .map(|n| {
            let once = once.clone();
            start(Kind::os_if(n % 2 == 1), move || {
                // SAFETY: the object is initialised.
                assert_eq!(unsafe { ffi::pthread_once(once.get(), init) }, 0);
                assert!(DONE.load(SeqCst));
            })
        })
        .collect();
    join_each(joins);
    assert_eq!(RUNS.load(SeqCst), 1);
}

#[test]
fn pthread_once_with_unwinding_init_runs_it_again() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    extern "C-unwind" fn init() {
        std::thread::sleep(ms(5));
        if RUNS.fetch_add(1, SeqCst) < 2 {
            std::panic::resume_unwind(Box::new("the initialiser"));
        }
    }
    patch::all();
    let (once, unwound) = (Shared::new(libc::PTHREAD_ONCE_INIT), Arc::new(AtomicU32::new(0)));
    let joins: Vec<_> = (0..6)
        .map(|n| {
            let (once, unwound) = (once.clone(), unwound.clone());
            start(Kind::os_if(n % 2 == 1), move || {
                // SAFETY: the object is initialised. `init` may unwind, and the call is declared so.
                let call = AssertUnwindSafe(|| unsafe { ffi::pthread_once(once.get(), init) });
                match std::panic::catch_unwind(call) {
                    Ok(result) => assert_eq!(result, 0),
                    Err(_) => drop(unwound.fetch_add(1, SeqCst)),
                }
            })
        })
        .collect();
    join_each(joins);
    assert_eq!((RUNS.load(SeqCst), unwound.load(SeqCst)), (3, 2));
}
