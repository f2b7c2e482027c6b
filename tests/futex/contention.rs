//! Many threads of all kinds that wake each other.

use crate::call::*;
use crate::support::threads::*;
use greenline::patch;
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

type Body = Box<dyn FnOnce() + Send>;

/// A counter behind a lock that is a futex word: 0 is free, 1 is held, 2 is held with waiters. The counter is no atomic.
#[derive(Default)]
struct Guarded {
    word: AtomicU32,
    count: UnsafeCell<u64>,
}

// SAFETY: only the thread that holds the lock uses the counter.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn add(&self) {
        if self.word.compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
            while self.word.swap(2, SeqCst) != 0 {
                wait(&self.word, 2).unwrap_or(0);
            }
        }
        // SAFETY: this thread holds the lock.
        unsafe {
            let before = self.count.get().read();
            if before % 16 == 0 {
                std::thread::yield_now(); // so that others come to wait
            }
            self.count.get().write(before + 1);
        }
        if self.word.swap(0, SeqCst) == 2 {
            wake(&self.word, 1).unwrap();
        }
    }
}

#[test]
fn futex_wake_between_hubs_and_os_threads_loses_no_wakeup() {
    patch::all();
    const ROUNDS: u32 = 300;
    /// Waits until the word is `me`, and sets it to `1 - me`.
    fn ping_pong(word: &AtomicU32, me: u32) {
        for _ in 0..ROUNDS {
            while word.load(SeqCst) != me {
                wait(word, 1 - me).unwrap_or(0);
            }
            word.store(1 - me, SeqCst);
            wake(word, 1).unwrap();
        }
    }
    let guarded = Arc::new(Guarded::default());
    let adder = || {
        let guarded = guarded.clone();
        Box::new(move || (0..ROUNDS).for_each(|_| guarded.add())) as Body
    };
    // The bodies of this hub, of a second hub, and of OS threads. Every pair of the three plays ping-pong.
    let mut bodies: [Vec<Body>; 3] = std::array::from_fn(|_| vec![adder(), adder()]);
    for (one, other) in [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)] {
        let word = Arc::new(AtomicU32::new(0));
        for (me, place) in [(0, one), (1, other)] {
            let word = word.clone();
            bodies[place].push(Box::new(move || ping_pong(&word, me)));
        }
    }
    let [here, second_hub, os_threads] = bodies;
    let mut joins = vec![start_hub(second_hub)];
    joins.extend(os_threads.into_iter().map(|body| start(Os, body)));
    joins.extend(here.into_iter().map(|body| start(Green, body)));
    join_each(joins);
    // SAFETY: all threads have ended.
    assert_eq!(unsafe { *guarded.count.get() }, 6 * u64::from(ROUNDS));
    assert_eq!(guarded.word.load(SeqCst), 0);
}
