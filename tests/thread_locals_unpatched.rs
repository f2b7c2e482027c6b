//! Without a patch, green threads share the thread-locals of their OS thread. The end of a green thread drops none of
//! them.

use greenline::{join_everything, spawn};
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

static FREED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn thread_locals_without_patch_outlive_the_green_threads_of_their_os_thread() {
    unsafe extern "C" fn free(_: *mut c_void) {
        FREED.fetch_add(1, SeqCst);
    }
    struct Counts;
    impl Drop for Counts {
        fn drop(&mut self) {
            FREED.fetch_add(1, SeqCst);
        }
    }
    thread_local! {
        static STD: RefCell<Option<Counts>> = const { RefCell::new(None) };
    }
    greenline::green_local! {
        static LOCAL: u32 = 3;
    }

    let id = thread::current().id();
    STD.set(Some(Counts));
    let mut key = 0;
    // SAFETY: this test makes the key. Its destructor accepts any value.
    unsafe {
        assert_eq!(libc::pthread_key_create(&raw mut key, Some(free)), 0);
        assert_eq!(libc::pthread_setspecific(key, std::ptr::without_provenance(8)), 0);
    }
    // One green thread is joined, one is detached, and one has a `green_local!`.
    spawn(|| ()).join().unwrap();
    drop(spawn(move || assert_eq!(thread::current().id(), id)));
    spawn(|| LOCAL.with(|three| assert_eq!(*three, 3))).join().unwrap();
    join_everything();

    assert_eq!(FREED.load(SeqCst), 0);
    assert_eq!(thread::current().id(), id);
    // SAFETY: the key exists.
    assert_eq!(unsafe { libc::pthread_getspecific(key) }.addr(), 8);
}
