//! The end of objects, of managers and of server processes, and what is left after it.

use super::{LONG, MOMENT, assert_gone, child, joined, manager, open_fds, pair, receive, send, signal};
use crate::support::proc_fs;
use crate::support::time::wait_until;
use greenline::{JoinHandle, join_all, kill_all, sleep, spawn, yield_now};
use greenline_process::manager::{GetError, Manager, ManagerError, Proxy, PutError, Queue};
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(crate) fn discard_ends_waiting_and_later_calls() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let (inside, here) = (queue.clone(), queue.clone());
    let there = child(move || {
        assert!(matches!(inside.get(), Err(GetError::Failed(ManagerError::NoSuchObject { .. }))));
    });
    let here = spawn(move || here.get());
    sleep(MOMENT);
    manager.publish("q", &queue).unwrap();
    queue.clone().discard().unwrap();
    joined([there]);
    assert!(matches!(here.join().unwrap(), Err(GetError::Failed(ManagerError::NoSuchObject { .. }))));
    assert!(matches!(queue.put(1), Err(PutError::Failed { error: ManagerError::NoSuchObject { .. }, .. })));
    // The name can be used again, the number cannot.
    let other = manager.queue::<u32>(0).unwrap();
    manager.publish("q", &other).unwrap();
    assert!(matches!(queue.len(), Err(ManagerError::NoSuchObject { .. })));
}

/// Returns the error of the manager with which `get` fails.
fn get_error(queue: &Queue<u32>) -> Result<(), ManagerError> {
    match queue.get() {
        Err(GetError::Failed(error)) => Err(error),
        other => panic!("{other:?}"),
    }
}

/// Starts calls that wait for ever, one of each kind, each in a green thread.
fn waiting_calls(manager: &Manager) -> Vec<JoinHandle<Result<(), ManagerError>>> {
    let (empty, full) = (manager.queue::<u32>(0).unwrap(), manager.queue::<u32>(1).unwrap());
    full.put(1).unwrap();
    let (event, lock) = (manager.event().unwrap(), manager.lock().unwrap());
    let (semaphore, barrier) = (manager.semaphore(0).unwrap(), manager.barrier(2).unwrap());
    let guard = lock.lock().unwrap();
    let calls = vec![
        spawn(move || get_error(&empty)),
        spawn(move || match full.put(2) {
            Err(PutError::Failed { error, .. }) => Err(error),
            other => panic!("{other:?}"),
        }),
        spawn(move || event.wait()),
        spawn(move || {
            let _guard = guard;
            lock.lock().map(drop)
        }),
        spawn(move || semaphore.acquire_timeout(LONG).map(drop)),
        spawn(move || barrier.wait().map(drop)),
    ];
    sleep(MOMENT);
    calls
}

/// Starts calls that wait, here and in a child, calls `end` on the manager, and asserts that these calls and later ones
/// fail.
fn all_calls_fail_after<R>(end: impl FnOnce(Manager) -> R) -> R {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let calls = waiting_calls(&manager);
    let inside = queue.clone();
    let there = child(move || assert_gone(get_error(&inside)));
    sleep(MOMENT);
    let ended = end(manager);
    join_all(calls).into_iter().for_each(|ended| assert_gone(ended.unwrap()));
    joined([there]);
    (0..20).for_each(|_| assert_gone(queue.len()));
    ended
}

pub(crate) fn shutdown_ends_waiting_and_later_calls() {
    all_calls_fail_after(|manager| manager.shutdown().unwrap());
}

pub(crate) fn server_killed_ends_waiting_and_later_calls() {
    let manager = all_calls_fail_after(|manager| {
        signal(&manager, libc::SIGKILL);
        manager
    });
    assert_gone(manager.queue::<u32>(0));
    manager.shutdown().unwrap();
}

pub(crate) fn server_ignores_sigint() {
    let manager = manager();
    let value = manager.value(&1).unwrap();
    signal(&manager, libc::SIGINT);
    sleep(MOMENT);
    assert_eq!(value.get().unwrap(), 1);
}

pub(crate) fn server_outlives_copy_of_manager_in_child() {
    let manager = manager();
    let value = manager.value(&1).unwrap();
    let shared = Rc::new(Cell::new(Some(manager)));
    let copy = shared.clone();
    joined([child(move || drop(copy.take()))]);
    assert_eq!(value.get().unwrap(), 1);
    drop(shared.take());
    assert_gone(value.get());
}

/// Returns a descriptor that becomes readable when that process ends.
fn pidfd(pid: u32) -> OwnedFd {
    // SAFETY: pidfd_open takes no pointers, and the kernel has just created the descriptor for this caller.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        assert!(fd >= 0);
        OwnedFd::from_raw_fd(fd as i32)
    }
}

pub(crate) fn server_ends_with_the_process_that_started_it() {
    for killed in [true, false] {
        let (here, there) = pair();
        let owner = child(move || {
            let manager = Manager::start().unwrap();
            (&there).write_all(&manager.pid().to_le_bytes()).unwrap();
            receive(&there);
            // The manager is not dropped, so the server ends because its parent ends.
            std::mem::forget(manager);
        });
        let mut pid = [0; 4];
        (&here).read_exact(&mut pid).unwrap();
        let server = pidfd(u32::from_le_bytes(pid));
        assert!(greenline::io::wait_readable(&server, Some(Instant::now() + MOMENT)).is_err());
        if killed {
            owner.kill().unwrap();
        } else {
            send(&here);
        }
        owner.join().unwrap();
        greenline::io::wait_readable(&server, Some(Instant::now() + LONG / 2)).unwrap();
    }
}

pub(crate) fn server_closes_inherited_descriptors() {
    let (here, there) = pair();
    let manager = manager();
    let value = manager.value(&1).unwrap();
    drop(there);
    here.set_read_timeout(Some(LONG / 2)).unwrap();
    // The connection has ended, so the server has no copy of `there`.
    assert_eq!((&here).read(&mut [0]).unwrap(), 0);
    assert_eq!(value.get().unwrap(), 1);
}

pub(crate) fn manager_leaves_no_descriptor_and_no_child() {
    let use_manager = || {
        let manager = manager();
        let queue = manager.queue::<u32>(0).unwrap();
        let inside = queue.clone();
        let threads = (0..20).map(|_| {
            let queue = queue.clone();
            spawn(move || drop(queue.get_timeout(Duration::from_millis(30))))
        });
        let threads: Vec<_> = threads.collect();
        joined([child(move || inside.put(1).unwrap())]);
        join_all(threads);
        drop(manager);
    };
    use_manager();
    let before = proc_fs::open_fds();
    use_manager();
    let after = proc_fs::open_fds();
    assert!(after <= before, "{after} > {before}");

    // The server, too, closes the descriptors of connections that have ended.
    let manager = manager();
    let server = manager.pid();
    let queue = manager.queue::<u32>(0).unwrap();
    (0..3).for_each(|_| assert!(queue.is_empty().unwrap()));
    let idle = open_fds(server);
    for _ in 0..3 {
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let queue = queue.clone();
                spawn(move || drop(queue.get()))
            })
            .collect();
        yield_now();
        wait_until(|| open_fds(server) >= idle + 19);
        let inside = queue.clone();
        joined([child(move || assert!(inside.is_empty().unwrap()))]);
        kill_all(threads);
        wait_until(|| open_fds(server) <= idle + 7);
    }
    drop(manager);
    // No child is left, neither alive nor as a zombie.
    // SAFETY: null means that the status is not stored.
    assert_eq!(unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) }, -1);
}
