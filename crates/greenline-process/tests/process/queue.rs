//! Queues between processes: order, bounds, closing, messages of all sizes, and killed users; patched and unpatched.

use crate::support::kill_stress::{KillStress, shared_mappings, shared_memory};
use crate::support::proc_fs::open_eventfds;
use crate::support::random::Random;
use crate::support::subprocess::Case;
use greenline::{join_all, join_everything, sleep, spawn, thread, timeout, yield_now};
use greenline_process::{GetError, Process, PutError, Queue};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(5);

pub(crate) const ALONE: &[Case] = &[
    ("get_returns_messages_in_order_of_put", order),
    ("get_by_several_processes_returns_each_message_once", each_once),
    ("put_waits_while_the_queue_is_full", bounded),
    ("try_get_after_put_finds_the_message", there),
    ("get_after_close_drains_the_queue", closed),
    ("close_wakes_waiting_put_and_get", closing),
    ("put_of_too_large_a_value_is_an_error", too_large),
    ("put_and_get_with_codec_failure_are_errors", codec),
    ("get_of_large_messages_frees_their_memory", large),
    ("put_and_get_of_all_sizes_go_round_the_ring", around),
    ("put_and_get_of_a_killed_green_thread_change_nothing", killed_green),
    ("get_by_a_hundred_green_threads_lets_others_run", many_green),
    ("put_and_get_by_os_threads_work", os_threads),
    ("join_before_get_does_not_deadlock", join_before_drain),
    ("get_without_descriptors_ends", no_descriptors),
    ("put_before_an_immediate_exit_is_stored", leaves),
    ("put_and_get_of_killed_processes_lose_nothing", || killed_processes(1_000)),
    ("get_of_a_killed_process_wakes_waiters_for_room", killed_getters_of_much),
    ("drop_leaves_no_descriptors_and_mappings", nothing_left),
    ("put_and_get_without_waiters_make_no_system_call", no_system_calls),
];

fn order() {
    let queue = Queue::new().unwrap();
    let writer = queue.clone();
    let child = Process::new(move || {
        for number in 0..20_000u32 {
            writer.put((number, number.to_string())).unwrap();
        }
        writer.close();
    });
    let child = child.start().unwrap();
    for (number, message) in (&queue).into_iter().enumerate() {
        assert_eq!(message.unwrap(), (number as u32, number.to_string()));
    }
    assert_eq!(queue.get(), Err(GetError::Closed));
    assert_eq!(child.join().unwrap(), 0);
}

fn each_once() {
    const EACH: u32 = 2_000;
    let (numbers, seen) = (Queue::bounded(50).unwrap(), Queue::new().unwrap());
    let putters: Vec<_> = (0..3u32)
        .map(|by| {
            let numbers = numbers.clone();
            Process::new(move || (0..EACH).for_each(|n| numbers.put((by, n)).unwrap())).start().unwrap()
        })
        .collect();
    let getters: Vec<_> = (0..2u32)
        .map(|to| {
            let (numbers, seen) = (numbers.clone(), seen.clone());
            let body = move || {
                for message in &numbers {
                    let (by, n): (u32, u32) = message.unwrap();
                    seen.put((to, by, n)).unwrap();
                }
            };
            Process::new(body).start().unwrap()
        })
        .collect();
    putters.iter().for_each(|putter| assert_eq!(putter.join().unwrap(), 0));
    numbers.close();
    getters.iter().for_each(|getter| assert_eq!(getter.join().unwrap(), 0));
    seen.close();
    let mut last = HashMap::new();
    let mut all = Vec::new();
    for message in &seen {
        let (to, by, n): (u32, u32, u32) = message.unwrap();
        // Each getter sees the messages of each putter in order.
        assert!(last.insert((to, by), n).is_none_or(|before| before < n));
        all.push((by, n));
    }
    all.sort();
    assert!(all.into_iter().eq((0..3).flat_map(|by| (0..EACH).map(move |n| (by, n)))));
}

fn bounded() {
    let queue = Queue::bounded(2).unwrap();
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    assert_eq!(queue.try_put(3), Err(PutError::Full(3)));
    let start = Instant::now();
    assert_eq!(queue.put_timeout(3, SOON), Err(PutError::TimedOut(3)));
    assert!(start.elapsed() >= SOON);
    let writer = queue.clone();
    let child = Process::new(move || writer.put(3).unwrap()).start().unwrap();
    assert_eq!(child.join_timeout(SOON).unwrap(), None);
    assert_eq!(queue.len(), 2);
    assert_eq!(queue.get(), Ok(1));
    assert_eq!(child.join().unwrap(), 0);
    assert_eq!((queue.get(), queue.get(), queue.try_get()), (Ok(2), Ok(3), Err(GetError::Empty)));
    assert_eq!(queue.get_timeout(SOON), Err(GetError::TimedOut));
    assert_eq!(queue.get_timeout(Duration::ZERO), Err(GetError::TimedOut));
}

fn there() {
    let queue = Queue::new().unwrap();
    assert!(queue.is_empty());
    queue.put("x".to_string()).unwrap();
    assert!(!queue.is_empty());
    assert_eq!((queue.len(), queue.try_get()), (1, Ok("x".to_string())));
    assert!(queue.is_empty());
    assert_eq!(format!("{queue:?}"), "Queue { len: 0, closed: false }");
    // A value that is encoded to no bytes is a message as well.
    let queue = Queue::new().unwrap();
    (0..3).for_each(|_| queue.put(()).unwrap());
    assert_eq!(queue.len(), 3);
    (0..3).for_each(|_| queue.try_get().unwrap());
}

fn closed() {
    let queue = Queue::new().unwrap();
    queue.put(1).unwrap();
    assert!(!queue.is_closed());
    queue.close();
    queue.close();
    assert!(queue.is_closed());
    assert_eq!(queue.put(2), Err(PutError::Closed(2)));
    assert_eq!(queue.try_put(2), Err(PutError::Closed(2)));
    assert_eq!(queue.put_timeout(2, SOON).unwrap_err().into_inner(), 2);
    assert_eq!((queue.get(), queue.get()), (Ok(1), Err(GetError::Closed)));
    assert_eq!((queue.try_get(), queue.get_timeout(SOON)), (Err(GetError::Closed), Err(GetError::Closed)));
    assert_eq!(queue.iter().count(), 0);
}

fn closing() {
    let (empty, full) = (Queue::<u8>::new().unwrap(), Queue::bounded(1).unwrap());
    full.put(1).unwrap();
    let inside = (empty.clone(), full.clone());
    let child = Process::new(move || {
        let (empty, full) = inside;
        let getter = spawn(move || empty.get());
        let putter = spawn(move || full.put(2));
        assert_eq!(getter.join().unwrap(), Err(GetError::Closed));
        assert_eq!(putter.join().unwrap(), Err(PutError::Closed(2)));
    });
    let child = child.start().unwrap();
    let getter = spawn({
        let empty = empty.clone();
        move || empty.get()
    });
    assert_eq!(child.join_timeout(Duration::from_millis(50)).unwrap(), None);
    empty.close();
    full.close();
    assert_eq!(child.join().unwrap(), 0);
    assert_eq!(getter.join().unwrap(), Err(GetError::Closed));
}

fn too_large() {
    let queue = Queue::with_limits(10, 20).unwrap();
    // The length of the text takes a byte.
    queue.put("x".repeat(15)).unwrap();
    queue.get().unwrap();
    let text = "x".repeat(16);
    let error = queue.put(text.clone()).unwrap_err();
    assert_eq!(error, PutError::TooLarge { value: text.clone(), size: 17, limit: 16 });
    assert_eq!(error.to_string(), "a message of 17 bytes is too large for a queue that takes up to 16");
    assert_eq!(error.into_inner(), text);
    // Several of them fit only as long as there is room.
    queue.put("x".repeat(10)).unwrap();
    assert!(matches!(queue.try_put("x".into()), Err(PutError::Full(_))));
    queue.put("".into()).unwrap();
    let none = Queue::with_limits(1, 3).unwrap();
    assert_eq!(none.put(()), Err(PutError::TooLarge { value: (), size: 0, limit: 0 }));
}

/// A number whose odd values cannot be encoded, and whose values over 100 cannot be decoded.
#[derive(Debug, PartialEq, Clone)]
struct Fussy(u8);

impl Serialize for Fussy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 2 == 1 {
            return Err(serde::ser::Error::custom("odd"));
        }
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fussy, D::Error> {
        let number = u8::deserialize(deserializer)?;
        if number > 100 { Err(serde::de::Error::custom("large")) } else { Ok(Fussy(number)) }
    }
}

fn codec() {
    let queue = Queue::bounded(1).unwrap();
    let error = queue.put(Fussy(1)).unwrap_err();
    assert!(error.to_string().starts_with("cannot encode a value of type process::queue::Fussy"), "{error}");
    assert_eq!(error.into_inner(), Fussy(1));
    assert!(queue.is_empty());
    queue.put(Fussy(102)).unwrap();
    assert!(matches!(queue.get(), Err(GetError::Failed(_))));
    // The message is lost, and its place is free.
    queue.try_put(Fussy(2)).unwrap();
    assert_eq!(queue.get(), Ok(Fussy(2)));
}

fn large() {
    let queue = Queue::new().unwrap();
    let before = shared_memory();
    let writer = queue.clone();
    let child = Process::new(move || {
        for number in 0..10u8 {
            writer.put(number.to_string().repeat(5_000_000)).unwrap();
        }
    });
    let child = child.start().unwrap();
    assert_eq!(child.join().unwrap(), 0);
    assert!(queue.len() == 10);
    for number in 0..10u8 {
        assert!(queue.get().unwrap() == number.to_string().repeat(5_000_000));
    }
    let after = shared_memory();
    assert!(after < before + (2 << 20), "{before} {after}");
    // The queue goes on.
    queue.put("7".repeat(3_000_000)).unwrap();
    assert!(queue.get().unwrap() == "7".repeat(3_000_000));
}

fn around() {
    let queue = Queue::with_limits(usize::MAX, 1_000).unwrap();
    let sizes = || {
        let mut random = Random::new(7);
        (0..20_000u32).map(move |n| (n, (random.below(if n % 10 == 0 { 900 } else { 60 })) as usize))
    };
    let writer = queue.clone();
    let child = Process::new(move || {
        for (n, size) in sizes() {
            writer.put(vec![n as u8; size]).unwrap();
        }
    });
    let child = child.start().unwrap();
    for (n, size) in sizes() {
        assert_eq!(queue.get().unwrap(), vec![n as u8; size]);
    }
    assert_eq!(child.join().unwrap(), 0);
}

fn killed_green() {
    let queue = Queue::bounded(1).unwrap();
    let getter = |queue: &Queue<u32>| {
        let queue = queue.clone();
        spawn(move || queue.get())
    };
    let (first, second) = (getter(&queue), getter(&queue));
    yield_now();
    first.kill();
    let writer = queue.clone();
    let child = Process::new(move || writer.put(1).unwrap()).start().unwrap();
    assert_eq!(second.join().unwrap(), Ok(1));
    assert!(first.join().is_err());
    child.join().unwrap();
    assert!(timeout(SOON, || queue.get()).is_err());
    queue.put(2).unwrap();
    assert!(timeout(SOON, || queue.put(3)).is_err());
    assert_eq!((queue.get(), queue.try_get()), (Ok(2), Err(GetError::Empty)));
}

fn many_green() {
    let (queue, answers) = (Queue::new().unwrap(), Queue::new().unwrap());
    let inside = (queue.clone(), answers.clone());
    let child = Process::new(move || {
        let (queue, answers) = inside;
        let greens = (0..100).map(|_| {
            let (queue, answers) = (queue.clone(), answers.clone());
            spawn(move || answers.put(queue.get().unwrap()).unwrap())
        });
        join_all(greens).into_iter().for_each(|green| green.unwrap());
    });
    let child = child.start().unwrap();
    let got = Rc::new(Cell::new(0));
    for _ in 0..50 {
        let (answers, got) = (answers.clone(), got.clone());
        spawn(move || {
            for _ in 0..2 {
                let number = answers.get().unwrap();
                got.set(got.get() + number);
            }
        });
    }
    let ticks = Rc::new(Cell::new(0));
    let ticking = ticks.clone();
    let ticker = spawn(move || {
        loop {
            ticking.set(ticking.get() + 1);
            sleep(Duration::from_millis(1));
        }
    });
    while ticks.get() < 10 {
        sleep(Duration::from_millis(1));
    }
    assert_eq!(got.get(), 0);
    (0..100u32).for_each(|number| queue.put(number).unwrap());
    assert_eq!(child.join().unwrap(), 0);
    ticker.kill();
    join_everything();
    assert_eq!(got.get(), (0..100).sum::<u32>());
}

fn os_threads() {
    let (queue, answers) = (Queue::bounded(3).unwrap(), Queue::new().unwrap());
    let writer = queue.clone();
    let child = Process::new(move || {
        (0..3_000u32).for_each(|number| writer.put(number).unwrap());
        writer.close();
    });
    let child = child.start().unwrap();
    let getters: Vec<_> = (0..3)
        .map(|_| {
            let (queue, answers) = (queue.clone(), answers.clone());
            let body = move || queue.iter().for_each(|number| answers.put(number.unwrap()).unwrap());
            thread::Thread::new(body).start().unwrap()
        })
        .collect();
    let green = spawn(move || queue.iter().map(Result::unwrap).collect::<Vec<u32>>());
    getters.into_iter().for_each(|getter| getter.join().unwrap());
    answers.close();
    let mut all: Vec<u32> = answers.iter().map(Result::unwrap).chain(green.join().unwrap()).collect();
    all.sort();
    assert!(all.into_iter().eq(0..3_000));
    assert_eq!(child.join().unwrap(), 0);
}

fn join_before_drain() {
    let queue = Queue::new().unwrap();
    let writer = queue.clone();
    let child = Process::new(move || (0..1_000u32).for_each(|n| writer.put(vec![n; 1_000]).unwrap()));
    assert_eq!(child.start().unwrap().join().unwrap(), 0);
    (0..1_000).for_each(|n| assert_eq!(queue.get(), Ok(vec![n; 1_000])));
}

fn no_descriptors() {
    let (queue, answers) = (Queue::new().unwrap(), Queue::new().unwrap());
    let inside = (queue.clone(), answers.clone());
    let child = Process::new(move || {
        let (queue, answers) = inside;
        let none = libc::rlimit { rlim_cur: 3, rlim_max: 3 };
        // SAFETY: the kernel only reads the limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) }, 0);
        assert!(std::fs::File::open("/").is_err());
        assert_eq!(queue.get_timeout(SOON), Err(GetError::TimedOut));
        answers.put(0).unwrap();
        let greens = (0..2).map(|_| {
            let (queue, answers) = (queue.clone(), answers.clone());
            spawn(move || answers.put(queue.get().unwrap()).unwrap())
        });
        join_all(greens).into_iter().for_each(Result::unwrap);
    });
    let child = child.start().unwrap();
    assert_eq!(answers.get(), Ok(0));
    sleep(SOON);
    (1..=2).for_each(|number| queue.put(number).unwrap());
    assert_eq!(child.join().unwrap(), 0);
    assert_eq!((answers.get(), answers.get()), (Ok(1), Ok(2)));
}

fn leaves() {
    let queue = Queue::new().unwrap();
    for round in 0..50 {
        let writer = queue.clone();
        let child = Process::new(move || {
            writer.put(round).unwrap();
            // SAFETY: `_exit` has no preconditions.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        });
        let child = child.start().unwrap();
        assert_eq!(queue.get(), Ok(round));
        assert_eq!(child.join().unwrap(), -9);
    }
}

/// Two processes put, and two get and pass on. Every moment one of them is killed and replaced.
fn killed_processes(kills: u32) {
    let (numbers, seen) = (Queue::bounded(20).unwrap(), Queue::bounded(20).unwrap());
    // The hub opens its own descriptors when it first waits.
    assert_eq!(seen.get_timeout(Duration::ZERO), Err(GetError::TimedOut));
    let before = (open_eventfds(), shared_mappings());
    let reader = spawn({
        let seen: Queue<(u32, u32, u32)> = seen.clone();
        move || seen.iter().map(Result::unwrap).collect::<Vec<_>>()
    });
    let inside = (numbers.clone(), seen.clone());
    let mut stress = KillStress::new(4, move |place, life| {
        let (numbers, seen): &(Queue<(u32, u32)>, Queue<(u32, u32, u32)>) = &inside;
        if place < 2 {
            for n in 0.. {
                numbers.put((life, n)).unwrap();
            }
        }
        for message in numbers {
            let (by, n) = message.unwrap();
            seen.put((life, by, n)).unwrap();
        }
    });
    let mut killed_getters = 0;
    for _ in 0..kills {
        killed_getters += u32::from(stress.kill_one() >= 2);
    }
    // The putters end first, then the queue is drained.
    stress.kill(0);
    stress.kill(1);
    numbers.close();
    stress.join(2);
    stress.join(3);
    seen.close();
    let all = reader.join().unwrap();
    assert!(numbers.is_empty() && seen.is_empty());
    assert_eq!(before, (open_eventfds(), shared_mappings()));

    let mut last = HashMap::new();
    let mut of_putter: HashMap<u32, Vec<u32>> = HashMap::new();
    for (to, by, n) in all {
        assert!(last.insert((to, by), n).is_none_or(|before| before < n), "{to} had {by}'s in another order");
        of_putter.entry(by).or_default().push(n);
    }
    let mut lost = 0;
    for (by, mut numbers) in of_putter {
        numbers.sort();
        assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "something of {by} was got twice");
        lost += numbers[numbers.len() - 1] + 1 - numbers.len() as u32;
    }
    // A getter that is killed between its get and its put has taken one message.
    assert!(lost <= killed_getters, "{lost} lost, {killed_getters} getters killed");
}

fn nothing_left() {
    let before = (open_eventfds(), shared_mappings());
    let queues: RefCell<Vec<Queue<u32>>> = RefCell::default();
    for _ in 0..20 {
        let queue = Queue::new().unwrap();
        queue.put(1).unwrap();
        let getter = spawn({
            let queue = queue.clone();
            move || (queue.get(), queue.get_timeout(Duration::from_millis(1)))
        });
        assert_eq!(getter.join().unwrap(), (Ok(1), Err(GetError::TimedOut)));
        queues.borrow_mut().push(queue);
    }
    assert!(shared_mappings() > before.1);
    // The hub has opened a few of its own meanwhile.
    let hubs = {
        let used = open_eventfds();
        queues.take();
        used - open_eventfds()
    };
    assert_eq!((hubs, shared_mappings()), (2 * 20, before.1));
}

fn no_system_calls() {
    let queue = Queue::new().unwrap();
    assert!(crate::support::kill_stress::makes_no_system_calls(|| {
        for number in 0..100u32 {
            queue.put((number, 1)).unwrap();
            assert_eq!(queue.get(), Ok((number, 1)));
            assert_eq!(queue.try_get(), Err(GetError::Empty));
        }
    }));
    assert!(!crate::support::kill_stress::makes_no_system_calls(|| {
        let _ = std::process::id();
    }));
}

/// Freeing the memory of a large message takes long. A process that is killed meanwhile has taken the message, and those
/// that wait for room must be woken.
fn killed_getters_of_much() {
    let queue = Queue::<String>::bounded(1).unwrap();
    let writer = queue.clone();
    let writer = spawn(move || {
        let much = "x".repeat(6 << 20);
        while writer.put(much.clone()).is_ok() {
            yield_now();
        }
    });
    let mut random = 7u64;
    for _ in 0..24 {
        let (reader, began) = (queue.clone(), Queue::new().unwrap());
        let has_begun = began.clone();
        let child = Process::new(move || {
            has_begun.put(()).unwrap();
            while reader.get().is_ok() {}
        });
        let child = child.start().unwrap();
        began.get().unwrap();
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        sleep(Duration::from_micros(random >> 33 & 0x7fff));
        child.kill().unwrap();
        child.join().unwrap();
        let begun = Instant::now();
        while queue.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "there is room, and nobody was told");
            sleep(Duration::from_millis(1));
        }
    }
    queue.close();
    writer.join().unwrap();
}
