//! Locks, semaphores, events and barriers, and holders and waiters that die.

use super::{
    LONG, MOMENT, child, children, holder, in_green_threads, joined, kill, manager, pair, send, signal,
    stopped_in, wait_until_stopped,
};
use crate::support::time::wait_until;
use greenline::{join_all, sleep, spawn, yield_now};
use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;

pub(crate) fn lock_admits_one_at_a_time() {
    let manager = manager();
    let (lock, count) = (manager.lock().unwrap(), manager.value(&0u32).unwrap());
    let (inside, counter) = (lock.clone(), count.clone());
    joined(children(3, move || {
        in_green_threads(3, move || {
            for _ in 0..10 {
                let guard = inside.lock().unwrap();
                assert!(!guard.was_abandoned());
                let seen = counter.get().unwrap();
                yield_now();
                counter.set(&(seen + 1)).unwrap();
            }
        });
    }));
    assert_eq!(count.get().unwrap(), 90);
    let guard = lock.try_lock().unwrap().unwrap();
    assert!(lock.try_lock().unwrap().is_none());
    assert!(lock.lock_timeout(MOMENT).unwrap().is_none());
    drop(guard);
    assert!(lock.try_lock().unwrap().is_some());
}

pub(crate) fn lock_serves_waiters_in_order() {
    let manager = manager();
    // A lock that lets a new waiter overtake does so only if the server reads its request first, so try it repeatedly.
    for _ in 0..8 {
        let (lock, order) = (manager.lock().unwrap(), manager.list::<u32>().unwrap());
        let waiter = |n: u32| {
            let (lock, order) = (lock.clone(), order.clone());
            spawn(move || {
                let _guard = lock.lock().unwrap();
                order.push(&n).unwrap();
            })
        };
        let guard = lock.lock().unwrap();
        let mut threads = Vec::new();
        for n in 0..4 {
            threads.push(waiter(n));
            // When the server has replied to so many later calls, it has received this one.
            (0..30).for_each(|_| assert!(lock.try_lock().unwrap().is_none()));
        }
        // While the server is stopped, the lock is released and a new waiter comes. The server then finds both at once.
        signal(&manager, libc::SIGSTOP);
        wait_until_stopped(manager.pid());
        threads.push(spawn(move || drop(guard)));
        threads.push(waiter(4));
        (0..10).for_each(|_| yield_now());
        signal(&manager, libc::SIGCONT);
        join_all(threads).into_iter().for_each(|ended| ended.unwrap());
        assert_eq!(order.snapshot().unwrap(), [0, 1, 2, 3, 4]);
    }
}

pub(crate) fn lock_of_killed_holder_is_abandoned() {
    let manager = manager();
    let lock = manager.lock().unwrap();
    let inside = lock.clone();
    let holder = holder(move || inside.lock().unwrap());
    let next = lock.clone();
    let next = spawn(move || next.lock().unwrap().was_abandoned());
    assert!(lock.lock_timeout(MOMENT).unwrap().is_none());
    kill(&holder);
    assert!(next.join().unwrap());
    assert!(!lock.lock().unwrap().was_abandoned());
    // A process that dies while it waits for the lock does not abandon it.
    let guard = lock.lock().unwrap();
    let inside = lock.clone();
    let waiter = child(move || drop(inside.lock()));
    sleep(MOMENT);
    kill(&waiter);
    drop(guard);
    assert!(!lock.lock().unwrap().was_abandoned());
}

pub(crate) fn lock_of_killed_holder_is_free_although_its_child_lives() {
    let manager = manager();
    let lock = manager.lock().unwrap();
    let (end, until) = pair();
    let inside = lock.clone();
    let holder = holder(move || {
        let guard = inside.lock().unwrap();
        // The grandchild has a copy of the connection.
        (guard, child(move || drop((&until).read(&mut [0]))))
    });
    kill(&holder);
    assert!(lock.lock_timeout(LONG / 2).unwrap().expect("the lock is free").was_abandoned());
    send(&end);
}

pub(crate) fn lock_guard_in_forked_child_unlocks_nothing() {
    let manager = manager();
    let (lock, semaphore) = (manager.lock().unwrap(), manager.semaphore(1).unwrap());
    let (guard, permit) = (lock.lock().unwrap(), semaphore.acquire().unwrap());
    let held = Rc::new(Cell::new(Some((guard, permit))));
    let copies = held.clone();
    joined([child(move || drop(copies.take()))]);
    assert!(lock.try_lock().unwrap().is_none());
    assert_eq!(semaphore.available().unwrap(), 0);
    drop(held.take());
    assert!(!lock.try_lock().unwrap().unwrap().was_abandoned());
    assert_eq!(semaphore.available().unwrap(), 1);
}

pub(crate) fn semaphore_counts_permits() {
    let manager = manager();
    let semaphore = manager.semaphore(2).unwrap();
    let permit = semaphore.acquire().unwrap();
    let inside = semaphore.clone();
    let holder = holder(move || inside.acquire().unwrap());
    assert_eq!(semaphore.available().unwrap(), 0);
    assert!(semaphore.try_acquire().unwrap().is_none());
    assert!(semaphore.acquire_timeout(MOMENT).unwrap().is_none());
    drop(permit);
    let permit = semaphore.acquire_timeout(LONG).unwrap().unwrap();
    kill(&holder);
    let second = semaphore.acquire().unwrap();
    drop((permit, second));
    assert_eq!(semaphore.available().unwrap(), 2);
}

pub(crate) fn semaphore_permit_for_process_that_dies_is_given_back() {
    let manager = manager();
    let (lock, semaphore) = (manager.lock().unwrap(), manager.semaphore(1).unwrap());
    let held = (lock.lock().unwrap(), semaphore.acquire().unwrap());
    let inside = (lock.clone(), semaphore.clone());
    let waiter = stopped_in(move || {
        let permit = spawn(move || inside.1.acquire());
        let lock = inside.0.lock();
        drop((lock, permit.join()));
    });
    drop(held);
    // The server has sent both to the stopped process, which cannot acknowledge them.
    wait_until(|| semaphore.available().unwrap() == 0 && lock.try_lock().unwrap().is_none());
    kill(&waiter);
    assert!(semaphore.acquire_timeout(LONG / 2).unwrap().is_some());
    // The process never had the lock, so it did not abandon it.
    assert!(!lock.lock_timeout(LONG / 2).unwrap().expect("the lock is free").was_abandoned());
}

pub(crate) fn event_set_wakes_all_although_cleared_at_once() {
    let manager = manager();
    let event = manager.event().unwrap();
    assert!(!event.is_set().unwrap() && !event.wait_timeout(MOMENT).unwrap());
    let waiting = manager.value(&0u32).unwrap();
    let (inside, counter) = (event.clone(), waiting.clone());
    let children = children(3, move || {
        let other = inside.clone();
        let other = spawn(move || other.wait().unwrap());
        yield_now();
        counter.update(|n| n + 1).unwrap();
        assert!(inside.wait_timeout(LONG).unwrap());
        other.join().unwrap();
    });
    wait_until(|| waiting.get().unwrap() == 3);
    sleep(MOMENT * 2);
    event.set().unwrap();
    event.clear().unwrap();
    joined(children);
    assert!(!event.is_set().unwrap());
    event.set().unwrap();
    event.wait().unwrap();
}

pub(crate) fn barrier_opens_for_all_and_forgets_who_gave_up() {
    let manager = manager();
    let (barrier, leaders) = (manager.barrier(3).unwrap(), manager.value(&0u32).unwrap());
    assert!(barrier.wait_timeout(MOMENT).unwrap().is_none());
    let inside = barrier.clone();
    let dies = child(move || drop(inside.wait()));
    sleep(MOMENT);
    kill(&dies);
    let (inside, counter) = (barrier.clone(), leaders.clone());
    let wait = move || {
        if inside.wait().unwrap() {
            counter.update(|n| n + 1).unwrap();
        }
    };
    for _ in 0..3 {
        let children = children(2, wait.clone());
        sleep(MOMENT);
        assert!(children.iter().all(greenline_process::Child::is_alive));
        wait();
        joined(children);
    }
    assert_eq!(leaders.get().unwrap(), 3);
}
