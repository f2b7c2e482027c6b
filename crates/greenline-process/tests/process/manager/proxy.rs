//! Proxies: on other OS threads, in other processes, many at once, and in a patched program.

use super::{LONG, child, children, joined, manager, open_fds, pair, receive};
use super::{lifetime, queue, sync};
use crate::support::time::wait_until;
use greenline::thread::Thread;
use greenline::{join_all, spawn};
use greenline_process::manager::{List, Queue};
use std::io::{Read, Write};

pub(crate) fn proxy_works_on_any_os_thread() {
    fn shared<T: Send + Sync>(value: T) -> T {
        value
    }
    let manager = shared(manager());
    let (there, back) = (manager.queue::<u32>(0).unwrap(), manager.queue::<u32>(0).unwrap());
    for _ in 0..5 {
        let (inside, reply) = (there.clone(), back.clone());
        let thread = Thread::new(move || {
            let getter = spawn(move || inside.get().unwrap());
            reply.put(getter.join().unwrap() + 1).unwrap();
        });
        let thread = thread.start().unwrap();
        there.put(41).unwrap();
        assert_eq!(back.get().unwrap(), 42);
        thread.join().unwrap();
    }
}

/// Sets the soft limit of descriptors. Returns the previous one.
fn limit_descriptors(to: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a value of this frame, which the kernel writes and reads.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        let before = limit.rlim_cur;
        limit.rlim_cur = to;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        before
    }
}

pub(crate) fn proxy_calls_wait_a_thousand_at_once() {
    const MANY: u32 = 1000;
    // The server needs a descriptor for each call, and raises its limit itself.
    let before = limit_descriptors(500);
    let manager = manager();
    limit_descriptors(before);
    let queue = manager.queue::<u32>(0).unwrap();
    let inside = queue.clone();
    let children = children(4, move || {
        let threads = (0..MANY / 4).map(|_| {
            let queue = inside.clone();
            spawn(move || queue.get_timeout(LONG).unwrap())
        });
        let threads: Vec<_> = threads.collect();
        assert_eq!(join_all(threads).into_iter().filter(Result::is_ok).count() as u32, MANY / 4);
    });
    wait_until(|| open_fds(manager.pid()) > MANY as usize);
    (0..MANY).for_each(|n| queue.put(n).unwrap());
    joined(children);
    assert!(queue.is_empty().unwrap());
}

pub(crate) fn proxy_works_in_process_older_than_the_manager() {
    let (here, there) = pair();
    let older = child(move || {
        let mut packed = vec![0; usize::from(receive(&there))];
        (&there).read_exact(&mut packed).unwrap();
        let queue: Queue<Queue<String>> = postcard::from_bytes(&packed).unwrap();
        queue.get().unwrap().put("hello".into()).unwrap();
        // A proxy of another kind cannot be decoded from it.
        let error = postcard::from_bytes::<List<String>>(&packed).unwrap_err();
        assert!(matches!(error, postcard::Error::SerdeDeCustom), "{error}");
    });
    let manager = manager();
    let queues = manager.queue::<Queue<String>>(0).unwrap();
    let packed = postcard::to_allocvec(&queues).unwrap();
    (&here).write_all(&[u8::try_from(packed.len()).unwrap()]).unwrap();
    (&here).write_all(&packed).unwrap();
    let inner = manager.queue(0).unwrap();
    queues.put(inner.clone()).unwrap();
    assert_eq!(inner.get().unwrap(), "hello");
    joined([older]);
}

pub(crate) fn proxy_works_when_patched() {
    joined([child(|| {
        greenline::patch::all();
        queue::get_returns_messages_in_order_and_len_counts_them();
        let manager = manager();
        let (queue, lock) = (manager.queue::<usize>(4).unwrap(), manager.lock().unwrap());
        // std's threads are green threads now.
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (queue, lock) = (queue.clone(), lock.clone());
                std::thread::spawn(move || {
                    for _ in 0..10 {
                        let _guard = lock.lock().unwrap();
                        queue.put(n).unwrap();
                    }
                })
            })
            .collect();
        let sum: usize = (0..40).map(|_| queue.get().unwrap()).sum();
        assert_eq!(sum, 60);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let inside = queue.clone();
        joined([child(move || inside.put(7).unwrap())]);
        assert_eq!(queue.get().unwrap(), 7);
        lifetime::shutdown_ends_waiting_and_later_calls();
        sync::lock_of_killed_holder_is_abandoned();
    })]);
}
