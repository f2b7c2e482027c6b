//! Managers: what each object promises to several processes, and what becomes of them when somebody dies.
//!
//! The tests fork, so they run one after another, on the main thread of a process without another OS thread.

use greenline::net::{TcpListener, TcpStream, UnixStream};
use greenline::process::manager::{Dict, GetError, List, Proxy, PutError, Queue, Value};
use greenline::process::manager::{Manager, ManagerError, RemoteManager};
use greenline::process::{Child, Process};
use greenline::thread::Thread;
use greenline::{join_all, kill_all, sleep, spawn, timeout, yield_now};
use libtest_mimic::{Arguments, Trial};
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// So long nothing takes that does not hang.
const LONG: Duration = Duration::from_secs(40);
/// To wait for what is not to come.
const MOMENT: Duration = Duration::from_millis(50);

macro_rules! trials {
    ($($name:ident),* $(,)?) => { vec![$(Trial::test(stringify!($name), || run($name))),*] };
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = trials![
        a_queue_keeps_the_order_and_says_truly_what_it_has,
        a_full_queue_makes_who_puts_wait,
        a_closed_queue_ends_those_who_wait_and_those_who_get,
        a_queue_is_joined_when_all_is_done,
        many_processes_and_green_threads_share_a_queue,
        who_waits_holds_up_no_other_green_thread,
        a_get_that_is_killed_or_timed_out_takes_no_message,
        who_gives_up_is_gone_even_if_a_child_has_a_copy_of_the_connection,
        a_message_on_its_way_to_a_process_that_dies_goes_to_the_next,
        a_lock_lets_in_one_at_a_time,
        who_waits_longer_is_served_before_who_comes,
        a_lock_whose_holder_dies_goes_to_the_next_who_can_tell,
        a_permit_on_its_way_to_a_process_that_dies_goes_to_the_next,
        a_lock_whose_holder_dies_is_free_even_if_a_child_of_it_lives,
        a_guard_in_a_forked_child_unlocks_nothing,
        a_semaphore_counts,
        an_event_wakes_all_even_if_it_is_cleared_at_once,
        a_barrier_opens_for_all_and_forgets_who_gave_up,
        a_dictionary_is_one_for_all,
        a_list_is_one_for_all,
        updates_lose_nothing,
        a_proxy_can_be_used_on_any_os_thread,
        a_thousand_may_wait_at_once,
        a_proxy_can_be_sent_to_who_was_forked_before_the_manager,
        a_value_of_another_type_is_an_error,
        what_was_discarded_is_gone_also_for_who_waits,
        after_shutdown_every_call_names_the_manager_that_is_gone,
        a_server_that_is_killed_lets_nobody_wait,
        ctrl_c_does_not_end_the_server,
        a_copy_of_the_manager_in_a_child_ends_nothing,
        the_server_ends_with_who_has_started_it,
        a_server_does_not_keep_what_the_program_closes,
        nothing_is_left_behind,
        published_objects_are_found_over_tcp,
        who_has_the_wrong_key_is_refused,
        another_user_is_not_served,
        garbage_and_silence_at_the_door_do_no_harm,
        a_false_manager_is_refused,
        all_goes_on_when_patched,
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test, ended if it hangs: by greenline where it can, or else by the kernel.
fn run(test: fn()) -> Result<(), libtest_mimic::Failed> {
    set_alarm();
    let ended = std::panic::catch_unwind(|| timeout(LONG, test));
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(elapsed)) => Err(format!("{elapsed}").into()),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            Err(text
                .or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string()))
                .unwrap_or_default()
                .into())
        }
    }
}

fn manager() -> Manager {
    Manager::start().unwrap()
}

/// A child that has to end well, and in any case ends, be the test over or not.
fn child(f: impl FnOnce() + 'static) -> Child {
    let limited = move || {
        set_alarm();
        f();
    };
    Process::new(limited).start().unwrap()
}

/// Has the kernel end this process when all hope is gone.
fn set_alarm() {
    // SAFETY: no preconditions.
    unsafe { libc::alarm(2 * LONG.as_secs() as u32) };
}

fn joined(children: impl IntoIterator<Item = Child>) {
    for child in children {
        assert_eq!(child.join().unwrap(), 0, "{child:?}");
    }
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG / 2;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(2));
    }
}

/// Two ends of a connection, for parent and child.
fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

/// Waits until the other end has said something.
fn hear(mut from: &UnixStream) -> u8 {
    let mut byte = [0];
    from.read_exact(&mut byte).unwrap();
    byte[0]
}

fn say(mut to: &UnixStream, byte: u8) {
    to.write_all(&[byte]).unwrap();
}

/// Waits until a child cannot run on its own any more.
fn stop(child: &Child) {
    child.signal(libc::SIGSTOP).unwrap();
    is_stopped(child.pid());
}

fn is_stopped(pid: u32) {
    let stat = format!("/proc/{pid}/stat");
    eventually("a process stops", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
}

fn is_gone<T: std::fmt::Debug>(result: Result<T, ManagerError>) {
    match result {
        Err(error @ ManagerError::Gone { .. }) => {
            let said = error.to_string();
            assert!(
                said.contains("the manager at @greenline/manager/") && said.contains("is gone: "),
                "{said}"
            );
        }
        other => panic!("{other:?}"),
    }
}

fn a_queue_keeps_the_order_and_says_truly_what_it_has() {
    let manager = manager();
    let queue = manager.queue::<String>(0).unwrap();
    assert!(queue.is_empty().unwrap());
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    for n in 0..5 {
        queue.put(n.to_string()).unwrap();
        assert_eq!(queue.len().unwrap(), n + 1);
    }
    for n in 0..5 {
        assert_eq!(queue.get().unwrap(), n.to_string());
    }
    assert!(queue.is_empty().unwrap());
    let before = Instant::now();
    assert!(matches!(queue.get_timeout(MOMENT), Err(GetError::Empty)));
    assert!(before.elapsed() >= MOMENT);
}

fn a_full_queue_makes_who_puts_wait() {
    let manager = manager();
    let queue = manager.queue::<u32>(2).unwrap();
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    assert!(matches!(queue.try_put(3), Err(PutError::Full(3))));
    assert!(matches!(queue.put_timeout(4, MOMENT), Err(PutError::Full(4))));
    let late = queue.clone();
    let putter = child(move || late.put(5).unwrap());
    let here = queue.clone();
    let other = spawn(move || here.put_timeout(6, LONG).unwrap());
    sleep(MOMENT);
    assert_eq!(queue.len().unwrap(), 2);
    let mut got: Vec<u32> = (0..4).map(|_| queue.get().unwrap()).collect();
    assert_eq!(got[..2], [1, 2]);
    got.sort_unstable();
    assert_eq!(got, [1, 2, 5, 6]);
    joined([putter]);
    other.join().unwrap();
}

fn a_closed_queue_ends_those_who_wait_and_those_who_get() {
    let manager = manager();
    let queue = manager.queue::<u32>(1).unwrap();
    let getters: Vec<Child> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            child(move || assert!(matches!(queue.get(), Err(GetError::Closed))))
        })
        .collect();
    let empty = manager.queue::<u32>(0).unwrap();
    sleep(MOMENT);
    queue.close().unwrap();
    joined(getters);
    assert!(queue.is_closed().unwrap() && !empty.is_closed().unwrap());
    assert!(matches!(queue.put(7), Err(PutError::Closed(7))));

    empty.put(1).unwrap();
    empty.put(2).unwrap();
    empty.close().unwrap();
    assert_eq!(empty.iter().collect::<Vec<_>>(), [1, 2]);
    assert!(matches!(empty.get(), Err(GetError::Closed)));
}

fn a_queue_is_joined_when_all_is_done() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    queue.join().unwrap();
    (0..4).for_each(|n| queue.put(n).unwrap());
    assert!(!queue.join_timeout(MOMENT).unwrap());
    let (inside, done) = (queue.clone(), manager.value(&0u32).unwrap());
    let counting = done.clone();
    let worker = child(move || {
        for _ in 0..4 {
            inside.get().unwrap();
            sleep(MOMENT / 10);
            counting.update(|n| n + 1).unwrap();
            assert!(inside.task_done().unwrap());
        }
    });
    queue.join().unwrap();
    assert_eq!(done.get().unwrap(), 4);
    assert!(!queue.task_done().unwrap());
    joined([worker]);
}

fn many_processes_and_green_threads_share_a_queue() {
    const EACH: u64 = 25;
    let manager = manager();
    let (work, done) = (manager.queue::<u64>(10).unwrap(), manager.queue::<u64>(0).unwrap());
    let putters: Vec<Child> = (0..3u64)
        .map(|process| {
            let work = work.clone();
            child(move || {
                let threads = (0..4u64).map(|thread| {
                    let work = work.clone();
                    spawn(move || {
                        (0..EACH).for_each(|n| work.put((process * 4 + thread) * EACH + n).unwrap())
                    })
                });
                join_all(threads.collect::<Vec<_>>()).into_iter().for_each(|ended| ended.unwrap());
            })
        })
        .collect();
    let getters: Vec<Child> = (0..2)
        .map(|_| {
            let (work, done) = (work.clone(), done.clone());
            child(move || {
                let threads = (0..3).map(|_| {
                    let (work, done) = (work.clone(), done.clone());
                    spawn(move || work.iter().for_each(|n| done.put(n).unwrap()))
                });
                join_all(threads.collect::<Vec<_>>()).into_iter().for_each(|ended| ended.unwrap());
            })
        })
        .collect();
    joined(putters);
    work.close().unwrap();
    joined(getters);
    done.close().unwrap();
    let mut all: Vec<u64> = done.iter().collect();
    all.sort_unstable();
    assert_eq!(all, (0..12 * EACH).collect::<Vec<_>>());
}

fn who_waits_holds_up_no_other_green_thread() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let (event, inside) = (manager.event().unwrap(), queue.clone());
    let waits = spawn(move || inside.get().unwrap());
    let ticks = Rc::new(Cell::new(0));
    let ticking = ticks.clone();
    let ticker = spawn(move || {
        loop {
            ticking.set(ticking.get() + 1);
            yield_now();
        }
    });
    for _ in 0..20 {
        event.set().unwrap();
        assert!(event.is_set().unwrap());
    }
    assert!(ticks.get() >= 20 && !waits.is_finished());
    queue.put(9).unwrap();
    assert_eq!(waits.join().unwrap(), 9);
    ticker.kill();
}

fn a_get_that_is_killed_or_timed_out_takes_no_message() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    for round in 0..20 {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                spawn(move || queue.get().unwrap())
            })
            .collect();
        assert!(timeout(Duration::from_millis(3), || queue.get()).is_err());
        // In every other round they are killed in the moment in which there is something for them.
        let putter = queue.clone();
        let put = move || putter.put(round).unwrap();
        let ended = if round % 2 == 0 {
            let putter = spawn(put);
            yield_now();
            let ended = kill_all(threads);
            putter.join().unwrap();
            ended
        } else {
            let ended = kill_all(threads);
            put();
            ended
        };
        let mut got: Vec<u32> = ended.into_iter().filter_map(Result::ok).collect();
        if got.is_empty() {
            // Nobody was faster than the kill.
            got.push(queue.get_timeout(LONG / 2).unwrap());
        }
        assert_eq!(got, [round]);
    }
    assert!(queue.is_empty().unwrap());
}

fn who_gives_up_is_gone_even_if_a_child_has_a_copy_of_the_connection() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let inside = queue.clone();
    let waits = spawn(move || drop(inside.get()));
    sleep(MOMENT);
    let (end, until) = pair();
    let copies = child(move || drop((&until).read(&mut [0])));
    kill_all([waits]);
    queue.put(1).unwrap();
    assert_eq!(queue.get_timeout(LONG / 2).unwrap(), 1);
    say(&end, 1);
    joined([copies]);
}

fn a_message_on_its_way_to_a_process_that_dies_goes_to_the_next() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let (here, there) = pair();
    let inside = queue.clone();
    let getter = child(move || {
        assert!(inside.is_empty().unwrap());
        let get = spawn(move || inside.get().unwrap());
        yield_now();
        say(&there, 1);
        drop(get.join());
    });
    hear(&here);
    sleep(MOMENT);
    stop(&getter);
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    // The first has gone out to who cannot say that he has it.
    assert_eq!(queue.len().unwrap(), 1);
    getter.kill().unwrap();
    assert_eq!(getter.join().unwrap(), -libc::SIGKILL);
    eventually("the message is back", || queue.len().unwrap() == 2);
    assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (1, 2));
}

fn a_lock_lets_in_one_at_a_time() {
    let manager = manager();
    let (lock, count) = (manager.lock().unwrap(), manager.value(&0u32).unwrap());
    let children: Vec<Child> = (0..3)
        .map(|_| {
            let (lock, count) = (lock.clone(), count.clone());
            child(move || {
                let threads = (0..3).map(|_| {
                    let (lock, count) = (lock.clone(), count.clone());
                    spawn(move || {
                        for _ in 0..10 {
                            let guard = lock.lock().unwrap();
                            assert!(!guard.was_abandoned());
                            let seen = count.get().unwrap();
                            yield_now();
                            count.set(&(seen + 1)).unwrap();
                        }
                    })
                });
                join_all(threads.collect::<Vec<_>>()).into_iter().for_each(|ended| ended.unwrap());
            })
        })
        .collect();
    joined(children);
    assert_eq!(count.get().unwrap(), 90);
    let guard = lock.try_lock().unwrap().unwrap();
    assert!(lock.try_lock().unwrap().is_none());
    assert!(lock.lock_timeout(MOMENT).unwrap().is_none());
    drop(guard);
    assert!(lock.try_lock().unwrap().is_some());
}

fn who_waits_longer_is_served_before_who_comes() {
    let manager = manager();
    let (lock, order) = (manager.lock().unwrap(), manager.list::<u32>().unwrap());
    let guard = lock.lock().unwrap();
    let mut threads = Vec::new();
    for n in 0..4 {
        let (inside, order) = (lock.clone(), order.clone());
        threads.push(spawn(move || {
            let _guard = inside.lock().unwrap();
            order.push(&n).unwrap();
        }));
        // Its call has come to the server when so many others have been answered there.
        (0..30).for_each(|_| assert!(lock.try_lock().unwrap().is_none()));
    }
    // The server finds both at once: that the lock is free, and somebody new who wants it.
    let server = |signal| {
        // SAFETY: no pointers; a child of ours.
        assert_eq!(unsafe { libc::kill(manager.pid() as i32, signal) }, 0);
    };
    server(libc::SIGSTOP);
    is_stopped(manager.pid());
    threads.push(spawn(move || drop(guard)));
    let (inside, last) = (lock.clone(), order.clone());
    threads.push(spawn(move || {
        let _guard = inside.lock().unwrap();
        last.push(&4).unwrap();
    }));
    (0..10).for_each(|_| yield_now());
    server(libc::SIGCONT);
    join_all(threads).into_iter().for_each(|ended| ended.unwrap());
    assert_eq!(order.snapshot().unwrap(), [0, 1, 2, 3, 4]);
}

fn a_lock_whose_holder_dies_goes_to_the_next_who_can_tell() {
    let manager = manager();
    let lock = manager.lock().unwrap();
    let (here, there) = pair();
    let inside = lock.clone();
    let holder = child(move || {
        let _guard = inside.lock().unwrap();
        say(&there, 1);
        sleep(LONG);
    });
    hear(&here);
    let next = lock.clone();
    let next = spawn(move || next.lock().unwrap().was_abandoned());
    assert!(lock.lock_timeout(MOMENT).unwrap().is_none());
    holder.kill().unwrap();
    holder.join().unwrap();
    assert!(next.join().unwrap());
    assert!(!lock.lock().unwrap().was_abandoned());
    // Neither has one that died in the line had it, nor one whose wait was over.
    let guard = lock.lock().unwrap();
    let inside = lock.clone();
    let waits = child(move || drop(inside.lock()));
    sleep(MOMENT);
    waits.kill().unwrap();
    waits.join().unwrap();
    drop(guard);
    assert!(!lock.lock().unwrap().was_abandoned());
}

fn a_permit_on_its_way_to_a_process_that_dies_goes_to_the_next() {
    let manager = manager();
    let semaphore = manager.semaphore(1).unwrap();
    let permit = semaphore.acquire().unwrap();
    let (here, there) = pair();
    let inside = semaphore.clone();
    let waits = child(move || {
        let waits = spawn(move || drop(inside.acquire()));
        yield_now();
        say(&there, 1);
        drop(waits.join());
    });
    hear(&here);
    sleep(MOMENT * 2);
    stop(&waits);
    drop(permit);
    // It is the stopped one's, who cannot say that he has it.
    eventually("it was given away", || semaphore.available().unwrap() == 0);
    waits.kill().unwrap();
    waits.join().unwrap();
    assert!(semaphore.acquire_timeout(LONG / 2).unwrap().is_some());
}

fn a_lock_whose_holder_dies_is_free_even_if_a_child_of_it_lives() {
    let manager = manager();
    let lock = manager.lock().unwrap();
    let (here, there) = pair();
    let (end, until) = pair();
    let inside = lock.clone();
    let holder = child(move || {
        let _guard = inside.lock().unwrap();
        // It has a copy of the connection.
        let _grandchild = child(move || drop((&until).read(&mut [0])));
        say(&there, 1);
        sleep(LONG);
    });
    hear(&here);
    holder.kill().unwrap();
    holder.join().unwrap();
    assert!(lock.lock_timeout(LONG / 2).unwrap().expect("the lock is free").was_abandoned());
    say(&end, 1);
}

fn a_guard_in_a_forked_child_unlocks_nothing() {
    let manager = manager();
    let (lock, semaphore) = (manager.lock().unwrap(), manager.semaphore(1).unwrap());
    let (guard, permit) = (lock.lock().unwrap(), semaphore.acquire().unwrap());
    let copies = Rc::new(Cell::new(Some((guard, permit))));
    let inside = copies.clone();
    // A closure's copy is dropped in the child.
    joined([child(move || drop(inside.take()))]);
    assert!(lock.try_lock().unwrap().is_none());
    assert_eq!(semaphore.available().unwrap(), 0);
    drop(copies.take());
    assert!(!lock.try_lock().unwrap().unwrap().was_abandoned());
    assert_eq!(semaphore.available().unwrap(), 1);
}

fn a_semaphore_counts() {
    let manager = manager();
    let semaphore = manager.semaphore(2).unwrap();
    let one = semaphore.acquire().unwrap();
    let (here, there) = pair();
    let inside = semaphore.clone();
    let other = child(move || {
        let _permit = inside.acquire().unwrap();
        say(&there, 1);
        sleep(LONG);
    });
    hear(&here);
    assert_eq!(semaphore.available().unwrap(), 0);
    assert!(semaphore.try_acquire().unwrap().is_none());
    assert!(semaphore.acquire_timeout(MOMENT).unwrap().is_none());
    drop(one);
    let one = semaphore.acquire_timeout(LONG).unwrap().unwrap();
    other.kill().unwrap();
    other.join().unwrap();
    let other = semaphore.acquire().unwrap();
    drop((one, other));
    assert_eq!(semaphore.available().unwrap(), 2);
}

fn an_event_wakes_all_even_if_it_is_cleared_at_once() {
    let manager = manager();
    let event = manager.event().unwrap();
    assert!(!event.is_set().unwrap() && !event.wait_timeout(MOMENT).unwrap());
    let waiting = manager.value(&0u32).unwrap();
    let children: Vec<Child> = (0..3)
        .map(|_| {
            let (event, waiting) = (event.clone(), waiting.clone());
            child(move || {
                let other = event.clone();
                let other = spawn(move || other.wait().unwrap());
                yield_now();
                waiting.update(|n| n + 1).unwrap();
                assert!(event.wait_timeout(LONG).unwrap());
                other.join().unwrap();
            })
        })
        .collect();
    eventually("all wait", || waiting.get().unwrap() == 3);
    sleep(MOMENT * 2);
    event.set().unwrap();
    event.clear().unwrap();
    joined(children);
    assert!(!event.is_set().unwrap());
    event.set().unwrap();
    event.wait().unwrap();
}

fn a_barrier_opens_for_all_and_forgets_who_gave_up() {
    let manager = manager();
    let (barrier, leaders) = (manager.barrier(3).unwrap(), manager.value(&0u32).unwrap());
    assert!(barrier.wait_timeout(MOMENT).unwrap().is_none());
    let inside = barrier.clone();
    let dies = child(move || drop(inside.wait()));
    sleep(MOMENT);
    dies.kill().unwrap();
    dies.join().unwrap();
    for _ in 0..3 {
        let children: Vec<Child> = (0..2)
            .map(|_| {
                let (barrier, leaders) = (barrier.clone(), leaders.clone());
                child(move || {
                    if barrier.wait().unwrap() {
                        leaders.update(|n| n + 1).unwrap();
                    }
                })
            })
            .collect();
        sleep(MOMENT);
        assert!(children.iter().all(Child::is_alive));
        if barrier.wait().unwrap() {
            leaders.update(|n| n + 1).unwrap();
        }
        joined(children);
    }
    assert_eq!(leaders.get().unwrap(), 3);
}

fn a_dictionary_is_one_for_all() {
    let manager = manager();
    let dict: Dict<String, Vec<u32>> = manager.dict().unwrap();
    let key = |key: &str| key.to_string();
    assert_eq!(dict.insert(&key("a"), &vec![1]).unwrap(), None);
    assert_eq!(dict.insert(&key("a"), &vec![1, 2]).unwrap(), Some(vec![1]));
    let inside = dict.clone();
    joined([child(move || {
        assert_eq!(inside.get(&"a".into()).unwrap(), Some(vec![1, 2]));
        inside.insert(&"b".into(), &vec![3]).unwrap();
    })]);
    assert!(dict.contains_key(&key("b")).unwrap() && !dict.contains_key(&key("c")).unwrap());
    assert_eq!((dict.len().unwrap(), dict.is_empty().unwrap()), (2, false));
    assert_eq!(dict.keys().unwrap(), ["a", "b"]);
    assert_eq!(dict.values().unwrap(), [vec![1, 2], vec![3]]);
    assert_eq!(dict.items().unwrap(), [(key("a"), vec![1, 2]), (key("b"), vec![3])]);
    assert_eq!(dict.get(&key("c")).unwrap(), None);
    assert_eq!(dict.remove(&key("b")).unwrap(), Some(vec![3]));
    assert_eq!(dict.remove(&key("b")).unwrap(), None);
    assert_eq!(dict.update(&key("a"), |_| None).unwrap(), None);
    assert!(dict.is_empty().unwrap());
    dict.insert(&key("a"), &vec![]).unwrap();
    dict.clear().unwrap();
    assert!(dict.is_empty().unwrap());
}

fn a_list_is_one_for_all() {
    let manager = manager();
    let list: List<String> = manager.list().unwrap();
    let text = |text: &str| text.to_string();
    assert_eq!(list.pop().unwrap(), None);
    list.push(&text("a")).unwrap();
    let inside = list.clone();
    joined([child(move || inside.extend(&["b".to_string(), "c".into()]).unwrap())]);
    assert_eq!(list.snapshot().unwrap(), ["a", "b", "c"]);
    assert_eq!(list.set(1, &text("B")).unwrap(), Some(text("b")));
    assert_eq!(list.set(3, &text("D")).unwrap(), None);
    assert_eq!((list.get(1).unwrap(), list.get(3).unwrap()), (Some(text("B")), None));
    assert!(list.insert(0, &text("-")).unwrap() && list.insert(4, &text("z")).unwrap());
    assert!(!list.insert(6, &text("?")).unwrap());
    assert_eq!(list.snapshot().unwrap(), ["-", "a", "B", "c", "z"]);
    assert_eq!((list.remove(0).unwrap(), list.remove(9).unwrap()), (Some(text("-")), None));
    assert_eq!(list.pop().unwrap(), Some(text("z")));
    assert_eq!(list.len().unwrap(), 3);
    list.clear().unwrap();
    assert!(list.is_empty().unwrap());
}

fn updates_lose_nothing() {
    let manager = manager();
    let count: Value<u64> = manager.value(&0).unwrap();
    let words: Dict<String, u32> = manager.dict().unwrap();
    let children: Vec<Child> = (0..3)
        .map(|_| {
            let (count, words) = (count.clone(), words.clone());
            child(move || {
                let threads = (0..3).map(|_| {
                    let (count, words) = (count.clone(), words.clone());
                    spawn(move || {
                        for _ in 0..10 {
                            count.update(|n| n + 1).unwrap();
                            words.update(&"word".into(), |n| Some(n.unwrap_or(0) + 1)).unwrap();
                        }
                    })
                });
                join_all(threads.collect::<Vec<_>>()).into_iter().for_each(|ended| ended.unwrap());
            })
        })
        .collect();
    joined(children);
    assert_eq!(count.get().unwrap(), 90);
    assert_eq!(words.get(&"word".into()).unwrap(), Some(90));
    assert_eq!(count.replace(&7).unwrap(), 90);
}

fn a_proxy_can_be_used_on_any_os_thread() {
    fn shared<T: Send + Sync>(value: T) -> T {
        value
    }
    let manager = shared(manager());
    let (there, back) = (manager.queue::<u32>(0).unwrap(), manager.queue::<u32>(0).unwrap());
    for _ in 0..5 {
        let (inside, answer) = (there.clone(), back.clone());
        let thread = Thread::new(move || {
            let own = spawn(move || inside.get().unwrap());
            answer.put(own.join().unwrap() + 1).unwrap();
        });
        let thread = thread.start().unwrap();
        there.put(41).unwrap();
        assert_eq!(back.get().unwrap(), 42);
        thread.join().unwrap();
    }
}

/// Answers the limit that was before.
fn limit_descriptors(to: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a value of this frame, written and read.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        let before = limit.rlim_cur;
        limit.rlim_cur = to;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        before
    }
}

fn a_thousand_may_wait_at_once() {
    const MANY: u32 = 1000;
    // The server needs a descriptor for each, and helps itself; here there are fewer.
    let before = limit_descriptors(500);
    let manager = manager();
    limit_descriptors(before);
    let queue = manager.queue::<u32>(0).unwrap();
    let children: Vec<Child> = (0..4)
        .map(|_| {
            let queue = queue.clone();
            child(move || {
                let threads = (0..MANY / 4).map(|_| {
                    let queue = queue.clone();
                    spawn(move || queue.get_timeout(LONG).unwrap())
                });
                let threads: Vec<_> = threads.collect();
                assert_eq!(join_all(threads).into_iter().filter(Result::is_ok).count() as u32, MANY / 4);
            })
        })
        .collect();
    let server = manager.pid().to_string();
    eventually("all wait", || fds(&server) > MANY as usize);
    (0..MANY).for_each(|n| queue.put(n).unwrap());
    joined(children);
    assert!(queue.is_empty().unwrap());
}

fn a_proxy_can_be_sent_to_who_was_forked_before_the_manager() {
    let (here, there) = pair();
    let older = child(move || {
        let mut packed = vec![0; usize::from(hear(&there))];
        (&there).read_exact(&mut packed).unwrap();
        let queue: Queue<Queue<String>> = postcard::from_bytes(&packed).unwrap();
        queue.get().unwrap().put("hello".into()).unwrap();
        // Another kind of object does not pass for it.
        let error = postcard::from_bytes::<List<String>>(&packed).unwrap_err();
        assert!(matches!(error, postcard::Error::SerdeDeCustom), "{error}");
    });
    let manager = manager();
    let queues = manager.queue::<Queue<String>>(0).unwrap();
    let packed = postcard::to_allocvec(&queues).unwrap();
    say(&here, u8::try_from(packed.len()).unwrap());
    (&here).write_all(&packed).unwrap();
    let inner = manager.queue(0).unwrap();
    queues.put(inner.clone()).unwrap();
    assert_eq!(inner.get().unwrap(), "hello");
    joined([older]);
}

fn a_value_of_another_type_is_an_error() {
    let manager = manager();
    let queue = manager.queue::<u64>(0).unwrap();
    let packed = postcard::to_allocvec(&queue).unwrap();
    let other: Queue<(String, String)> = postcard::from_bytes(&packed).unwrap();
    for n in [1, u64::MAX, 0] {
        queue.put(n).unwrap();
        assert!(matches!(other.get(), Err(GetError::Manager(ManagerError::Codec(_)))), "{n}");
    }
    // Something is left over.
    let other: Queue<u8> = postcard::from_bytes(&packed).unwrap();
    queue.put(300).unwrap();
    let error = other.get().unwrap_err().to_string();
    assert!(error.contains("u8"), "{error}");
    // And the queue goes on.
    queue.put(5).unwrap();
    assert_eq!(queue.get().unwrap(), 5);
    // What is too much for a message.
    let large = manager.queue::<String>(0).unwrap();
    let text = "x".repeat((1 << 28) + 1);
    assert!(matches!(large.put(text), Err(PutError::Manager(ManagerError::TooLarge { .. }))));
    let text = "x".repeat(1 << 20);
    large.put(text.clone()).unwrap();
    assert_eq!(large.get().unwrap(), text);
}

fn what_was_discarded_is_gone_also_for_who_waits() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let (inside, here) = (queue.clone(), queue.clone());
    let there = child(move || {
        assert!(matches!(inside.get(), Err(GetError::Manager(ManagerError::NoSuchObject { .. }))));
    });
    let here = spawn(move || here.get());
    sleep(MOMENT);
    manager.publish("q", &queue).unwrap();
    queue.clone().discard().unwrap();
    joined([there]);
    assert!(matches!(here.join().unwrap(), Err(GetError::Manager(ManagerError::NoSuchObject { .. }))));
    assert!(matches!(queue.put(1), Err(PutError::Manager(ManagerError::NoSuchObject { .. }))));
    // Its name is free, its number is not.
    let other = manager.queue::<u32>(0).unwrap();
    manager.publish("q", &other).unwrap();
    assert!(matches!(queue.len(), Err(ManagerError::NoSuchObject { .. })));
}

/// What waits for ever, in as many green threads: each answers how it has ended.
fn waiting(manager: &Manager) -> Vec<greenline::JoinHandle<Result<(), ManagerError>>> {
    let empty = manager.queue::<u32>(0).unwrap();
    let full = manager.queue::<u32>(1).unwrap();
    full.put(1).unwrap();
    let (event, lock) = (manager.event().unwrap(), manager.lock().unwrap());
    let (semaphore, barrier) = (manager.semaphore(0).unwrap(), manager.barrier(2).unwrap());
    let guard = lock.lock().unwrap();
    let waiting = vec![
        spawn(move || match empty.get() {
            Err(GetError::Manager(error)) => Err(error),
            other => panic!("{other:?}"),
        }),
        spawn(move || match full.put(2) {
            Err(PutError::Manager(error)) => Err(error),
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
    waiting
}

fn after_shutdown_every_call_names_the_manager_that_is_gone() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u32>(0).unwrap();
    let waiting = waiting(&manager);
    let inside = queue.clone();
    let there = child(move || match inside.get() {
        Err(GetError::Manager(error)) => is_gone::<()>(Err(error)),
        other => panic!("{other:?}"),
    });
    sleep(MOMENT);
    manager.shutdown().unwrap();
    join_all(waiting).into_iter().for_each(|ended| is_gone(ended.unwrap()));
    joined([there]);
    for _ in 0..20 {
        is_gone(queue.len());
    }
}

fn a_server_that_is_killed_lets_nobody_wait() {
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let waiting = waiting(&manager);
    let inside = queue.clone();
    let there = child(move || match inside.get() {
        Err(GetError::Manager(error)) => is_gone::<()>(Err(error)),
        other => panic!("{other:?}"),
    });
    sleep(MOMENT);
    // SAFETY: no pointers; a child of ours.
    assert_eq!(unsafe { libc::kill(manager.pid() as i32, libc::SIGKILL) }, 0);
    join_all(waiting).into_iter().for_each(|ended| is_gone(ended.unwrap()));
    joined([there]);
    is_gone(queue.len());
    is_gone(manager.queue::<u32>(0));
    manager.shutdown().unwrap();
}

fn ctrl_c_does_not_end_the_server() {
    let manager = manager();
    let value = manager.value(&1).unwrap();
    // SAFETY: no pointers; a child of ours.
    assert_eq!(unsafe { libc::kill(manager.pid() as i32, libc::SIGINT) }, 0);
    sleep(MOMENT);
    assert_eq!(value.get().unwrap(), 1);
}

fn a_copy_of_the_manager_in_a_child_ends_nothing() {
    let manager = Rc::new(Cell::new(Some(manager())));
    let take = |from: &Cell<Option<Manager>>| from.take().unwrap();
    let here = take(&manager);
    let value = here.value(&1).unwrap();
    manager.set(Some(here));
    let inside = manager.clone();
    joined([child(move || drop(inside.take()))]);
    assert_eq!(value.get().unwrap(), 1);
    drop(take(&manager));
    is_gone(value.get());
}

/// A descriptor that becomes readable when that process has ended.
fn pidfd(pid: u32) -> OwnedFd {
    // SAFETY: no pointers; the kernel has just made it for us.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        assert!(fd >= 0);
        OwnedFd::from_raw_fd(fd as i32)
    }
}

fn the_server_ends_with_who_has_started_it() {
    for killed in [true, false] {
        let (here, there) = pair();
        let owner = child(move || {
            let manager = Manager::start().unwrap();
            (&there).write_all(&manager.pid().to_le_bytes()).unwrap();
            hear(&there);
            // Not dropped by anybody: by whom it was started ends.
            std::mem::forget(manager);
        });
        let mut pid = [0; 4];
        (&here).read_exact(&mut pid).unwrap();
        let server = pidfd(u32::from_le_bytes(pid));
        assert!(greenline::io::wait_readable(&server, Some(Instant::now() + MOMENT)).is_err());
        if killed {
            owner.kill().unwrap();
        } else {
            say(&here, 1);
        }
        owner.join().unwrap();
        greenline::io::wait_readable(&server, Some(Instant::now() + LONG / 2)).unwrap();
    }
}

fn a_server_does_not_keep_what_the_program_closes() {
    let (here, there) = pair();
    let manager = manager();
    let value = manager.value(&1).unwrap();
    drop(there);
    here.set_read_timeout(Some(LONG / 2)).unwrap();
    // It has a copy no more: this is the end.
    assert_eq!((&here).read(&mut [0]).unwrap(), 0);
    assert_eq!(value.get().unwrap(), 1);
}

fn fds(of: &str) -> usize {
    std::fs::read_dir(format!("/proc/{of}/fd")).unwrap().count()
}

fn nothing_is_left_behind() {
    let once = || {
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
        manager
    };
    drop(once());
    let before = fds("self");
    let manager = once();
    drop(manager);
    assert!(fds("self") <= before, "{} > {before}", fds("self"));

    // Those of connections that have ended are closed in the server as well.
    let manager = Manager::start().unwrap();
    let server = manager.pid().to_string();
    let queue = manager.queue::<u32>(0).unwrap();
    (0..3).for_each(|_| assert!(queue.is_empty().unwrap()));
    let one = fds(&server);
    for _ in 0..3 {
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let queue = queue.clone();
                spawn(move || drop(queue.get()))
            })
            .collect();
        yield_now();
        eventually("all have connected", || fds(&server) >= one + 19);
        let inside = queue.clone();
        joined([child(move || assert!(inside.is_empty().unwrap()))]);
        kill_all(threads);
        eventually("all are closed", || fds(&server) <= one + 7);
    }
    drop(manager);
    // No child is left, dead or alive.
    // SAFETY: no status is asked for.
    assert_eq!(unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) }, -1);
}

const KEY: &[u8] = b"a long and secret key";

fn on_tcp() -> Manager {
    Manager::builder().tcp("127.0.0.1:0").unwrap().key(KEY).start().unwrap()
}

fn published_objects_are_found_over_tcp() {
    let manager = on_tcp();
    let address = manager.tcp_addr().unwrap();
    let (jobs, results) = (manager.queue::<u32>(0).unwrap(), manager.dict::<u32, u32>().unwrap());
    manager.publish("jobs", &jobs).unwrap();
    manager.publish("results", &results).unwrap();
    assert!(matches!(manager.publish("jobs", &results), Err(ManagerError::Name { .. })));
    manager.publish("jobs", &jobs).unwrap();
    let elsewhere = Manager::start().unwrap();
    assert!(matches!(elsewhere.publish("jobs", &jobs), Err(ManagerError::Name { .. })));
    let workers: Vec<Child> = (0..2)
        .map(|_| {
            child(move || {
                let manager = RemoteManager::connect(address, KEY).unwrap();
                let (jobs, results) =
                    (manager.queue::<u32>("jobs").unwrap(), manager.dict::<u32, u32>("results").unwrap());
                for n in jobs.iter() {
                    results.insert(&n, &(n * n)).unwrap();
                }
                assert!(matches!(manager.queue::<u32>("nothing"), Err(ManagerError::Name { .. })));
                let error = manager.queue::<u32>("results").unwrap_err().to_string();
                assert_eq!(error, "the caller asked for a Queue, but the object is a Dict");
            })
        })
        .collect();
    (1..=20).for_each(|n| jobs.put(n).unwrap());
    jobs.close().unwrap();
    joined(workers);
    assert_eq!(results.len().unwrap(), 20);
    assert_eq!(results.get(&20).unwrap(), Some(400));
    // A proxy does not carry the key of a TCP manager.
    let packed = postcard::to_allocvec(&jobs).unwrap();
    assert!(!packed.windows(KEY.len()).any(|bytes| bytes == KEY));
    drop(manager);
    match jobs.len() {
        Err(error @ ManagerError::Gone { .. }) => assert!(error.to_string().contains(&address.to_string())),
        other => panic!("{other:?}"),
    }
}

fn who_has_the_wrong_key_is_refused() {
    let manager = on_tcp();
    let address = manager.tcp_addr().unwrap();
    for key in [&b"wrong"[..], b"", b"a long and secret kex"] {
        match RemoteManager::connect(address, key) {
            Err(error @ ManagerError::Refused { .. }) => {
                assert_eq!(error.to_string(), format!("the manager at {address}: refused: the key is wrong"));
            }
            other => panic!("{other:?}"),
        }
    }
    RemoteManager::connect(address, KEY).unwrap();
    assert!(Manager::builder().tcp("127.0.0.1:0").unwrap().start().is_err());
    assert!(Manager::builder().tcp("127.0.0.1:0").unwrap().key("").start().is_err());
    assert!(Manager::builder().key("").start().is_err());
}

/// Says nothing where the tests do not run as root.
fn another_user_is_not_served() {
    use std::os::linux::net::SocketAddrExt;
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let said = format!("{queue:?}");
    let name = said[said.find('@').unwrap() + 1..].trim_end_matches(')').to_string();
    let inside = queue.clone();
    joined([child(move || {
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::setresuid(65534, 65534, 65534) }, 0);
        match inside.len() {
            Err(error @ ManagerError::Refused { .. }) => {
                assert!(error.to_string().contains("belongs to user 0"), "{error}")
            }
            other => panic!("{other:?}"),
        }
        // The server does not even say hello.
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let mut stream = UnixStream::connect_addr(&address).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    })]);
    queue.put(1).unwrap();
}

/// Sends `bytes` to who listens at `address`, and answers what that one says until it closes the connection.
fn at_the_door(address: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG / 2)).unwrap();
    // It may close the connection before it has read all.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => said,
    }
}

fn garbage_and_silence_at_the_door_do_no_harm() {
    let manager = on_tcp();
    let address = manager.tcp_addr().unwrap();
    let queue = manager.queue::<u32>(0).unwrap();
    for bytes in [&[0xff; 64][..], &[0; 64], &[b'x'; 100_000], b"GET / HTTP/1.1\r\n\r\n"] {
        let said = at_the_door(address, bytes);
        assert!(said.starts_with(b"greenline manager 1\n") && said.len() <= 20 + 32 + 33, "{said:?}");
        // No more than a refusal, and no proof of its own.
        assert!(said[said.len().min(52)..].iter().all(|&byte| byte == 0), "{said:?}");
    }
    // Who says nothing, or dribbles, is not waited for; others are served meanwhile.
    let dribbler = spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let began = Instant::now();
        while stream.write_all(&[0]).is_ok() && began.elapsed() < LONG / 2 {
            sleep(Duration::from_millis(200));
        }
        began.elapsed()
    });
    let silent = spawn(move || at_the_door(address, b""));
    for n in 0..10 {
        queue.put(n).unwrap();
    }
    assert_eq!(silent.join().unwrap().len(), 52);
    assert!(dribbler.join().unwrap() < LONG / 2);
    assert_eq!(queue.len().unwrap(), 10);
}

fn a_false_manager_is_refused() {
    // What each says after the client's 64 bytes.
    type Says = fn(&[u8]) -> Vec<u8>;
    let says: [(Says, &str); 3] = [
        (|_| [&[1][..], &[0; 32]].concat(), "does not have the key"),
        // Sent back what was sent.
        (|client| [&[1], &client[32..]].concat(), "does not have the key"),
        (|_| [&[0][..], &[0; 32]].concat(), "the key is wrong"),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let liar = spawn(move || {
        for (says, _) in says {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[&b"greenline manager 1\n"[..], &[7; 32]].concat()).unwrap();
            let mut client = [0; 64];
            stream.read_exact(&mut client).unwrap();
            stream.write_all(&says(&client)).unwrap();
            let _ = stream.read(&mut [0]);
        }
        // Another kind of server.
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 mail.example.org ESMTP ready").unwrap();
        drop(stream);
        // And one that says nothing.
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0]);
    });
    let whys = says.iter().map(|&(_, why)| why).chain(["no manager", "no manager has answered"]);
    for why in whys {
        match RemoteManager::connect(address, KEY) {
            Err(error @ ManagerError::Refused { .. }) => assert!(error.to_string().contains(why), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    liar.join().unwrap();
}

fn all_goes_on_when_patched() {
    joined([child(|| {
        greenline::patch::all();
        a_queue_keeps_the_order_and_says_truly_what_it_has();
        let manager = manager();
        let (queue, lock) = (manager.queue::<usize>(4).unwrap(), manager.lock().unwrap());
        // std's threads are green ones by now.
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
        after_shutdown_every_call_names_the_manager_that_is_gone();
        a_lock_whose_holder_dies_goes_to_the_next_who_can_tell();
    })]);
}
