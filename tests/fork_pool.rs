//! Pools of worker processes. Run one after the other by the main thread, for to fork takes a process of one OS thread.

use greenline::process::pool::{Task, TimedOut};
use greenline::process::{Pool, TaskError, Value, active_children};
use libtest_mimic::{Arguments, Trial};
use std::cell::{Cell, OnceCell};
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

fn main() {
    let mut args = Arguments::from_args();
    args.test_threads = Some(1);
    // A hang ends here, and not never.
    // SAFETY: no pointers.
    unsafe { libc::alarm(170) };
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$(Trial::test(stringify!($name), || { $name(); nothing_is_left(); Ok(()) })),*]
        };
    }
    let trials = trials![
        applies_a_function_in_another_process,
        functions_have_up_to_four_arguments,
        closures_that_capture_nothing_can_be_sent,
        maps_in_order,
        a_map_over_nothing_is_empty,
        starmap_takes_tuples,
        imap_is_lazy_and_in_order,
        imap_unordered_gives_each_once,
        an_endless_imap_takes_no_more_than_it_needs,
        green_threads_share_a_pool,
        waiting_for_a_result_lets_others_run,
        a_result_can_be_waited_for_for_a_while,
        a_panic_fails_its_task_and_not_the_worker,
        a_worker_that_exits_fails_its_task,
        a_worker_that_is_killed_is_replaced,
        only_the_call_fails_in_which_the_worker_died,
        workers_are_replaced_after_so_many_tasks,
        the_initializer_is_run_in_each_worker,
        a_pool_whose_initializer_fails_is_broken,
        what_is_too_large_is_an_error,
        what_cannot_be_encoded_is_an_error,
        large_arguments_and_results,
        more_tasks_than_there_is_room_for,
        a_closed_pool_finishes_and_takes_no_more,
        a_terminated_pool_fails_what_is_not_done,
        a_pool_whose_foreman_is_killed_is_broken,
        a_dropped_pool_ends_its_workers,
        a_result_that_nobody_waits_for_is_dropped,
        another_process_cannot_use_it,
        a_killed_green_thread_leaves_the_pool_usable,
        workers_killed_at_random_lose_nothing,
        bad_numbers_of_workers,
        a_panic_that_says_too_much_is_told_in_short,
        arguments_that_cannot_be_decoded_are_no_other_calls,
        a_process_that_ignores_its_children_learns_how_workers_end,
        an_iterator_that_panics_loses_no_result,
        a_timeout_loses_no_item,
        who_waits_for_the_next_result_waits_no_longer_than_he_says,
        a_worker_killed_as_it_takes_much_loses_nothing,
        a_foreman_that_died_while_nobody_waited_is_missed,
        a_pool_ends_though_its_workers_have_not_begun,
        a_killed_watch_is_replaced,
        a_thousand_wait_and_each_is_woken_once,
        os_threads_share_a_pool,
        a_broken_pool_can_be_joined,
    ];
    libtest_mimic::run(&args, trials).exit();
}

/// No child, no descriptor too many.
fn nothing_is_left() {
    thread_local!(static DESCRIPTORS: Cell<Option<usize>> = const { Cell::new(None) });
    assert!(active_children().is_empty(), "children are left: {:?}", active_children());
    let now = std::fs::read_dir("/proc/self/fd").unwrap().count();
    // The first test has made the hub's.
    let first = DESCRIPTORS.get().unwrap_or(now);
    DESCRIPTORS.set(Some(first.max(now)));
    assert!(now <= first + 3, "{now} descriptors are open, {first} were");
}

fn double(n: u64) -> u64 {
    2 * n
}

fn pid(_: u64) -> u32 {
    std::process::id()
}

fn nap(ms: u64) -> u64 {
    greenline::sleep(Duration::from_millis(ms));
    ms
}

fn applies_a_function_in_another_process() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.workers(), 2);
    assert_eq!(pool.apply(double, (21,)), Ok(42));
    let worker = pool.apply(pid, (0,)).unwrap();
    assert_ne!(worker, std::process::id());
}

fn functions_have_up_to_four_arguments() {
    let pool = Pool::new(1).unwrap();
    let text = "a".to_owned();
    assert_eq!(pool.apply(|a: u8, b: String| format!("{a}{b}"), (1, text)), Ok("1a".to_owned()));
    assert_eq!(pool.apply(|a: u8, b: u8, c: u8| a + b + c, (1, 2, 3)), Ok(6));
    assert_eq!(pool.apply(|a: u8, b: u8, c: u8, d: u8| [a, b, c, d], (1, 2, 3, 4)), Ok([1, 2, 3, 4]));
}

fn closures_that_capture_nothing_can_be_sent() {
    fn is_task<A, F: Task<(A,)>>(_: F) {}
    is_task::<u64, _>(double);
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.apply(|n: Option<u64>| n.map(double), (Some(4),)), Ok(Some(8)));
}

fn maps_in_order() {
    let pool = Pool::new(3).unwrap();
    let expected: Vec<u64> = (0..1000).map(double).collect();
    assert_eq!(pool.map(double, 0..1000), Ok(expected.clone()));
    for chunk in [1, 7, 1000, 5000] {
        let got = pool.map_async(double, 0..1000, NonZeroUsize::new(chunk)).get();
        assert_eq!(got, Ok(expected.clone()), "in chunks of {chunk}");
    }
}

fn a_map_over_nothing_is_empty() {
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.map(double, []), Ok(vec![]));
    assert!(pool.imap(double, []).next().is_none());
}

fn starmap_takes_tuples() {
    let pool = Pool::new(2).unwrap();
    let got = pool.starmap(|a: u32, b: u32| a * b, (1..=4).map(|n| (n, n + 1)));
    assert_eq!(got, Ok(vec![2, 6, 12, 20]));
}

fn imap_is_lazy_and_in_order() {
    let pool = Pool::new(2).unwrap();
    // The first takes longest.
    let mut results = pool.imap(nap, [200, 0, 0, 0]);
    assert_eq!(results.next_timeout(Duration::from_millis(10)).map(|_| ()), Err(TimedOut));
    assert_eq!(results.by_ref().map(Result::unwrap).collect::<Vec<_>>(), [200, 0, 0, 0]);
    assert!(results.next().is_none());
}

fn imap_unordered_gives_each_once() {
    let pool = Pool::new(2).unwrap();
    let got: Vec<u64> = pool.imap_unordered(nap, [300, 1, 2, 3]).map(Result::unwrap).collect();
    assert_eq!(got.len(), 4);
    assert_ne!(got[0], 300, "{got:?}");
    assert_eq!(got.into_iter().collect::<HashSet<_>>(), HashSet::from([300, 1, 2, 3]));
}

fn an_endless_imap_takes_no_more_than_it_needs() {
    let asked = std::rc::Rc::new(Cell::new(0));
    let count = asked.clone();
    let pool = Pool::new(2).unwrap();
    let mut results = pool.imap(double, (0..).inspect(move |_| count.set(count.get() + 1)));
    for n in 0..100 {
        assert_eq!(results.next(), Some(Ok(2 * n)));
        assert!(asked.get() <= n + 1 + 4, "{} were asked for at {n}", asked.get());
    }
}

fn green_threads_share_a_pool() {
    let pool = Pool::new(3).unwrap();
    let sums = greenline::scope(|scope| {
        let all: Vec<_> = (0..100u64)
            .map(|n| {
                let pool = &pool;
                scope.spawn(move || pool.apply(double, (n,)).unwrap())
            })
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(sums, (0..100).map(double).collect::<Vec<_>>());
}

fn waiting_for_a_result_lets_others_run() {
    let pool = Pool::new(1).unwrap();
    let steps = std::rc::Rc::new(Cell::new(0));
    let counter = greenline::spawn({
        let steps = steps.clone();
        move || loop {
            steps.set(steps.get() + 1);
            greenline::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(pool.apply(nap, (300,)), Ok(300));
    assert!(steps.get() > 10, "{} steps", steps.get());
    counter.kill();
}

fn a_result_can_be_waited_for_for_a_while() {
    let pool = Pool::new(1).unwrap();
    let result = pool.apply_async(nap, (200,));
    assert!(!result.is_ready());
    let result = result.get_timeout(Duration::from_millis(5)).expect_err("it takes longer");
    assert_eq!(result.get_timeout(Duration::from_secs(100)).expect("it takes less"), Ok(200));
    let result = pool.apply_async(double, (1,));
    while !result.is_ready() {
        greenline::yield_now();
    }
    assert_eq!(result.get(), Ok(2));
}

fn a_panic_fails_its_task_and_not_the_worker() {
    let pool = Pool::new(1).unwrap();
    let before = pool.apply(pid, (0,)).unwrap();
    let failed = pool.apply(|n: u32| -> u32 { panic!("no {n}") }, (7,));
    assert_eq!(failed, Err(TaskError::Panicked("no 7".to_owned())));
    assert_eq!(pool.apply(pid, (0,)), Ok(before));
    let some = pool.map(|n: u32| if n == 3 { panic!("three") } else { n }, 0..10);
    assert_eq!(some, Err(TaskError::Panicked("three".to_owned())));
}

fn a_worker_that_exits_fails_its_task() {
    let pool = Pool::new(1).unwrap();
    let failed = pool.apply(|code: i32| -> () { std::process::exit(code) }, (3,));
    assert_eq!(failed, Err(TaskError::WorkerDied { exit: 3 }));
    assert_eq!(failed.unwrap_err().to_string(), "the worker left with exit code 3 while it ran the task");
    assert_eq!(pool.apply(double, (4,)), Ok(8));
}

fn die(_: u64) -> u64 {
    // SAFETY: no pointers.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!()
}

fn a_worker_that_is_killed_is_replaced() {
    let pool = Pool::new(1).unwrap();
    let before = pool.apply(pid, (0,)).unwrap();
    let failed = pool.apply(die, (0,)).unwrap_err();
    assert_eq!(failed, TaskError::WorkerDied { exit: -libc::SIGKILL });
    assert_eq!(failed.to_string(), "the worker was killed by signal 9 while it ran the task");
    let after = pool.apply(pid, (0,)).unwrap();
    assert_ne!(before, after);
}

fn only_the_call_fails_in_which_the_worker_died() {
    let pool = Pool::new(2).unwrap();
    fn odd_ones_die(n: u64) -> u64 {
        if n % 10 == 3 { die(n) } else { n }
    }
    // One chunk, so that one worker is given all, and then the next the rest.
    let batch = pool.map_async(|n: u64| (n, std::process::id()), 0..40, NonZeroUsize::new(40)).get().unwrap();
    assert_eq!(batch.iter().map(|one| one.1).collect::<HashSet<_>>().len(), 1);
    let all: Vec<_> = pool.imap(odd_ones_die, 0..40).collect();
    assert_eq!(all.len(), 40);
    for (n, result) in (0..).zip(all) {
        let expected = if n % 10 == 3 { Err(TaskError::WorkerDied { exit: -9 }) } else { Ok(n) };
        assert_eq!(result, expected);
    }
    let failed = pool.map_async(odd_ones_die, 0..40, NonZeroUsize::new(40)).get();
    assert_eq!(failed, Err(TaskError::WorkerDied { exit: -9 }));
    assert_eq!(pool.map(double, 0..4), Ok(vec![0, 2, 4, 6]));
}

fn workers_are_replaced_after_so_many_tasks() {
    let pool = Pool::builder().workers(1).max_tasks_per_child(3).start().unwrap();
    let pids: Vec<u32> = (0..9).map(|_| pool.apply(pid, (0,)).unwrap()).collect();
    for three in pids.chunks(3) {
        assert!(three.iter().all(|&pid| pid == three[0]), "{pids:?}");
    }
    assert_eq!(pids.iter().collect::<HashSet<_>>().len(), 3, "{pids:?}");
}

thread_local!(static SET: Cell<u32> = const { Cell::new(0) });

fn the_initializer_is_run_in_each_worker() {
    let given = 7;
    let pool = Pool::builder().workers(2).initializer(move || SET.set(given)).start().unwrap();
    let found = pool.map_async(|_: u32| SET.get(), 0..20, NonZeroUsize::new(1)).get().unwrap();
    assert_eq!(found, [7; 20]);
    assert_eq!(SET.get(), 0);
    // In those that come later, too.
    pool.apply(die, (0,)).unwrap_err();
    pool.apply(die, (0,)).unwrap_err();
    assert_eq!(pool.map(|_: u32| SET.get(), 0..4), Ok(vec![7; 4]));
}

fn a_pool_whose_initializer_fails_is_broken() {
    let pool = Pool::builder().workers(2).initializer(|| panic!("not today")).start().unwrap();
    let error = pool.apply(double, (1,)).unwrap_err();
    assert!(matches!(&error, TaskError::Broken(why) if why.contains("initializer")), "{error:?}");
    assert!(matches!(pool.apply(double, (1,)), Err(TaskError::Broken(_))));
}

fn what_is_too_large_is_an_error() {
    let pool = Pool::builder().workers(1).bytes(8192).start().unwrap();
    let large = vec![1u8; 10_000];
    let error = pool.apply(|bytes: Vec<u8>| bytes.len(), (large,)).unwrap_err();
    assert!(matches!(error, TaskError::TooLarge { size: 10_000.., limit: ..8192 }), "{error:?}");
    let error = pool.apply(|len: usize| vec![1u8; len], (10_000,)).unwrap_err();
    assert!(matches!(error, TaskError::TooLarge { size: 10_000.., limit: ..8192 }), "{error:?}");
    assert_eq!(pool.apply(|len: usize| vec![1u8; len], (8_000,)).map(|bytes| bytes.len()), Ok(8_000));
}

/// What serde refuses.
#[derive(Debug)]
struct Stubborn;

impl serde::Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("I will not"))
    }
}

impl<'de> serde::Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Stubborn, D::Error> {
        Ok(Stubborn)
    }
}

fn what_cannot_be_encoded_is_an_error() {
    let pool = Pool::new(1).unwrap();
    let error = pool.apply(|_: Stubborn| 1, (Stubborn,)).unwrap_err();
    assert!(
        matches!(&error, TaskError::Codec(why) if why.contains("arguments cannot be encoded")),
        "{error:?}"
    );
    let error = pool.apply(|_: u8| Stubborn, (1,)).unwrap_err();
    assert!(matches!(&error, TaskError::Codec(why) if why.contains("result cannot be encoded")), "{error:?}");
    assert_eq!(pool.apply(double, (1,)), Ok(2));
}

fn large_arguments_and_results() {
    let pool = Pool::new(2).unwrap();
    let large: Vec<u8> = (0..5_000_000u32).map(|n| n as u8).collect();
    let reversed = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes
    };
    let got = pool.map(reversed, (0..6).map(|_| large.clone())).unwrap();
    let expected: Vec<u8> = large.into_iter().rev().collect();
    assert_eq!(got.len(), 6);
    assert!(got.into_iter().all(|bytes| bytes == expected));
}

fn more_tasks_than_there_is_room_for() {
    let pool = Pool::builder().workers(2).bytes(4096).start().unwrap();
    let results: Vec<_> = (0..2000).map(|n| pool.apply_async(|n: u64| vec![n; 20], (n,))).collect();
    for (n, result) in (0..).zip(results) {
        assert_eq!(result.get(), Ok(vec![n; 20]));
    }
}

fn a_closed_pool_finishes_and_takes_no_more() {
    let pool = Pool::new(2).unwrap();
    let results: Vec<_> = (0..50).map(|n| pool.apply_async(double, (n,))).collect();
    let slow = pool.apply_async(nap, (100,));
    pool.close();
    assert_eq!(pool.apply(double, (1,)), Err(TaskError::Closed));
    pool.join().unwrap();
    assert_eq!(slow.get(), Ok(100));
    for (n, result) in (0..).zip(results) {
        assert_eq!(result.get(), Ok(2 * n));
    }
    pool.join().unwrap();
}

fn a_terminated_pool_fails_what_is_not_done() {
    let pool = Pool::new(1).unwrap();
    let done = pool.apply_async(double, (1,));
    while !done.is_ready() {
        greenline::yield_now();
    }
    let never = pool.apply_async(nap, (1_000_000,));
    let start = Instant::now();
    pool.terminate();
    assert_eq!(never.get(), Err(TaskError::Terminated));
    assert_eq!(done.get(), Ok(2));
    pool.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(pool.apply(double, (1,)), Err(TaskError::Terminated));
}

fn a_pool_whose_foreman_is_killed_is_broken() {
    let pool = Pool::new(2).unwrap();
    let worker = pool.apply(pid, (0,)).unwrap();
    let never = pool.apply_async(nap, (1_000_000,));
    let foreman = active_children().pop().unwrap();
    foreman.kill().unwrap();
    let error = never.get().unwrap_err();
    assert!(matches!(&error, TaskError::Broken(why) if why.contains("foreman")), "{error:?}");
    assert!(matches!(pool.apply(double, (1,)), Err(TaskError::Broken(_))));
    // The workers go, too.
    while std::path::Path::new(&format!("/proc/{worker}")).exists() {
        greenline::sleep(Duration::from_millis(1));
    }
}

fn a_dropped_pool_ends_its_workers() {
    let pool = Pool::new(2).unwrap();
    let worker = pool.apply(pid, (0,)).unwrap();
    let never = pool.apply_async(nap, (1_000_000,));
    drop(pool);
    assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists());
    assert_eq!(never.get(), Err(TaskError::Terminated));
}

fn a_result_that_nobody_waits_for_is_dropped() {
    let pool = Pool::new(1).unwrap();
    for n in 0..100 {
        drop(pool.apply_async(double, (n,)));
    }
    assert_eq!(pool.apply(double, (1,)), Ok(2));
}

fn another_process_cannot_use_it() {
    let pool = std::rc::Rc::new(Pool::new(1).unwrap());
    let copy = pool.clone();
    let child = greenline::process::Process::new(move || {
        let refused = copy.apply(double, (1,)) == Err(TaskError::NotOurs);
        copy.close();
        copy.terminate();
        drop(copy);
        i32::from(!refused)
    });
    assert_eq!(child.start().unwrap().join().unwrap(), 0);
    assert_eq!(pool.apply(double, (1,)), Ok(2));
}

fn a_killed_green_thread_leaves_the_pool_usable() {
    let pool = std::rc::Rc::new(Pool::new(1).unwrap());
    let copy = pool.clone();
    let waiter = greenline::spawn(move || copy.apply(nap, (100,)));
    greenline::sleep(Duration::from_millis(5));
    waiter.kill();
    assert!(waiter.join().is_err());
    assert_eq!(pool.apply(double, (1,)), Ok(2));
}

/// A thousand times somebody is killed, at no particular moment; each call is done or fails because of that, once.
fn workers_killed_at_random_lose_nothing() {
    let pool = Pool::builder().workers(4).bytes(16_384).start().unwrap();
    let mut seed = 1u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    fn work(n: u64) -> (u64, u32) {
        let spins = n * 7919 % 3000;
        (0..spins).for_each(|_| std::hint::spin_loop());
        (n, std::process::id())
    }
    let mut workers: Vec<u32> = Vec::new();
    let (mut killed, mut died, mut next) = (0, 0, 0u64);
    while killed < 1000 {
        let count = 1 + random(40);
        let chunk = NonZeroUsize::new(1 + random(8) as usize);
        let range = next..next + count;
        next += count;
        let batch: Vec<_> = range.clone().map(|n| pool.apply_async(work, (n,))).collect();
        let map = pool.map_async(work, range.clone(), chunk);
        if let Some(&victim) = workers.get(random(workers.len().max(1) as u64) as usize) {
            (0..random(20_000)).for_each(|_| std::hint::spin_loop());
            // SAFETY: no pointers. It is a worker's that was there a moment ago; pids are not used again so soon.
            if unsafe { libc::kill(victim as i32, libc::SIGKILL) } == 0 {
                killed += 1;
            }
        }
        workers.clear();
        for (n, result) in range.clone().zip(batch) {
            match result.get() {
                Ok((got, pid)) => {
                    assert_eq!(got, n);
                    if !workers.contains(&pid) {
                        workers.push(pid);
                    }
                }
                Err(TaskError::WorkerDied { exit: -9 }) => died += 1,
                other => panic!("{other:?}"),
            }
        }
        match map.get() {
            Ok(all) => assert!(all.iter().map(|one| one.0).eq(range)),
            Err(TaskError::WorkerDied { exit: -9 }) => died += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(died <= killed, "{died} tasks died by {killed} kills");
    pool.close();
    pool.join().unwrap();
}

fn bad_numbers_of_workers() {
    for workers in [0, 5000] {
        let error = Pool::new(workers).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&workers.to_string()), "{error}");
    }
}

fn a_panic_that_says_too_much_is_told_in_short() {
    let pool = Pool::builder().workers(1).bytes(8192).start().unwrap();
    let Err(TaskError::Panicked(text)) =
        pool.apply(|n: usize| -> u8 { std::panic::resume_unwind(Box::new("x".repeat(n))) }, (100_000,))
    else {
        panic!("no panic is told");
    };
    assert!(text.len() < 1000, "{} bytes", text.len());
    assert_eq!(pool.apply(double, (1,)), Ok(2));
}

/// Can be decoded unless it is 3.
#[derive(serde::Serialize)]
struct NotThree(u64);

impl<'de> serde::Deserialize<'de> for NotThree {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<NotThree, D::Error> {
        match u64::deserialize(deserializer)? {
            3 => Err(serde::de::Error::custom("it is 3")),
            n => Ok(NotThree(n)),
        }
    }
}

fn arguments_that_cannot_be_decoded_are_no_other_calls() {
    thread_local!(static SEEN: OnceCell<Value<[u64; 8]>> = const { OnceCell::new() });
    let seen = Value::new([0u64; 8]).unwrap();
    SEEN.with(|cell| _ = cell.set(seen.clone()));
    let pool = Pool::new(1).unwrap();
    fn see(n: NotThree) {
        SEEN.with(|seen| seen.get().unwrap().update(|seen| seen[n.0 as usize] += 1));
    }
    let failed = pool.map_async(see, (0..8).map(NotThree), NonZeroUsize::new(8)).get();
    assert!(matches!(failed, Err(TaskError::Codec(_))), "{failed:?}");
    assert_eq!(seen.get(), [1, 1, 1, 0, 1, 1, 1, 1]);
}

fn a_process_that_ignores_its_children_learns_how_workers_end() {
    // SAFETY: dispositions without a handler.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let pool = Pool::new(2).unwrap();
    let died = pool.apply_async(die, (1,)).get_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(died, Err(TaskError::WorkerDied { exit: -9 }));
    assert_eq!(pool.apply(double, (1,)), Ok(2));
    drop(pool);
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGCHLD, before) };
}

fn an_iterator_that_panics_loses_no_result() {
    let pool = Pool::new(1).unwrap();
    let mut left = 2;
    let items = (0..6u64).inspect(move |&n| {
        if n == 3 && left > 0 {
            left -= 1;
            panic!("not this one");
        }
    });
    let mut results = pool.imap(double, items);
    let mut got = Vec::new();
    while got.len() < 5 {
        let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| results.next()));
        match next {
            Ok(Some(result)) => got.push(result.unwrap()),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    // The iterator has lost its fourth itself.
    assert_eq!(got, [0, 2, 4, 8, 10]);
}

/// Of what there is room for one at a time.
fn large(n: u64) -> (u64, Vec<u8>) {
    (n, vec![0; 3000])
}

fn nap_with_much(ms: u64, _: Vec<u8>) -> u64 {
    nap(ms)
}

fn a_timeout_loses_no_item() {
    let pool = Pool::builder().workers(1).bytes(4096).start().unwrap();
    let mut results = pool.imap(|(n, _): (u64, Vec<u8>)| nap(n), (20..28).map(large));
    let (mut got, mut timeouts) = (Vec::new(), 0);
    loop {
        match greenline::timeout(Duration::from_millis(7), || results.next()) {
            Ok(Some(result)) => got.push(result.unwrap()),
            Ok(None) => break,
            Err(_) => timeouts += 1,
        }
    }
    assert_eq!(got, (20..28).collect::<Vec<_>>());
    assert!(timeouts > 0, "nothing was tried");
}

fn who_waits_for_the_next_result_waits_no_longer_than_he_says() {
    let pool = Pool::builder().workers(1).bytes(4096).start().unwrap();
    // The worker is busy, and there is no room.
    let long: Vec<_> = (0..2).map(|_| pool.apply_async(nap_with_much, (3_600_000, vec![0; 3000]))).collect();
    let start = Instant::now();
    let mut results = pool.imap(|(n, _): (u64, Vec<u8>)| n, (0..3).map(large));
    assert_eq!(results.next_timeout(Duration::from_millis(10)).unwrap_err(), TimedOut);
    assert_eq!(results.next_timeout(Duration::ZERO).unwrap_err(), TimedOut);
    assert!(start.elapsed() < Duration::from_secs(60));
    drop(long);
}

/// The processes that a process has started.
fn children_of(process: u32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    children.unwrap_or_default().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// What is taken is large enough to be given back to the kernel, which takes a while.
fn a_worker_killed_as_it_takes_much_loses_nothing() {
    let pool = Pool::builder().workers(1).start().unwrap();
    let foreman = active_children()[0].pid();
    let much = vec![7u8; 4 << 20];
    let mut died = 0;
    for round in 0..28u64 {
        pool.apply(double, (1,)).unwrap();
        let worker = children_of(foreman)[0];
        let result = pool.apply_async(|bytes: Vec<u8>| bytes.len(), (much.clone(),));
        // As it takes it, or while it has it.
        let moment = Duration::from_micros(if round % 7 < 6 { round * 125 } else { round * 6_000 });
        let until = Instant::now() + moment;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        // SAFETY: no pointers; a child of our child, or nobody any more.
        unsafe { libc::kill(worker, libc::SIGKILL) };
        match result.get_timeout(Duration::from_secs(60)).expect("it is lost") {
            Ok(len) => assert_eq!(len, much.len()),
            Err(error) => {
                assert!(matches!(error, TaskError::WorkerDied { .. }), "{error}");
                died += 1;
            }
        }
    }
    assert!(died > 0, "none was killed in time");
}

fn a_foreman_that_died_while_nobody_waited_is_missed() {
    let pool = Pool::new(2).unwrap();
    (0..5).for_each(|_| assert_eq!(pool.apply(nap, (1,)), Ok(1)));
    // SAFETY: no pointers; a child of ours.
    unsafe { libc::kill(active_children()[0].pid() as i32, libc::SIGKILL) };
    // The hub hears of it meanwhile.
    greenline::sleep(Duration::from_millis(50));
    let error =
        pool.apply_async(nap, (1,)).get_timeout(Duration::from_secs(60)).expect("it waits for the dead");
    assert!(matches!(error, Err(TaskError::Broken(_))), "{error:?}");
}

fn a_pool_ends_though_its_workers_have_not_begun() {
    let start = Instant::now();
    for _ in 0..5 {
        drop(Pool::builder().workers(2).initializer(|| assert_eq!(nap(3_600_000), 0)).start().unwrap());
    }
    assert!(start.elapsed() < Duration::from_secs(60));
}

fn a_killed_watch_is_replaced() {
    let pool = std::rc::Rc::new(Pool::new(2).unwrap());
    for round in 0..20 {
        let (one, two) = (pool.clone(), pool.clone());
        let watch = greenline::spawn(move || one.apply(nap, (30,)));
        greenline::yield_now();
        let other = greenline::spawn(move || two.apply(nap, (5 + round % 3,)));
        greenline::yield_now();
        greenline::yield_now();
        watch.kill();
        let done = greenline::timeout(Duration::from_secs(60), || other.join()).expect("it was woken");
        assert_eq!(done.unwrap(), Ok(5 + round % 3));
        assert!(watch.join().is_err());
    }
}

fn a_thousand_wait_and_each_is_woken_once() {
    let pool = Pool::new(2).unwrap();
    pool.map(double, 0..100).unwrap();
    let before = greenline::stats().switches;
    greenline::scope(|scope| {
        for n in 0..1000 {
            let pool = &pool;
            scope.spawn(move || assert_eq!(pool.apply(double, (n,)), Ok(2 * n)));
        }
    });
    let switches = greenline::stats().switches - before;
    // In and out of each, at its start and when its result has come; and the watch, for each note at worst.
    assert!(switches < 20_000, "{switches} switches for a thousand results");
}

fn os_threads_share_a_pool() {
    let pool = Pool::new(2).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let pool = &pool;
            scope.spawn(move || {
                greenline::scope(|scope| {
                    for green in 0..20u64 {
                        scope.spawn(move || {
                            for n in 0..30 {
                                let n = (thread * 20 + green) * 30 + n;
                                assert_eq!(pool.apply(double, (n,)), Ok(2 * n));
                            }
                        });
                    }
                });
            });
        }
    });
    assert_eq!(pool.map(double, 0..4), Ok(vec![0, 2, 4, 6]));
}

fn a_broken_pool_can_be_joined() {
    let pool = Pool::builder().workers(1).initializer(|| std::process::exit(3)).start().unwrap();
    assert!(matches!(pool.apply(double, (1,)), Err(TaskError::Broken(_))));
    pool.join().unwrap();
}
