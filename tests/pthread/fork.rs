//! `pthread_mutex_*` between a process and its forked child.

use crate::c::*;
use crate::support::threads::*;
use greenline::{patch, spawn};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

#[test]
fn pthread_mutex_lock_excludes_a_forked_child() {
    struct Page {
        mutex: Mutex,
        count: AtomicU32,
    }
    patch::all();
    // SAFETY: all zeros is a value of both fields.
    let page: &'static Page = unsafe { shared_memory() };
    // SAFETY: `init_with` has initialised the attributes.
    let set = |attr| unsafe { libc::pthread_mutexattr_setpshared(attr, libc::PTHREAD_PROCESS_SHARED) };
    init_with(&page.mutex, libc::pthread_mutex_init, MUTEX_ATTR, set);
    // The test forks on a green thread, with which the child goes on.
    let forker = spawn(move || {
        let child = ForkedChild::start(|wait_for_release| {
            let locked = lock(&page.mutex);
            page.count.store(1, SeqCst);
            wait_for_release();
            page.count.store(2, SeqCst);
            locked | unlock(&page.mutex)
        });
        until(|| page.count.load(SeqCst) == 1);
        assert_eq!(try_lock(&page.mutex), libc::EBUSY);
        assert_eq!(timed_lock(&page.mutex, &at(REALTIME, ms(20))), libc::ETIMEDOUT);
        let waiter = spawn(|| {
            assert_eq!(lock(&page.mutex), 0);
            assert_eq!(page.count.load(SeqCst), 2);
            assert_eq!(unlock(&page.mutex), 0);
        });
        // Other green threads run while the waiter waits.
        spawn(|| (0..20).for_each(|_| std::thread::sleep(ms(1)))).join().unwrap();
        assert!(!waiter.is_finished());
        child.release();
        waiter.join().unwrap();
        child.join();
    });
    forker.join().unwrap();
}
