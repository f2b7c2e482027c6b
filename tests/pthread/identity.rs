//! The C library's view of one thread: `pthread_self`, its stack, its name, the signals sent to it.

use crate::c::*;
use crate::support::threads::*;
use greenline::{Builder, current, patch, spawn, yield_now};
use libc::c_int;
use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};

#[test]
fn pthread_attr_setstacksize_sets_the_stack_of_a_green_thread() {
    patch::all();
    let local = 0u8;
    assert!(stack_of(this()).0.contains(&(&raw const local as usize)));
    // Without attributes a thread gets C's default size.
    let mut default = 0;
    // SAFETY: `attr` has initialised the attributes.
    attr(|attr| unsafe { libc::pthread_attr_getstacksize(attr, &raw mut default) });
    for size in [None, Some(16 << 10), Some(64 << 10), Some(1 << 20)] {
        // SAFETY: as above.
        let attr = size.map(|size| attr(|attr| unsafe { libc::pthread_attr_setstacksize(attr, size) }));
        let thread = create(attr.as_ref(), move || {
            let local = 0u8;
            let (stack, state) = stack_of(this());
            assert!(stack.contains(&(&raw const local as usize)));
            assert!(stack.len() >= size.unwrap_or(default) - 4096, "{stack:x?} of {size:?}");
            assert_eq!(state, libc::PTHREAD_CREATE_JOINABLE);
            // The whole stack can be used.
            let most = stack.len() - 12 * 1024;
            fn deep(to: usize) -> usize {
                let frame = std::hint::black_box([1u8; 1024]);
                match (&raw const frame as usize) < to {
                    true => frame[7] as usize,
                    false => deep(to) + frame[9] as usize,
                }
            }
            if size.is_some_and(|size| size >= 64 << 10) {
                assert!(deep(stack.end - most) > 4);
            }
            stack.start
        });
        let (there, _) = stack_of(thread);
        assert!(!there.contains(&(&raw const local as usize)));
        assert_eq!(join(thread), (0, there.start));
    }
    // A green thread of `greenline::Builder` reports its stack, too.
    let green = Builder::new().stack_size(64 << 10).spawn(|| {
        let local = 0u8;
        assert!(stack_of(this()).0.contains(&(&raw const local as usize)));
    });
    green.unwrap().join().unwrap();
}

#[test]
fn pthread_self_is_unique_to_each_green_thread() {
    patch::all();
    // SAFETY: the arguments are plain numbers.
    let equal = |one, other| unsafe { libc::pthread_equal(one, other) != 0 };
    let bodies: Vec<_> = (0..10).map(|_| spawn(|| (yield_now(), this(), yield_now(), this()))).collect();
    let mut all = vec![this()];
    for (_, before, _, after) in bodies.into_iter().map(|green| green.join().unwrap()) {
        assert!(equal(before, after));
        assert!(!all.iter().any(|&other| equal(other, before)));
        all.push(before);
    }
    let thread = create(None, || this() as usize);
    assert_eq!(join(thread), (0, thread as usize));
    assert!(!equal(thread, this()));
}

/// C's tables of character classes are set up in each thread when it starts.
#[test]
fn isalpha_in_green_threads_knows_letters() {
    patch::all();
    // SAFETY: the arguments are letters.
    let known = || unsafe {
        libc::isalpha(i32::from(b'a')) != 0 && libc::toupper(i32::from(b'a')) == i32::from(b'A')
    };
    assert!(known() && std::thread::spawn(known).join().unwrap() && greenline::spawn(known).join().unwrap());
}

#[test]
fn pthread_setname_np_names_only_the_green_thread() {
    patch::all();
    // SAFETY: the thread lives; the name ends in 0.
    let set = |thread, name: &CStr| unsafe { libc::pthread_setname_np(thread, name.as_ptr()) };
    let get = |thread, len| {
        let mut name = [1u8; 32];
        // SAFETY: the thread lives; `len` is at most the length of the memory.
        let result = unsafe { libc::pthread_getname_np(thread, name.as_mut_ptr().cast(), len) };
        match result {
            0 => Ok(CStr::from_bytes_until_nul(&name).unwrap().to_str().unwrap().to_owned()),
            result => Err(result),
        }
    };
    let name_of_root = get(this(), 16).unwrap();
    let go = Arc::new(AtomicBool::new(false));
    let inside = go.clone();
    let thread = create(None, move || {
        assert_eq!(set(this(), c"self"), 0);
        assert_eq!(&*current().name(), "self");
        until(|| inside.load(SeqCst));
        assert_eq!(get(this(), 16).unwrap(), "fifteen letters");
        0
    });
    until(|| get(thread, 16).unwrap() == "self");
    assert_eq!(set(thread, c"sixteen letters!"), libc::ERANGE);
    assert_eq!(get(thread, 15), Err(libc::ERANGE));
    assert_eq!(get(thread, 16).unwrap(), "self");
    assert_eq!(set(thread, c"fifteen letters"), 0);
    assert_eq!(get(thread, 32).unwrap(), "fifteen letters");
    assert_eq!(get(this(), 16).unwrap(), name_of_root);
    go.store(true, SeqCst);
    assert_eq!(join(thread), (0, 0));
    // C sees the name that std gave.
    let thread = std::thread::Builder::new().name("of std".into());
    let name = thread.spawn(move || get(this(), 16).unwrap()).unwrap().join().unwrap();
    assert_eq!(name, "of std");
}

#[test]
fn pthread_kill_of_a_green_thread_signals_its_os_thread() {
    static HANDLED: AtomicI32 = AtomicI32::new(0);
    static BY: AtomicI32 = AtomicI32::new(0);
    extern "C" fn handler(_: c_int) {
        HANDLED.fetch_add(1, SeqCst);
        BY.store(os_thread(), SeqCst);
    }
    patch::all();
    // SAFETY: the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &raw const action, null_mut()), 0);
    }
    // SAFETY: the thread was not joined yet.
    let kill = |thread, signal| unsafe { libc::pthread_kill(thread, signal) };
    // SAFETY: as above.
    let cancel = |thread| unsafe { libc::pthread_cancel(thread) };
    let go = Arc::new(AtomicBool::new(false));
    let inside = go.clone();
    let thread = create(None, move || {
        until(|| inside.load(SeqCst));
        3
    });
    assert_eq!(kill(thread, 0), 0);
    assert_eq!(kill(thread, 10_000), libc::EINVAL);
    assert_eq!(HANDLED.load(SeqCst), 0);
    assert_eq!(kill(thread, libc::SIGUSR2), 0);
    until(|| HANDLED.load(SeqCst) == 1);
    let here = os_thread();
    assert_eq!(BY.load(SeqCst), here);
    start(Os, move || {
        assert_eq!(kill(thread, libc::SIGUSR2), 0);
        until(|| HANDLED.load(SeqCst) == 2);
        assert_eq!(BY.load(SeqCst), here);
    })();
    assert_eq!(cancel(thread), libc::ENOTSUP);
    yield_100_times();
    go.store(true, SeqCst);
    yield_100_times();
    // The thread has ended and receives no signal. C returns 0 all the same.
    assert_eq!(kill(thread, libc::SIGUSR2), 0);
    yield_100_times();
    assert_eq!(HANDLED.load(SeqCst), 2);
    assert_eq!(join(thread), (0, 3));
}
