//! Words in memory that processes share.

use crate::call::*;
use crate::support::threads::*;
use greenline::{patch, spawn};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Instant;

fn shared_words() -> &'static [AtomicU32; 4] {
    // SAFETY: all zeros is a value of the type.
    unsafe { shared_memory() }
}

#[test]
fn futex_wake_of_a_shared_word_reaches_waiters_of_this_process() {
    patch::all();
    let operations = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET];
    for (word, operation) in shared_words().iter().zip(operations) {
        let body = move || assert_eq!(wait_until(word, operation, 0, None, u32::MAX), Ok(0));
        let joins = [start_hub([body; 2]), start(Green, body), start(Green, body), start(Os, body)];
        // Green threads look at the word again now and then. Meanwhile they are not in the table.
        let mut woken = 0;
        until(|| waiting_shared(word) > 0);
        let start = Instant::now();
        while woken < 5 {
            woken += call(word, libc::FUTEX_WAKE, 5 - woken, 0, word, 0).unwrap();
            assert!(start.elapsed() < LONG);
            std::thread::yield_now();
        }
        assert_eq!(woken, 5);
        join_each(joins);
    }
}

#[test]
fn futex_wake_by_a_forked_child_reaches_all_waiters() {
    patch::all();
    let [word, ..] = shared_words();
    let child = ForkedChild::start(|wait_for_release| {
        wait_for_release();
        word.store(1, SeqCst);
        call(word, libc::FUTEX_WAKE, ALL, 0, word, 0).unwrap_or(0);
        0
    });
    let body = || {
        while word.load(SeqCst) == 0 {
            let result = wait_until(word, libc::FUTEX_WAIT, 0, None, 0);
            assert!(matches!(result, Ok(0) | Err(libc::EAGAIN)), "{result:?}");
        }
    };
    let joins = [start(Green, body), start(Green, body), start(Os, body), start_hub([body])];
    until(|| waiting_shared(word) > 0);
    // Other green threads run while these wait.
    let ticks = spawn(|| (0..50).for_each(|_| std::thread::sleep(ms(1))));
    ticks.join().unwrap();
    assert_eq!(word.load(SeqCst), 0);
    let start = Instant::now();
    child.release();
    join_each(joins);
    assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
    child.join();
}
