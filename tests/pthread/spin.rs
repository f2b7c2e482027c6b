//! `pthread_spin_*`.

use crate::c::*;
use crate::support::threads::*;
use greenline::patch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

#[test]
fn pthread_spin_lock_held_across_a_sleep_excludes_all_others() {
    patch::all();
    let spin = Spin::zeroed();
    // SAFETY: the object is memory of its type.
    assert_eq!(unsafe { libc::pthread_spin_init(spin.get(), 0) }, 0);
    assert_eq!(spin_lock(&spin), 0);
    let (had, count) = (Arc::new(AtomicU32::new(0)), 4);
    let joins: Vec<_> = (0..count)
        .map(|n| {
            let (spin, had) = (spin.clone(), had.clone());
            start(Kind::os_if(n == 3), move || {
                assert_eq!(try_spin(&spin), libc::EBUSY);
                had.fetch_add(1, SeqCst);
                assert_eq!(spin_lock(&spin), 0);
                let before = had.load(SeqCst);
                std::thread::sleep(ms(3));
                had.store(before + 10, SeqCst);
                assert_eq!(spin_unlock(&spin), 0);
            })
        })
        .collect();
    until(|| had.load(SeqCst) == count);
    std::thread::sleep(ms(5));
    assert_eq!(had.load(SeqCst), count);
    assert_eq!(spin_unlock(&spin), 0);
    join_each(joins);
    assert_eq!(had.load(SeqCst), 11 * count);
}
