//! Pools of worker processes.

use crate::support::subprocess::Case;
use greenline_process::pool::{Task, TimedOut};
use greenline_process::{Pool, TaskError, Value, active_children};
use std::cell::{Cell, OnceCell};
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name)),*] };
}

pub(crate) const CASES: &[Case] = cases![
    apply_runs_function_in_another_process,
    apply_takes_functions_of_up_to_four_arguments,
    apply_takes_closures_that_capture_nothing,
    map_returns_results_in_order,
    map_and_imap_of_no_items_are_empty,
    starmap_takes_tuples,
    imap_returns_results_in_order,
    imap_unordered_returns_each_result_once,
    imap_takes_only_items_that_workers_can_begin_soon,
    apply_by_many_green_threads_works,
    apply_blocks_only_its_green_thread,
    get_timeout_gives_handle_back_until_ready,
    apply_of_panicking_task_is_panicked_and_worker_goes_on,
    apply_of_exiting_task_is_worker_died,
    apply_of_killed_worker_is_worker_died_and_worker_is_replaced,
    imap_fails_only_the_call_in_which_the_worker_died,
    max_tasks_per_child_replaces_workers,
    initializer_runs_in_each_worker,
    apply_after_failed_initializer_is_broken,
    apply_of_too_large_value_is_too_large,
    apply_of_unserializable_value_is_codec_error,
    map_of_large_arguments_and_results_works,
    apply_async_of_more_tasks_than_space_blocks_until_space,
    close_finishes_sent_tasks_and_refuses_new_ones,
    terminate_fails_unfinished_tasks,
    get_after_death_of_supervisor_is_broken,
    drop_of_pool_ends_workers,
    drop_of_async_result_loses_only_its_result,
    apply_in_another_process_is_not_ours,
    kill_of_waiter_leaves_pool_usable,
    apply_and_map_lose_no_result_of_workers_killed_at_random,
    new_with_bad_number_of_workers_is_invalid_input,
    apply_of_task_with_too_long_panic_message_is_panicked_with_short_one,
    map_fails_only_the_call_whose_arguments_cannot_be_decoded,
    apply_while_parent_ignores_sigchld_is_worker_died,
    imap_of_panicking_iterator_loses_no_result,
    imap_next_unwound_by_timeout_loses_no_item,
    next_timeout_without_space_times_out,
    apply_async_loses_no_large_chunk_of_worker_killed_while_claiming,
    get_timeout_after_unnoticed_death_of_supervisor_is_broken,
    drop_of_pool_ends_workers_inside_initializer,
    kill_of_leader_promotes_follower,
    apply_by_thousand_green_threads_wakes_each_once,
    apply_by_several_os_threads_works,
    join_of_broken_pool_returns,
    apply_async_beside_a_waiter_for_results_is_woken_by_space,
];

/// Calls `case`, and checks that it leaves no child and no descriptor.
pub(crate) fn call(case: fn()) {
    // Creates the descriptors of the hub.
    assert_eq!(Pool::new(1).unwrap().apply(double, (1,)), Ok(2));
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    case();
    assert!(active_children().is_empty(), "children are left: {:?}", active_children());
    let now = descriptors();
    assert!(now <= before + 3, "{now} descriptors are open, and {before} were open before the test");
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

fn apply_runs_function_in_another_process() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.workers(), 2);
    assert_eq!(pool.apply(double, (21,)), Ok(42));
    let worker = pool.apply(pid, (0,)).unwrap();
    assert_ne!(worker, std::process::id());
}

fn apply_takes_functions_of_up_to_four_arguments() {
    let pool = Pool::new(1).unwrap();
    let text = "a".to_owned();
    assert_eq!(pool.apply(|a: u8, b: String| format!("{a}{b}"), (1, text)), Ok("1a".to_owned()));
    assert_eq!(pool.apply(|a: u8, b: u8, c: u8| a + b + c, (1, 2, 3)), Ok(6));
    assert_eq!(pool.apply(|a: u8, b: u8, c: u8, d: u8| [a, b, c, d], (1, 2, 3, 4)), Ok([1, 2, 3, 4]));
}

fn apply_takes_closures_that_capture_nothing() {
    fn is_task<A, F: Task<(A,)>>(_: F) {}
    is_task::<u64, _>(double);
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.apply(|n: Option<u64>| n.map(double), (Some(4),)), Ok(Some(8)));
}

fn map_returns_results_in_order() {
    let pool = Pool::new(3).unwrap();
    let expected: Vec<u64> = (0..1000).map(double).collect();
    assert_eq!(pool.map(double, 0..1000), Ok(expected.clone()));
    for chunk in [1, 7, 1000, 5000] {
        let got = pool.map_async(double, 0..1000, NonZeroUsize::new(chunk)).get();
        assert_eq!(got, Ok(expected.clone()), "in chunks of {chunk}");
    }
}

fn map_and_imap_of_no_items_are_empty() {
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.map(double, []), Ok(vec![]));
    assert!(pool.imap(double, []).next().is_none());
}

fn starmap_takes_tuples() {
    let pool = Pool::new(2).unwrap();
    let got = pool.starmap(|a: u32, b: u32| a * b, (1..=4).map(|n| (n, n + 1)));
    assert_eq!(got, Ok(vec![2, 6, 12, 20]));
}

fn imap_returns_results_in_order() {
    let pool = Pool::new(2).unwrap();
    // The first call takes longest.
    let mut results = pool.imap(nap, [200, 0, 0, 0]);
    assert_eq!(results.next_timeout(Duration::from_millis(10)).map(|_| ()), Err(TimedOut));
    assert_eq!(results.by_ref().map(Result::unwrap).collect::<Vec<_>>(), [200, 0, 0, 0]);
    assert!(results.next().is_none());
}

fn imap_unordered_returns_each_result_once() {
    let pool = Pool::new(2).unwrap();
    let got: Vec<u64> = pool.imap_unordered(nap, [300, 1, 2, 3]).map(Result::unwrap).collect();
    assert_eq!(got.len(), 4);
    assert_ne!(got[0], 300, "{got:?}");
    assert_eq!(got.into_iter().collect::<HashSet<_>>(), HashSet::from([300, 1, 2, 3]));
}

fn imap_takes_only_items_that_workers_can_begin_soon() {
    let taken = std::rc::Rc::new(Cell::new(0));
    let count = taken.clone();
    let pool = Pool::new(2).unwrap();
    let mut results = pool.imap(double, (0..).inspect(move |_| count.set(count.get() + 1)));
    for n in 0..100 {
        assert_eq!(results.next(), Some(Ok(2 * n)));
        assert!(taken.get() <= n + 1 + 4, "{} items were taken at item {n}", taken.get());
    }
}

fn apply_by_many_green_threads_works() {
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

fn apply_blocks_only_its_green_thread() {
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

fn get_timeout_gives_handle_back_until_ready() {
    let pool = Pool::new(1).unwrap();
    let result = pool.apply_async(nap, (200,));
    assert!(!result.is_ready());
    let result = result.get_timeout(Duration::from_millis(5)).expect_err("the task takes longer");
    assert_eq!(result.get_timeout(Duration::from_secs(100)).expect("the task takes less"), Ok(200));
    let result = pool.apply_async(double, (1,));
    while !result.is_ready() {
        greenline::yield_now();
    }
    assert_eq!(result.get(), Ok(2));
}

fn apply_of_panicking_task_is_panicked_and_worker_goes_on() {
    let pool = Pool::new(1).unwrap();
    let before = pool.apply(pid, (0,)).unwrap();
    let failed = pool.apply(|n: u32| -> u32 { panic!("bad number {n}") }, (7,));
    assert_eq!(failed, Err(TaskError::Panicked("bad number 7".to_owned())));
    assert_eq!(pool.apply(pid, (0,)), Ok(before));
    let some = pool.map(|n: u32| if n == 3 { panic!("three") } else { n }, 0..10);
    assert_eq!(some, Err(TaskError::Panicked("three".to_owned())));
}

fn apply_of_exiting_task_is_worker_died() {
    let pool = Pool::new(1).unwrap();
    let failed = pool.apply(|code: i32| -> () { std::process::exit(code) }, (3,));
    assert_eq!(failed, Err(TaskError::WorkerDied { exit: 3 }));
    assert_eq!(failed.unwrap_err().to_string(), "the worker ended with exit code 3 while it ran the task");
    assert_eq!(pool.apply(double, (4,)), Ok(8));
}

fn die(_: u64) -> u64 {
    // SAFETY: `raise` takes no pointers.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!()
}

fn apply_of_killed_worker_is_worker_died_and_worker_is_replaced() {
    let pool = Pool::new(1).unwrap();
    let before = pool.apply(pid, (0,)).unwrap();
    let failed = pool.apply(die, (0,)).unwrap_err();
    assert_eq!(failed, TaskError::WorkerDied { exit: -libc::SIGKILL });
    assert_eq!(failed.to_string(), "the worker was killed by signal 9 while it ran the task");
    let after = pool.apply(pid, (0,)).unwrap();
    assert_ne!(before, after);
}

fn imap_fails_only_the_call_in_which_the_worker_died() {
    let pool = Pool::new(2).unwrap();
    fn odd_ones_die(n: u64) -> u64 {
        if n % 10 == 3 { die(n) } else { n }
    }
    // One chunk: one worker claims all calls, and after its death the next worker claims the rest.
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

fn max_tasks_per_child_replaces_workers() {
    let pool = Pool::builder().workers(1).max_tasks_per_child(3).start().unwrap();
    let pids: Vec<u32> = (0..9).map(|_| pool.apply(pid, (0,)).unwrap()).collect();
    for three in pids.chunks(3) {
        assert!(three.iter().all(|&pid| pid == three[0]), "{pids:?}");
    }
    assert_eq!(pids.iter().collect::<HashSet<_>>().len(), 3, "{pids:?}");
}

thread_local!(static SET: Cell<u32> = const { Cell::new(0) });

fn initializer_runs_in_each_worker() {
    let given = 7;
    let pool = Pool::builder().workers(2).initializer(move || SET.set(given)).start().unwrap();
    let found = pool.map_async(|_: u32| SET.get(), 0..20, NonZeroUsize::new(1)).get().unwrap();
    assert_eq!(found, [7; 20]);
    assert_eq!(SET.get(), 0);
    // The initializer also runs in workers that replace others.
    pool.apply(die, (0,)).unwrap_err();
    pool.apply(die, (0,)).unwrap_err();
    assert_eq!(pool.map(|_: u32| SET.get(), 0..4), Ok(vec![7; 4]));
}

fn apply_after_failed_initializer_is_broken() {
    let pool = Pool::builder().workers(2).initializer(|| panic!("not today")).start().unwrap();
    let error = pool.apply(double, (1,)).unwrap_err();
    assert!(matches!(&error, TaskError::Broken(why) if why.contains("initializer")), "{error:?}");
    assert!(matches!(pool.apply(double, (1,)), Err(TaskError::Broken(_))));
}

fn apply_of_too_large_value_is_too_large() {
    let pool = Pool::builder().workers(1).bytes(8192).start().unwrap();
    let large = vec![1u8; 10_000];
    let error = pool.apply(|bytes: Vec<u8>| bytes.len(), (large,)).unwrap_err();
    assert!(matches!(error, TaskError::TooLarge { size: 10_000.., limit: ..8192 }), "{error:?}");
    let error = pool.apply(|len: usize| vec![1u8; len], (10_000,)).unwrap_err();
    assert!(matches!(error, TaskError::TooLarge { size: 10_000.., limit: ..8192 }), "{error:?}");
    assert_eq!(pool.apply(|len: usize| vec![1u8; len], (8_000,)).map(|bytes| bytes.len()), Ok(8_000));
}

/// A type whose serialization fails.
#[derive(Debug)]
struct Unserializable;

impl serde::Serialize for Unserializable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not serializable"))
    }
}

impl<'de> serde::Deserialize<'de> for Unserializable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Unserializable, D::Error> {
        Ok(Unserializable)
    }
}

fn apply_of_unserializable_value_is_codec_error() {
    let pool = Pool::new(1).unwrap();
    let error = pool.apply(|_: Unserializable| 1, (Unserializable,)).unwrap_err();
    assert!(
        matches!(&error, TaskError::Codec(why) if why.contains("arguments cannot be encoded")),
        "{error:?}"
    );
    let error = pool.apply(|_: u8| Unserializable, (1,)).unwrap_err();
    assert!(matches!(&error, TaskError::Codec(why) if why.contains("result cannot be encoded")), "{error:?}");
    assert_eq!(pool.apply(double, (1,)), Ok(2));
}

fn map_of_large_arguments_and_results_works() {
    let pool = Pool::new(2).unwrap();
    let large = "a to z ".repeat(700_000);
    let uppercase = |mut text: String| {
        text.make_ascii_uppercase();
        text
    };
    let got = pool.map(uppercase, (0..6).map(|_| large.clone())).unwrap();
    let expected = large.to_ascii_uppercase();
    assert_eq!(got.len(), 6);
    assert!(got.into_iter().all(|text| text == expected));
}

fn apply_async_of_more_tasks_than_space_blocks_until_space() {
    let pool = Pool::builder().workers(2).bytes(4096).start().unwrap();
    let results: Vec<_> = (0..2000).map(|n| pool.apply_async(|n: u64| vec![n; 20], (n,))).collect();
    for (n, result) in (0..).zip(results) {
        assert_eq!(result.get(), Ok(vec![n; 20]));
    }
}

fn close_finishes_sent_tasks_and_refuses_new_ones() {
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

fn terminate_fails_unfinished_tasks() {
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

fn get_after_death_of_supervisor_is_broken() {
    let pool = Pool::new(2).unwrap();
    let worker = pool.apply(pid, (0,)).unwrap();
    let never = pool.apply_async(nap, (1_000_000,));
    let supervisor = active_children().pop().unwrap();
    supervisor.kill().unwrap();
    let error = never.get().unwrap_err();
    assert!(matches!(&error, TaskError::Broken(why) if why.contains("supervisor")), "{error:?}");
    assert!(matches!(pool.apply(double, (1,)), Err(TaskError::Broken(_))));
    // The kernel kills the workers, too.
    while std::path::Path::new(&format!("/proc/{worker}")).exists() {
        greenline::sleep(Duration::from_millis(1));
    }
}

fn drop_of_pool_ends_workers() {
    let pool = Pool::new(2).unwrap();
    let worker = pool.apply(pid, (0,)).unwrap();
    let never = pool.apply_async(nap, (1_000_000,));
    drop(pool);
    assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists());
    assert_eq!(never.get(), Err(TaskError::Terminated));
}

fn drop_of_async_result_loses_only_its_result() {
    let pool = Pool::new(1).unwrap();
    for n in 0..100 {
        drop(pool.apply_async(double, (n,)));
    }
    assert_eq!(pool.apply(double, (1,)), Ok(2));
}

fn apply_in_another_process_is_not_ours() {
    let pool = std::rc::Rc::new(Pool::new(1).unwrap());
    let copy = pool.clone();
    let child = greenline_process::Process::new(move || {
        let refused = copy.apply(double, (1,)) == Err(TaskError::NotOurs);
        copy.close();
        copy.terminate();
        drop(copy);
        i32::from(!refused)
    });
    assert_eq!(child.start().unwrap().join().unwrap(), 0);
    assert_eq!(pool.apply(double, (1,)), Ok(2));
}

fn kill_of_waiter_leaves_pool_usable() {
    let pool = std::rc::Rc::new(Pool::new(1).unwrap());
    let copy = pool.clone();
    let waiter = greenline::spawn(move || copy.apply(nap, (100,)));
    greenline::sleep(Duration::from_millis(5));
    waiter.kill();
    assert!(waiter.join().is_err());
    assert_eq!(pool.apply(double, (1,)), Ok(2));
}

/// Kills workers a thousand times at random moments. Each call has one result: its value, or the death of its worker.
fn apply_and_map_lose_no_result_of_workers_killed_at_random() {
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
            // SAFETY: `kill` takes no pointers. The id was a worker's a moment ago, and the kernel does not reuse ids so soon.
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
    assert!(died <= killed, "{died} tasks died, and {killed} workers were killed");
    pool.close();
    pool.join().unwrap();
}

fn new_with_bad_number_of_workers_is_invalid_input() {
    for workers in [0, 5000] {
        let error = Pool::new(workers).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&workers.to_string()), "{error}");
    }
}

fn apply_of_task_with_too_long_panic_message_is_panicked_with_short_one() {
    let pool = Pool::builder().workers(1).bytes(8192).start().unwrap();
    let Err(TaskError::Panicked(text)) =
        pool.apply(|n: usize| -> u8 { std::panic::resume_unwind(Box::new("x".repeat(n))) }, (100_000,))
    else {
        panic!("the result is no panic");
    };
    assert!(text.len() < 1000, "{} bytes", text.len());
    assert_eq!(pool.apply(double, (1,)), Ok(2));
}

/// A number whose decoding fails if it is 3.
#[derive(serde::Serialize)]
struct NotThree(u64);

impl<'de> serde::Deserialize<'de> for NotThree {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<NotThree, D::Error> {
        match u64::deserialize(deserializer)? {
            3 => Err(serde::de::Error::custom("the number is 3")),
            n => Ok(NotThree(n)),
        }
    }
}

fn map_fails_only_the_call_whose_arguments_cannot_be_decoded() {
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

fn apply_while_parent_ignores_sigchld_is_worker_died() {
    // SAFETY: the disposition has no handler.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let pool = Pool::new(2).unwrap();
    let died = pool.apply_async(die, (1,)).get_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(died, Err(TaskError::WorkerDied { exit: -9 }));
    assert_eq!(pool.apply(double, (1,)), Ok(2));
    drop(pool);
    // SAFETY: `before` is the disposition that the first call has returned.
    unsafe { libc::signal(libc::SIGCHLD, before) };
}

fn imap_of_panicking_iterator_loses_no_result() {
    let pool = Pool::new(1).unwrap();
    let mut left = 2;
    let items = (0..6u64).inspect(move |&n| {
        if n == 3 && left > 0 {
            left -= 1;
            panic!("no item this time");
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
    // The iterator itself has lost its fourth item.
    assert_eq!(got, [0, 2, 4, 8, 10]);
}

/// Returns arguments so large that the pool has space for one call at a time.
fn large(n: u64) -> (u64, Vec<u8>) {
    (n, vec![0; 3000])
}

fn nap_with_large_argument(ms: u64, _: Vec<u8>) -> u64 {
    nap(ms)
}

fn imap_next_unwound_by_timeout_loses_no_item() {
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
    assert!(timeouts > 0, "no timeout has fired");
}

fn next_timeout_without_space_times_out() {
    let pool = Pool::builder().workers(1).bytes(4096).start().unwrap();
    // The worker is busy, and the pool has no space.
    let long: Vec<_> =
        (0..2).map(|_| pool.apply_async(nap_with_large_argument, (3_600_000, vec![0; 3000]))).collect();
    let start = Instant::now();
    let mut results = pool.imap(|(n, _): (u64, Vec<u8>)| n, (0..3).map(large));
    assert_eq!(results.next_timeout(Duration::from_millis(10)).unwrap_err(), TimedOut);
    assert_eq!(results.next_timeout(Duration::ZERO).unwrap_err(), TimedOut);
    assert!(start.elapsed() < Duration::from_secs(60));
    drop(long);
}

/// Returns the children of a process.
fn children_of(process: u32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    children.unwrap_or_default().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The chunk is so large that its memory is given back to the kernel when it is claimed, which takes a while.
fn apply_async_loses_no_large_chunk_of_worker_killed_while_claiming() {
    let pool = Pool::builder().workers(1).start().unwrap();
    let supervisor = active_children()[0].pid();
    let large = "x".repeat(4 << 20);
    let mut died = 0;
    for round in 0..28u64 {
        pool.apply(double, (1,)).unwrap();
        let worker = children_of(supervisor)[0];
        let measure = |text: String| {
            nap(100);
            text.len()
        };
        let result = pool.apply_async(measure, (large.clone(),));
        // While the worker claims the chunk, or while it holds it.
        let moment = Duration::from_micros(if round % 7 < 6 { round * 125 } else { round * 6_000 });
        let until = Instant::now() + moment;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        // SAFETY: `kill` takes no pointers. The id is that of a child of the supervisor, or unused.
        unsafe { libc::kill(worker, libc::SIGKILL) };
        match result.get_timeout(Duration::from_secs(60)).expect("the chunk is lost") {
            Ok(len) => assert_eq!(len, large.len()),
            Err(error) => {
                assert!(matches!(error, TaskError::WorkerDied { .. }), "{error}");
                died += 1;
            }
        }
    }
    assert!(died > 0, "no worker was killed while it held the chunk");
}

fn get_timeout_after_unnoticed_death_of_supervisor_is_broken() {
    let pool = Pool::new(2).unwrap();
    (0..5).for_each(|_| assert_eq!(pool.apply(nap, (1,)), Ok(1)));
    // SAFETY: `kill` takes no pointers. The supervisor is a child of this process.
    unsafe { libc::kill(active_children()[0].pid() as i32, libc::SIGKILL) };
    // The hub collects the event of the supervisor's pidfd meanwhile.
    greenline::sleep(Duration::from_millis(50));
    let error = pool
        .apply_async(nap, (1,))
        .get_timeout(Duration::from_secs(60))
        .expect("the waiter has not noticed the death");
    assert!(matches!(error, Err(TaskError::Broken(_))), "{error:?}");
}

fn drop_of_pool_ends_workers_inside_initializer() {
    let start = Instant::now();
    for _ in 0..5 {
        drop(Pool::builder().workers(2).initializer(|| assert_eq!(nap(3_600_000), 0)).start().unwrap());
    }
    assert!(start.elapsed() < Duration::from_secs(60));
}

fn kill_of_leader_promotes_follower() {
    let pool = std::rc::Rc::new(Pool::new(2).unwrap());
    for round in 0..20 {
        let (one, two) = (pool.clone(), pool.clone());
        let leader = greenline::spawn(move || one.apply(nap, (30,)));
        greenline::yield_now();
        let follower = greenline::spawn(move || two.apply(nap, (5 + round % 3,)));
        greenline::yield_now();
        greenline::yield_now();
        leader.kill();
        let done = greenline::timeout(Duration::from_secs(60), || follower.join())
            .expect("the follower was not woken");
        assert_eq!(done.unwrap(), Ok(5 + round % 3));
        assert!(leader.join().is_err());
    }
}

fn apply_by_thousand_green_threads_wakes_each_once() {
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
    // Each green thread is switched to and from at its start and at its result. The leader may be switched to for each
    // message.
    assert!(switches < 20_000, "{switches} switches for a thousand results");
}

fn apply_by_several_os_threads_works() {
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

fn join_of_broken_pool_returns() {
    let pool = Pool::builder().workers(1).initializer(|| std::process::exit(3)).start().unwrap();
    assert!(matches!(pool.apply(double, (1,)), Err(TaskError::Broken(_))));
    pool.join().unwrap();
}

fn apply_async_beside_a_waiter_for_results_is_woken_by_space() {
    let pool = std::rc::Rc::new(Pool::builder().workers(2).bytes(4096).start().unwrap());
    let copy = pool.clone();
    // One worker is busy for ever, so its result wakes no waiter.
    let waits = greenline::spawn(move || copy.apply(nap, (3_600_000,)));
    greenline::sleep(Duration::from_millis(50));
    let results = greenline::timeout(Duration::from_secs(60), || {
        let send = |_| pool.apply_async(nap_with_large_argument, (20, vec![0; 3000]));
        (0..5).map(send).collect::<Vec<_>>()
    });
    for result in results.expect("the waiter for space was not woken") {
        assert_eq!(result.get(), Ok(20));
    }
    waits.kill();
    assert!(waits.join().is_err());
}
