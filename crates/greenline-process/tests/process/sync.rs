//! Semaphores, locks, events, conditions and barriers between processes, also when their users are killed; patched and
//! unpatched.

use crate::support::kill_stress::{KillStress, makes_no_system_calls, shared_mappings};
use crate::support::proc_fs::open_eventfds;
use crate::support::subprocess::Case;
use greenline::{join_all, sleep, spawn, thread, timeout, yield_now};
use greenline_process::{
    Array, Barrier, BrokenBarrier, Child, Condition, Event, Lock, Process, Queue, Semaphore, Value,
};
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);

pub(crate) const ALONE: &[Case] = &[
    ("semaphore_bounds_the_holders", semaphore),
    ("permit_dropped_in_parent_and_child_is_given_back_once", permit_with_a_copy),
    ("semaphore_release_lets_waiters_go_on", semaphore_waits),
    ("lock_is_held_by_one_at_a_time", lock),
    ("lock_of_a_killed_holder_is_abandoned", abandoned),
    ("lock_of_a_living_holder_is_not_abandoned", not_abandoned),
    ("lock_is_taken_over_under_kill_stress", || kill_stress_of_a_lock(1_000)),
    ("event_set_wakes_all_and_stays_set", event),
    ("event_set_and_cleared_at_once_wakes_all", set_and_clear),
    ("condition_notify_wakes_that_many", condition),
    ("condition_notification_survives_a_killed_waiter", condition_killed),
    ("condition_wait_timeout_takes_no_notification", condition_timeout),
    ("barrier_passes_when_all_have_arrived", barrier),
    ("barrier_breaks_and_reset_repairs_it", barrier_breaks),
    ("barrier_breaks_when_a_waiter_is_killed", barrier_killed),
    ("waits_of_a_killed_green_thread_take_nothing", killed_green),
    ("waits_by_os_threads_green_threads_and_processes_mix", together),
    ("drop_leaves_no_descriptors_and_mappings", nothing_left),
    ("calls_without_waiters_make_no_system_call", no_system_calls),
];

fn child(f: impl FnOnce() + 'static) -> Child {
    Process::new(f).start().unwrap()
}

fn join(children: Vec<Child>) {
    children.iter().for_each(|child| assert_eq!(child.join().unwrap(), 0, "{child:?}"));
}

fn permit_with_a_copy() {
    let semaphore: &'static Semaphore = Box::leak(Box::new(Semaphore::new(1).unwrap()));
    let permit = semaphore.acquire();
    // The closure is dropped in both processes.
    child(move || drop(permit)).join().unwrap();
    assert_eq!(semaphore.available(), 1);
}

/// Waits until `holds`.
fn until(holds: impl Fn() -> bool) {
    while !holds() {
        sleep(Duration::from_millis(1));
    }
}

fn semaphore() {
    let (semaphore, inside) = (Semaphore::new(2).unwrap(), Value::new([0u32; 2]).unwrap());
    let children = (0..4)
        .map(|_| {
            let (semaphore, inside) = (semaphore.clone(), inside.clone());
            child(move || {
                for _ in 0..200 {
                    let permit = semaphore.acquire();
                    inside.update(|[now, most]| {
                        *now += 1;
                        *most = (*most).max(*now);
                    });
                    sleep(Duration::from_micros(50));
                    inside.update(|[now, _]| *now -= 1);
                    drop(permit);
                }
            })
        })
        .collect();
    join(children);
    assert_eq!((inside.get(), semaphore.available()), ([0, 2], 2));
}

fn semaphore_waits() {
    let semaphore = Semaphore::new(0).unwrap();
    assert!(semaphore.try_acquire().is_none());
    let start = Instant::now();
    assert!(semaphore.acquire_timeout(SOON).is_none());
    assert!(start.elapsed() >= SOON);
    let done = Value::new(0u32).unwrap();
    let children: Vec<_> = (0..3)
        .map(|_| {
            let (semaphore, done) = (semaphore.clone(), done.clone());
            child(move || {
                semaphore.acquire().forget();
                done.update(|done| *done += 1);
            })
        })
        .collect();
    for permits in 1..=3 {
        semaphore.release(1);
        until(|| done.get() == permits);
        assert_eq!(semaphore.available(), 0);
    }
    join(children);
    semaphore.release(usize::MAX);
    semaphore.release(1);
    assert_eq!(semaphore.available(), usize::MAX);
}

fn lock() {
    let (lock, count) = (Lock::new().unwrap(), Value::new(0u64).unwrap());
    let work = {
        let (lock, count) = (lock.clone(), count.clone());
        move || {
            for _ in 0..500 {
                let guard = lock.lock();
                assert!(!guard.was_abandoned());
                let seen = count.get();
                yield_now();
                count.set(seen + 1);
            }
        }
    };
    let mut children: Vec<_> = (0..2).map(|_| child(work.clone())).collect();
    let inside = work.clone();
    children.push(child(move || {
        join_all([spawn(inside.clone()), spawn(inside)]).into_iter().for_each(Result::unwrap);
    }));
    join(children);
    assert_eq!(count.get(), 2_000);
    assert!(!lock.is_locked());
}

fn abandoned() {
    let (lock, has_it) = (Lock::new().unwrap(), Event::new().unwrap());
    let holder = || {
        let (lock, has_it) = (lock.clone(), has_it.clone());
        has_it.clear();
        child(move || {
            let _guard = lock.lock();
            has_it.set();
            sleep(LONG);
        })
    };
    // The holder is killed while others wait.
    let first = holder();
    has_it.wait();
    assert!(lock.try_lock().is_none());
    let waiter = spawn({
        let lock = lock.clone();
        move || lock.lock().was_abandoned()
    });
    let process = Process::new({
        let lock = lock.clone();
        move || i32::from(lock.lock().was_abandoned())
    });
    let process = process.start().unwrap();
    sleep(SOON);
    assert!(!waiter.is_finished());
    first.kill().unwrap();
    // The holder was not reaped yet.
    let (by_green, by_process) = (waiter.join().unwrap(), process.join().unwrap());
    // One of the two has taken the lock first.
    assert_eq!(i32::from(by_green) + by_process, 1);
    first.join().unwrap();

    // The holder was killed and reaped before another tries.
    let second = holder();
    has_it.wait();
    second.kill().unwrap();
    second.join().unwrap();
    assert!(lock.is_locked());
    let guard = lock.try_lock().unwrap();
    assert!(guard.was_abandoned());
    drop(guard);
    let third = holder();
    has_it.wait();
    third.kill().unwrap();
    assert!(lock.lock_timeout(LONG).unwrap().was_abandoned());
    assert!(!lock.lock().was_abandoned());
}

fn not_abandoned() {
    let lock = Lock::new().unwrap();
    let guard = lock.lock();
    // A child that has a copy of the guard ends.
    let inside = lock.clone();
    let other = child(move || {
        assert!(inside.try_lock().is_none());
        assert!(inside.lock_timeout(SOON).is_none());
    });
    assert_eq!(other.join().unwrap(), 0);
    assert!(lock.is_locked());
    drop(guard);
    assert!(!lock.is_locked());
    let leaked: &'static Lock = Box::leak(Box::new(lock.clone()));
    let guard = leaked.lock();
    // SAFETY: the copy is dropped only in the child, where `guard` is never dropped.
    let copy = ManuallyDrop::new(unsafe { std::ptr::read(&guard) });
    assert_eq!(child(move || drop(ManuallyDrop::into_inner(copy))).join().unwrap(), 0);
    assert!(lock.is_locked());
    drop(guard);
    assert!(!lock.is_locked());
}

fn kill_stress_of_a_lock(kills: u32) {
    let (lock, pair) = (Lock::new().unwrap(), Array::new(&[0u64; 2]).unwrap());
    let inside = (lock.clone(), pair.clone());
    let mut stress = KillStress::new(3, move |_, _| {
        let (lock, pair) = &inside;
        loop {
            let guard = lock.lock();
            let (first, second) = (pair.get(0), pair.get(1));
            assert!(guard.was_abandoned() || first == second);
            pair.set(0, first.max(second) + 1);
            std::hint::spin_loop();
            pair.set(1, first.max(second) + 1);
        }
    });
    for _ in 0..kills {
        let before = pair.get(0);
        stress.kill_one();
        until(|| pair.get(0) > before);
    }
    (0..3).for_each(|place| stress.kill(place));
    let guard = lock.lock();
    assert!(guard.was_abandoned() || pair.get(0) == pair.get(1));
}

fn event() {
    let (event, woken) = (Event::new().unwrap(), Value::new(0u32).unwrap());
    assert!(!event.wait_timeout(SOON));
    assert!(!event.is_set());
    let waiter = || {
        let (event, woken) = (event.clone(), woken.clone());
        move || {
            event.wait();
            assert!(event.wait_timeout(Duration::ZERO));
            woken.update(|woken| *woken += 1);
        }
    };
    let children = (0..3).map(|_| child(waiter())).collect();
    let green = spawn(waiter());
    sleep(SOON);
    assert_eq!(woken.get(), 0);
    event.set();
    event.set();
    join(children);
    green.join().unwrap();
    assert_eq!(woken.get(), 4);
    event.wait();
    event.clear();
    assert!(!event.is_set() && !event.wait_timeout(Duration::ZERO));
}

fn set_and_clear() {
    let (event, begun) = (Event::new().unwrap(), Value::new(0u32).unwrap());
    let children: Vec<_> = (0..3)
        .map(|_| {
            let (event, begun) = (event.clone(), begun.clone());
            child(move || {
                let waiting = spawn(move || event.wait_timeout(LONG));
                yield_now();
                begun.update(|begun| *begun += 1);
                assert!(waiting.join().unwrap());
            })
        })
        .collect();
    until(|| begun.get() == 3);
    event.set();
    event.clear();
    join(children);
}

/// Processes that wait at a condition. Each counts up when it is woken, and ends.
struct Waiting {
    lock: Lock,
    condition: Condition,
    woken: Value<u32>,
    children: Vec<Child>,
}

impl Waiting {
    fn new(count: u32) -> Waiting {
        Waiting::at(Lock::new().unwrap(), Condition::new().unwrap(), count)
    }

    fn at(lock: Lock, condition: Condition, count: u32) -> Waiting {
        let (begun, woken) = (Value::new(0u32).unwrap(), Value::new(0u32).unwrap());
        let children = (0..count)
            .map(|_| {
                let (lock, condition) = (lock.clone(), condition.clone());
                let (begun, woken) = (begun.clone(), woken.clone());
                child(move || {
                    let guard = lock.lock();
                    begun.update(|begun| *begun += 1);
                    let _guard = condition.wait(guard);
                    woken.update(|woken| *woken += 1);
                })
            })
            .collect();
        until(|| begun.get() == count);
        // A process that has begun to wait has released the lock.
        drop(lock.lock());
        Waiting { lock, condition, woken, children }
    }

    /// Checks that one notification wakes one waiter, whatever has been before.
    fn check_one(lock: Lock, condition: Condition) {
        let waiting = Waiting::at(lock, condition, 2);
        waiting.condition.notify_one();
        until(|| waiting.woken.get() == 1);
        sleep(4 * SOON);
        assert_eq!(waiting.woken.get(), 1);
        waiting.condition.notify_one();
        assert_eq!(waiting.join(), 2);
    }

    fn join(self) -> u32 {
        join(self.children);
        self.woken.get()
    }
}

fn condition() {
    let waiting = Waiting::new(5);
    waiting.condition.notify_one();
    until(|| waiting.woken.get() == 1);
    waiting.condition.notify(2);
    until(|| waiting.woken.get() == 3);
    sleep(SOON);
    assert_eq!(waiting.woken.get(), 3);
    // A waiter that is woken takes the lock before it goes on.
    let guard = waiting.lock.lock();
    waiting.condition.notify_all();
    sleep(SOON);
    assert_eq!(waiting.woken.get(), 3);
    drop(guard);
    let (lock, condition) = (waiting.lock.clone(), waiting.condition.clone());
    assert_eq!(waiting.join(), 5);
    Waiting::check_one(lock, condition);
    // A notification without waiters is lost.
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    condition.notify_all();
    assert!(!condition.wait_timeout(lock.lock(), SOON).1);
}

fn condition_killed() {
    for notified_first in [false, true] {
        let mut waiting = Waiting::new(2);
        let killed = waiting.children.remove(0);
        if notified_first {
            // A stopped process cannot take its notification.
            killed.signal(libc::SIGSTOP).unwrap();
            waiting.children[0].signal(libc::SIGSTOP).unwrap();
            waiting.condition.notify_one();
        }
        killed.kill().unwrap();
        killed.join().unwrap();
        if !notified_first {
            waiting.condition.notify_one();
        }
        waiting.children[0].signal(libc::SIGCONT).unwrap();
        assert_eq!(waiting.join(), 1);
    }
}

fn condition_timeout() {
    let waiting = Waiting::new(1);
    let (guard, notified) = waiting.condition.wait_timeout(waiting.lock.lock(), SOON);
    assert!(!notified && waiting.lock.is_locked());
    drop(guard);
    let killed = spawn({
        let (lock, condition) = (waiting.lock.clone(), waiting.condition.clone());
        move || drop(condition.wait(lock.lock()))
    });
    yield_now();
    killed.kill();
    assert!(killed.join().is_err());
    waiting.condition.notify_one();
    let (lock, condition) = (waiting.lock.clone(), waiting.condition.clone());
    assert_eq!(waiting.join(), 1);
    let mut times = 0;
    let (guard, holds) = condition.wait_for_timeout(lock.lock(), SOON, || {
        times += 1;
        false
    });
    assert!(!holds && times == 2);
    drop(guard);
    assert!(condition.wait_for_timeout(lock.lock(), SOON, || true).1);
    condition.notify_one();
    Waiting::check_one(lock, condition);
}

fn barrier() {
    const ROUNDS: usize = 200;
    let (barrier, results) = (Barrier::new(3).unwrap(), Queue::new().unwrap());
    let children = (0..3)
        .map(|_| {
            let (barrier, results) = (barrier.clone(), results.clone());
            child(move || {
                for round in 0..ROUNDS {
                    results.put((round, None)).unwrap();
                    let arrival = barrier.wait().unwrap();
                    results.put((round, Some((arrival.index(), arrival.is_leader())))).unwrap();
                }
            })
        })
        .collect();
    join(children);
    results.close();
    let all: Vec<(usize, Option<(usize, bool)>)> = results.iter().map(Result::unwrap).collect();
    for round in 0..ROUNDS {
        let of_round: Vec<_> = all.iter().filter(|(of, _)| *of == round).map(|(_, what)| *what).collect();
        // All have arrived before one has passed.
        assert_eq!(&of_round[..3], &[None; 3]);
        let mut passed: Vec<_> = of_round[3..].iter().flatten().copied().collect();
        passed.sort();
        assert_eq!(passed, [(0, false), (1, false), (2, true)]);
    }
}

fn barrier_breaks() {
    let barrier = Barrier::new(2).unwrap();
    assert_eq!((barrier.parties(), barrier.waiting()), (2, 0));
    let waiter = || {
        let (barrier, inside) = (barrier.clone(), barrier.clone());
        let child = child(move || assert_eq!(inside.wait(), Err(BrokenBarrier)));
        until(|| barrier.waiting() == 1);
        child
    };
    for break_it in [
        // It is broken by `abort`.
        (|barrier| barrier.abort()) as fn(&Barrier),
        // It is broken by a timeout.
        |barrier| {
            let three = Barrier::new(3).unwrap();
            assert_eq!(three.wait_timeout(SOON), Err(BrokenBarrier));
            assert!(three.is_broken());
            barrier.abort();
        },
        // It is broken by a killed green thread.
        |barrier| {
            let three = Barrier::new(3).unwrap();
            assert!(timeout(SOON, || three.wait()).is_err());
            assert!(three.is_broken());
            barrier.abort();
        },
    ] {
        let waiting = waiter();
        break_it(&barrier);
        assert_eq!(waiting.join().unwrap(), 0);
        assert!(barrier.is_broken());
        assert_eq!(barrier.wait(), Err(BrokenBarrier));
        barrier.reset();
        assert!(!barrier.is_broken());
    }
    let waiting = waiter();
    barrier.reset();
    assert_eq!(waiting.join().unwrap(), 0);
    let inside = barrier.clone();
    let other = child(move || {
        inside.wait().unwrap();
    });
    barrier.wait().unwrap();
    assert_eq!(other.join().unwrap(), 0);
}

fn barrier_killed() {
    // The first waiter is killed, the second, and both at once.
    for killed in [&[0][..], &[1], &[0, 1]] {
        let barrier = Barrier::new(3).unwrap();
        let children: Vec<_> = (0..2)
            .map(|number| {
                let inside = barrier.clone();
                let child = child(move || assert_eq!(inside.wait(), Err(BrokenBarrier)));
                until(|| barrier.waiting() == number + 1);
                child
            })
            .collect();
        for &number in killed {
            children[number].kill().unwrap();
            children[number].join().unwrap();
        }
        // If the last waiter lives, it sees the death of the one before.
        until(|| killed.contains(&1) || barrier.is_broken());
        assert_eq!(barrier.wait(), Err(BrokenBarrier));
        assert!(barrier.is_broken());
        for (number, child) in children.iter().enumerate() {
            let code = child.join().unwrap();
            // The second may have seen the end of the first, and returned, before it was killed.
            let was_faster = killed == [0, 1] && number == 1 && code == 0;
            assert!(was_faster || code == if killed.contains(&number) { -9 } else { 0 }, "{number}: {code}");
        }
    }
}

fn killed_green() {
    let (semaphore, lock, event) = (Semaphore::new(0).unwrap(), Lock::new().unwrap(), Event::new().unwrap());
    assert!(timeout(SOON, || semaphore.acquire().forget()).is_err());
    semaphore.release(1);
    assert_eq!(semaphore.available(), 1);
    let guard = lock.lock();
    assert!(timeout(SOON, || lock.lock().was_abandoned()).is_err());
    let waiter = spawn({
        let lock = lock.clone();
        move || drop(lock.lock())
    });
    yield_now();
    waiter.kill();
    assert!(waiter.join().is_err());
    drop(guard);
    assert!(!lock.is_locked());
    assert!(timeout(SOON, || event.wait()).is_err());
}

fn together() {
    const EACH: u32 = 300;
    let (lock, count) = (Lock::new().unwrap(), Value::new(0u32).unwrap());
    let work = {
        let (lock, count) = (lock.clone(), count.clone());
        move || {
            for _ in 0..EACH {
                let _guard = lock.lock();
                let seen = count.get();
                std::thread::yield_now();
                count.set(seen + 1);
            }
        }
    };
    let children: Vec<_> = (0..2).map(|_| child(work.clone())).collect();
    let threads: Vec<_> = (0..2).map(|_| thread::Thread::new(work.clone()).start().unwrap()).collect();
    join_all((0..2).map(|_| spawn(work.clone()))).into_iter().for_each(Result::unwrap);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    join(children);
    assert_eq!(count.get(), 6 * EACH);
}

fn nothing_left() {
    let lock = Lock::new().unwrap();
    let guard = lock.lock();
    // The hub opens its own descriptors when it first waits.
    assert!(lock.lock_timeout(Duration::ZERO).is_none());
    let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = (open_eventfds(), shared_mappings(), fds());
    for _ in 0..20 {
        let (semaphore, event, barrier) =
            (Semaphore::new(1).unwrap(), Event::new().unwrap(), Barrier::new(2).unwrap());
        assert!(!event.wait_timeout(Duration::from_millis(1)));
        let inside = (lock.clone(), barrier.clone());
        let other = child(move || {
            let (lock, barrier) = inside;
            assert!(lock.lock_timeout(Duration::from_millis(1)).is_none());
            barrier.wait().unwrap();
        });
        semaphore.acquire().forget();
        barrier.wait().unwrap();
        assert_eq!(other.join().unwrap(), 0);
    }
    assert_eq!(before, (open_eventfds(), shared_mappings(), fds()));
    drop(guard);
}

fn no_system_calls() {
    let (semaphore, lock, event) = (Semaphore::new(3).unwrap(), Lock::new().unwrap(), Event::new().unwrap());
    let (condition, value) = (Condition::new().unwrap(), Value::new(1u64).unwrap());
    assert!(makes_no_system_calls(|| {
        for _ in 0..100 {
            drop(semaphore.acquire());
            drop(lock.lock());
            event.set();
            event.wait();
            event.clear();
            condition.notify_all();
            value.update(|value| *value += 1);
        }
    }));
}
