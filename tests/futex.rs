//! Raw futexes under the patch: what the system call answers, who wakes whom, and in which order, as the kernel
//! has it. Green threads of one hub or of several, and OS threads without one, wait for the same words.

#![cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]

use greenline::thread::Thread;
use greenline::*;
use std::cell::UnsafeCell;
use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PRIVATE: i32 = libc::FUTEX_PRIVATE_FLAG;
const WAIT: i32 = libc::FUTEX_WAIT | PRIVATE;
const WAIT_BITSET: i32 = libc::FUTEX_WAIT_BITSET | PRIVATE;
const WAKE: i32 = libc::FUTEX_WAKE | PRIVATE;
const WAKE_BITSET: i32 = libc::FUTEX_WAKE_BITSET | PRIVATE;
const REQUEUE: i32 = libc::FUTEX_REQUEUE | PRIVATE;
const CMP_REQUEUE: i32 = libc::FUTEX_CMP_REQUEUE | PRIVATE;
const ALL: u32 = i32::MAX as u32;
/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// What the system call answers, or the error's number.
type Answer = Result<u32, i32>;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn call(word: &AtomicU32, operation: i32, value: u32, fourth: usize, other: &AtomicU32, bits: u32) -> Answer {
    let (word, other) = (word.as_ptr(), other.as_ptr());
    // SAFETY: words that live; `fourth` is a number, or the address of a time, or null.
    let answer = unsafe { libc::syscall(libc::SYS_futex, word, operation, value, fourth, other, bits) };
    // SAFETY: the address is this thread's own.
    if answer < 0 { Err(unsafe { *libc::__errno_location() }) } else { Ok(answer as u32) }
}

fn wait_until(
    word: &AtomicU32,
    operation: i32,
    value: u32,
    time: Option<&libc::timespec>,
    bits: u32,
) -> Answer {
    call(word, operation, value, time.map_or(null(), |time| &raw const *time) as usize, word, bits)
}

fn wait(word: &AtomicU32, value: u32) -> Answer {
    wait_until(word, WAIT, value, None, 0)
}

fn wake(word: &AtomicU32, most: u32) -> Answer {
    call(word, WAKE, most, 0, word, 0)
}

/// How many wait for `word`, of either kind: a requeue to where they are disturbs nobody, and counts.
fn waiting(word: &AtomicU32) -> u32 {
    call(word, REQUEUE, 0, ALL as usize, word, 0).unwrap()
}

/// Lets the others run until it is so.
#[track_caller]
fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < LONG, "it never came to pass");
        std::thread::yield_now();
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec { tv_sec: duration.as_secs() as _, tv_nsec: duration.subsec_nanos() as _ }
}

fn now(clock: libc::clockid_t) -> Duration {
    let mut now = timespec(Duration::ZERO);
    // SAFETY: the time is ours.
    unsafe { libc::clock_gettime(clock, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

type Body = Box<dyn FnOnce() + Send>;
type Joins = Box<dyn FnOnce()>;

/// A thread of either kind. What it answers joins it.
fn start(os_thread: bool, body: impl FnOnce() + Send + 'static) -> Joins {
    if os_thread {
        let thread = Thread::new(body).start().unwrap();
        Box::new(move || thread.join().unwrap())
    } else {
        let thread = spawn(body);
        Box::new(move || thread.join().unwrap())
    }
}

/// Those that wait for words, in the order in which they began.
struct Crew {
    os_threads: bool,
    joins: Vec<Joins>,
    /// Who went on, in which order.
    order: Arc<Mutex<Vec<usize>>>,
}

impl Crew {
    fn new(os_threads: bool) -> Crew {
        Crew { os_threads, joins: Vec::new(), order: Arc::default() }
    }

    /// Another that waits for `word`, which is 0, and does by now.
    fn wait(&mut self, word: &Arc<AtomicU32>, bits: u32) {
        let before = waiting(word);
        let (inside, order, number) = (word.clone(), self.order.clone(), self.joins.len());
        self.joins.push(start(self.os_threads, move || {
            assert_eq!(wait_until(&inside, WAIT_BITSET, 0, None, bits), Ok(0));
            order.lock().unwrap().push(number);
        }));
        until(|| waiting(word) == before + 1);
    }

    /// The order, once so many went on.
    fn order(&self, len: usize) -> Vec<usize> {
        until(|| self.order.lock().unwrap().len() >= len);
        self.order.lock().unwrap().clone()
    }

    /// All have gone on.
    fn join(self) {
        self.joins.into_iter().for_each(|join| join());
    }
}

/// Wakes in every way, and notes all answers.
fn wakes(os_threads: bool) -> Vec<(&'static str, Answer)> {
    let mut answers = Vec::new();
    let words: [Arc<AtomicU32>; 2] = Default::default();
    let [a, b] = &words;
    let mut note = |what, answer| answers.push((what, answer));

    let mut crew = Crew::new(os_threads);
    (0..4).for_each(|_| crew.wait(a, u32::MAX));
    note("wake 2 of 4", wake(a, 2));
    note("2 are left", Ok(waiting(a)));
    note("wake 0", wake(a, 0));
    note("wake 10", wake(a, 10));
    note("wake 1 of none", wake(a, 1));
    crew.wait(a, u32::MAX);
    crew.wait(a, u32::MAX);
    note("wake -1", wake(a, u32::MAX));
    note("wake all", wake(a, ALL));
    crew.join();

    let mut crew = Crew::new(os_threads);
    [1, 2, 4, 3, 1 << 31].into_iter().for_each(|bits| crew.wait(a, bits));
    note("bits that nobody has", call(a, WAKE_BITSET, ALL, 0, a, 8));
    note("no bits", call(a, WAKE_BITSET, ALL, 0, a, 0));
    note("one with 2", call(a, WAKE_BITSET, 1, 0, a, 2));
    crew.order(1);
    note("all with 1", call(a, WAKE_BITSET, ALL, 0, a, 1));
    note("all with 1 again", call(a, WAKE_BITSET, ALL, 0, a, 1));
    note("the highest", call(a, WAKE_BITSET, ALL, 0, a, 1 << 31));
    crew.order(4);
    note("any", wake(a, ALL));
    let order = crew.order(5);
    assert_eq!(order[0], 1, "the first that has the bit");
    assert_eq!(order[4], 2, "who has none of them goes last");
    crew.join();

    let mut crew = Crew::new(os_threads);
    (0..6).for_each(|_| crew.wait(a, u32::MAX));
    note("requeue: wake 1, move 2", call(a, REQUEUE, 1, 2, b, 0));
    crew.order(1);
    note("where they were", Ok(waiting(a)));
    note("where they are", Ok(waiting(b)));
    note("requeue: wake 0, move 1", call(a, REQUEUE, 0, 1, b, 0));
    note("requeue: wake 0, move 0", call(a, REQUEUE, 0, 0, b, 0));
    note("requeue: wake 1, move 0", call(a, REQUEUE, 1, 0, b, 0));
    note("changed", call(a, CMP_REQUEUE, 1, ALL as usize, b, 1));
    note("not changed", call(a, CMP_REQUEUE, 0, ALL as usize, b, 0));
    note("nobody is left", call(a, CMP_REQUEUE, 1, ALL as usize, b, 0));
    note("a negative count", call(a, REQUEUE, u32::MAX, 1, b, 0));
    note("another", call(a, CMP_REQUEUE, 1, u32::MAX as usize, b, 0));
    note("wake there", wake(a, ALL));
    crew.order(2);
    note("wake the first there", wake(b, 1));
    crew.order(3);
    note("to where they are: wake 1, count 2", call(b, REQUEUE, 1, 2, b, 0));
    crew.order(4);
    note("wake here", wake(b, ALL));
    assert_eq!(crew.order(6)[..4], [0, 4, 1, 2]);
    crew.join();
    answers
}

#[test]
fn counts_are_as_the_kernel_has_them() {
    greenline::patch::all();
    let kernel = wakes(true);
    assert_eq!(wakes(false), kernel);
    // And on a green thread.
    assert_eq!(spawn(|| wakes(false)).join().unwrap(), kernel);
    let expected = ["wake 2 of 4", "wake 10", "all with 1", "requeue: wake 1, move 2", "not changed"];
    let answers = expected.map(|what| kernel.iter().find(|(name, _)| *name == what).unwrap().1);
    assert_eq!(answers, [Ok(2), Ok(1), Ok(2), Ok(3), Ok(1)]);
}

#[test]
fn the_longest_waiting_is_woken_first() {
    greenline::patch::all();
    for os_threads in [true, false] {
        let word = Arc::new(AtomicU32::new(0));
        let mut crew = Crew::new(os_threads);
        (0..8).for_each(|_| crew.wait(&word, u32::MAX));
        for n in 1..=8 {
            assert_eq!(wake(&word, 1), Ok(1));
            assert_eq!(crew.order(n), Vec::from_iter(0..n), "OS threads: {os_threads}");
        }
        crew.join();
    }
    // Green threads: also those that are woken together.
    let word = Arc::new(AtomicU32::new(0));
    let mut crew = Crew::new(false);
    (0..8).for_each(|_| crew.wait(&word, u32::MAX));
    assert_eq!(wake(&word, ALL), Ok(8));
    assert_eq!(crew.order(8), Vec::from_iter(0..8));
    crew.join();
}

/// What a wait answers that does not have to wait, or waits in vain; and whether it took as long as `least`.
fn refusals() -> Vec<(&'static str, Answer, bool)> {
    let word = AtomicU32::new(7);
    let mut answers = Vec::new();
    let mut note = |what, least, wait: &dyn Fn() -> Answer| {
        let start = Instant::now();
        let answer = wait();
        let took = start.elapsed();
        assert!(took < LONG, "{what}: {took:?}");
        answers.push((what, answer, took >= least));
    };
    let zero = Duration::ZERO;
    let bad = |tv_sec, tv_nsec| libc::timespec { tv_sec, tv_nsec };
    let at = |clock, ahead| timespec(now(clock) + ahead);
    let realtime = libc::FUTEX_CLOCK_REALTIME;
    let any = u32::MAX;

    note("changed", zero, &|| wait(&word, 6));
    note("changed, with bits", zero, &|| wait_until(&word, WAIT_BITSET, 6, None, any));
    note("changed, and a time", zero, &|| wait_until(&word, WAIT, 6, Some(&timespec(ms(1))), 0));
    note("changed, shared", zero, &|| wait_until(&word, libc::FUTEX_WAIT, 6, None, 0));
    note("relative", ms(30), &|| wait_until(&word, WAIT, 7, Some(&timespec(ms(30))), 0));
    note("relative, shared", ms(30), &|| wait_until(&word, libc::FUTEX_WAIT, 7, Some(&timespec(ms(30))), 0));
    note("relative, of no length", zero, &|| wait_until(&word, WAIT, 7, Some(&bad(0, 0)), 0));
    note("monotonic", ms(30), &|| {
        wait_until(&word, WAIT_BITSET, 7, Some(&at(libc::CLOCK_MONOTONIC, ms(31))), any)
    });
    note("realtime", ms(30), &|| {
        wait_until(&word, WAIT_BITSET | realtime, 7, Some(&at(libc::CLOCK_REALTIME, ms(31))), any)
    });
    note("monotonic, past", zero, &|| {
        wait_until(&word, WAIT_BITSET, 7, Some(&at(libc::CLOCK_MONOTONIC, zero)), any)
    });
    note("monotonic, its beginning", zero, &|| wait_until(&word, WAIT_BITSET, 7, Some(&bad(0, 0)), any));
    note("realtime, past", zero, &|| {
        wait_until(&word, WAIT_BITSET | realtime, 7, Some(&at(libc::CLOCK_MONOTONIC, zero)), any)
    });
    note("past, and changed", zero, &|| wait_until(&word, WAIT_BITSET, 6, Some(&bad(1, 0)), any));
    let times = [(0, 1_000_000_000), (0, -1), (-1, 0), (1, i64::MAX), (i64::MIN, 0)];
    for time in times {
        let time = bad(time.0, time.1);
        note("bad, relative", zero, &|| wait_until(&word, WAIT, 7, Some(&time), 0));
        note("bad, absolute", zero, &|| wait_until(&word, WAIT_BITSET, 7, Some(&time), any));
        note("bad, realtime", zero, &|| wait_until(&word, WAIT_BITSET | realtime, 7, Some(&time), any));
        note("bad, and changed", zero, &|| wait_until(&word, WAIT, 6, Some(&time), 0));
    }
    note("no bits", zero, &|| wait_until(&word, WAIT_BITSET, 7, None, 0));
    note("no bits, and changed", zero, &|| wait_until(&word, WAIT_BITSET, 6, None, 0));
    note("not aligned", zero, &|| {
        let at = word.as_ptr() as usize + 2;
        // SAFETY: the kernel looks at the address, and refuses it.
        let answer = unsafe { libc::syscall(libc::SYS_futex, at, WAIT, 7, 0usize) };
        // SAFETY: the address is this thread's own.
        if answer < 0 { Err(unsafe { *libc::__errno_location() }) } else { Ok(0) }
    });
    note("nowhere", zero, &|| {
        // SAFETY: as above.
        let answer = unsafe { libc::syscall(libc::SYS_futex, null::<u32>(), WAIT, 7, 0usize) };
        // SAFETY: as above.
        if answer < 0 { Err(unsafe { *libc::__errno_location() }) } else { Ok(0) }
    });
    note("no such operation", zero, &|| call(&word, 99, 7, 0, &word, 0));
    answers
}

#[test]
fn refusals_and_timeouts_are_as_the_kernel_has_them() {
    greenline::patch::all();
    let kernel = Thread::new(refusals).start().unwrap().join().unwrap();
    assert_eq!(spawn(refusals).join().unwrap(), kernel, "on a green thread");
    assert_eq!(refusals(), kernel, "on the root");
    let answer =
        |what| kernel.iter().find(|(name, ..)| *name == what).map(|(_, answer, long)| (*answer, *long));
    for what in ["relative", "monotonic", "realtime"] {
        assert_eq!(answer(what), Some((Err(libc::ETIMEDOUT), true)), "{what}");
    }
    assert_eq!(answer("changed").unwrap().0, Err(libc::EAGAIN));
    assert_eq!(answer("bad, relative").unwrap().0, Err(libc::EINVAL));
    assert_eq!(answer("no bits").unwrap().0, Err(libc::EINVAL));
}

#[test]
fn a_wait_with_a_time_lets_the_others_run() {
    greenline::patch::all();
    let start = Instant::now();
    let naps = (0..20).map(|n| {
        spawn(move || {
            let word = AtomicU32::new(0);
            let operation = if n % 2 == 0 { WAIT } else { libc::FUTEX_WAIT };
            wait_until(&word, operation, 0, Some(&timespec(ms(100))), 0)
        })
    });
    for answer in join_all(naps) {
        assert_eq!(answer.unwrap(), Err(libc::ETIMEDOUT));
    }
    let took = start.elapsed();
    assert!(took >= ms(100) && took < ms(1500), "{took:?}");
}

/// A hub on an OS thread of its own, whose `count` green threads do `body`.
fn hub(count: usize, body: impl FnOnce() + Clone + Send + 'static) -> Joins {
    start(true, move || {
        for ended in join_all((0..count).map(|_| spawn(body.clone()))) {
            ended.unwrap();
        }
    })
}

/// Nine that wait for `word` as long as it is 0: three each here, of another hub, and OS threads without one.
fn nine(word: &Arc<AtomicU32>, operation: i32) -> (Vec<Joins>, Arc<AtomicUsize>) {
    let gone_on = Arc::new(AtomicUsize::new(0));
    let (inside, count) = (word.clone(), gone_on.clone());
    let body = move || {
        assert_eq!(wait_until(&inside, operation, 0, None, u32::MAX), Ok(0));
        count.fetch_add(1, SeqCst);
    };
    let mut joins = vec![hub(3, body.clone())];
    for _ in 0..3 {
        joins.push(start(true, body.clone()));
        joins.push(start(false, body.clone()));
    }
    (joins, gone_on)
}

#[test]
fn one_wake_reaches_all_hubs_and_os_threads() {
    greenline::patch::all();
    for waker_is_os_thread in [false, true] {
        let word = Arc::new(AtomicU32::new(0));
        let (joins, gone_on) = nine(&word, WAIT);
        until(|| waiting(&word) == 9);
        assert_eq!(gone_on.load(SeqCst), 0);
        let inside = word.clone();
        start(waker_is_os_thread, move || assert_eq!(wake(&inside, ALL), Ok(9)))();
        joins.into_iter().for_each(|join| join());
        assert_eq!(gone_on.load(SeqCst), 9);
    }
}

#[test]
fn a_wake_of_some_wakes_as_many() {
    greenline::patch::all();
    let word = Arc::new(AtomicU32::new(0));
    let (joins, gone_on) = nine(&word, WAIT_BITSET);
    until(|| waiting(&word) == 9);
    let mut woken = 0;
    for most in [1, 4, 2] {
        assert_eq!(wake(&word, most), Ok(most));
        woken += most;
        assert_eq!(waiting(&word), 9 - woken);
        until(|| gone_on.load(SeqCst) == woken as usize);
    }
    // Nobody else has, however long we look.
    (0..100).for_each(|_| std::thread::yield_now());
    assert_eq!((gone_on.load(SeqCst), waiting(&word)), (7, 2));
    assert_eq!(wake(&word, 100), Ok(2));
    joins.into_iter().for_each(|join| join());
}

#[test]
fn a_requeue_moves_those_of_all_kinds() {
    greenline::patch::all();
    let (word, other) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(0));
    let (joins, gone_on) = nine(&word, WAIT);
    until(|| waiting(&word) == 9);
    assert_eq!(call(&word, CMP_REQUEUE, 1, ALL as usize, &other, 0), Ok(9));
    assert_eq!((waiting(&word), waiting(&other)), (0, 8));
    until(|| gone_on.load(SeqCst) == 1);
    assert_eq!(wake(&word, ALL), Ok(0));
    assert_eq!(wake(&other, ALL), Ok(8));
    joins.into_iter().for_each(|join| join());
}

#[test]
fn a_wake_reaches_a_hub_that_sleeps() {
    greenline::patch::all();
    // To and fro, so that each side is asleep in turn: its only green thread waits for the word.
    let word = Arc::new(AtomicU32::new(0));
    let side = |me: u32| {
        let word = word.clone();
        move || {
            for round in 0..200 {
                let turn = 2 * round + me;
                loop {
                    let seen = word.load(SeqCst);
                    if seen == turn {
                        break;
                    }
                    assert!(matches!(wait(&word, seen), Ok(0) | Err(libc::EAGAIN)));
                }
                word.store(turn + 1, SeqCst);
                wake(&word, ALL).unwrap();
            }
        }
    };
    let both = [hub(1, side(0)), hub(1, side(1))];
    both.into_iter().for_each(|join| join());
    assert_eq!(word.load(SeqCst), 400);

    // The root itself sleeps, with nobody else, and an OS thread wakes it.
    let word = Arc::new(AtomicU32::new(0));
    let inside = word.clone();
    let waker = start(true, move || {
        until(|| waiting(&inside) == 1);
        inside.store(1, SeqCst);
        assert_eq!(wake(&inside, 1), Ok(1));
    });
    assert_eq!(wait(&word, 0), Ok(0));
    assert_eq!(word.load(SeqCst), 1);
    waker();
}

/// Memory that a forked child shares.
fn shared() -> &'static [AtomicU32; 4] {
    let (read_write, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: fresh memory, zeroed, aligned to a page, and never unmapped.
    unsafe {
        let at = libc::mmap(null_mut(), 4096, read_write, shared, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        &*at.cast()
    }
}

#[test]
fn shared_words_are_woken_by_this_process_at_once() {
    greenline::patch::all();
    let words = shared();
    let flags = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET];
    for (word, operation) in words.iter().zip(flags) {
        let body = move || assert_eq!(wait_until(word, operation, 0, None, u32::MAX), Ok(0));
        let joins = [hub(2, body), start(false, body), start(false, body), start(true, body)];
        let all = || call(word, libc::FUTEX_REQUEUE, 0, ALL as usize, word, 0).unwrap();
        // Green threads look anew now and then, and are not in the table meanwhile.
        let mut woken = 0;
        until(|| all() > 0);
        let start = Instant::now();
        while woken < 5 {
            woken += call(word, libc::FUTEX_WAKE, 5 - woken, 0, word, 0).unwrap();
            assert!(start.elapsed() < LONG);
            std::thread::yield_now();
        }
        assert_eq!(woken, 5);
        joins.into_iter().for_each(|join| join());
    }
}

#[test]
fn a_forked_child_reaches_shared_words() {
    greenline::patch::all();
    let [word, ..] = shared();
    let mut pipe = [0; 2];
    // SAFETY: two descriptors are written.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: the child makes nothing but system calls.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: descriptors of ours, and a byte.
        unsafe {
            libc::close(pipe[1]);
            let mut byte = 0u8;
            libc::read(pipe[0], (&raw mut byte).cast(), 1);
            word.store(1, SeqCst);
            call(word, libc::FUTEX_WAKE, ALL, 0, word, 0).unwrap_or(0);
            libc::_exit(0);
        }
    }
    assert!(child > 0);
    let body = || {
        while word.load(SeqCst) == 0 {
            let answer = wait_until(word, libc::FUTEX_WAIT, 0, None, 0);
            assert!(matches!(answer, Ok(0) | Err(libc::EAGAIN)), "{answer:?}");
        }
    };
    let joins = [start(false, body), start(false, body), start(true, body), hub(1, body)];
    until(|| call(word, libc::FUTEX_REQUEUE, 0, ALL as usize, word, 0).unwrap() > 0);
    // Others run while they wait.
    let ticks = spawn(|| (0..50).for_each(|_| std::thread::sleep(ms(1))));
    ticks.join().unwrap();
    assert_eq!(word.load(SeqCst), 0);
    let start = Instant::now();
    // SAFETY: a byte of ours, and a child of ours.
    unsafe {
        assert_eq!(libc::write(pipe[1], c"x".as_ptr().cast(), 1), 1);
        joins.into_iter().for_each(|join| join());
        assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
        let mut status = 1;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert_eq!(status, 0);
        libc::close(pipe[0]);
        libc::close(pipe[1]);
    }
}

#[test]
fn a_killed_wait_returns_early_once() {
    greenline::patch::all();
    for operation in [WAIT, WAIT_BITSET] {
        let (word, cut) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicUsize::new(0)));
        let (inside, count) = (word.clone(), cut.clone());
        let waits = spawn(move || {
            for _ in 0..3 {
                assert_eq!(wait_until(&inside, operation, 0, None, u32::MAX), Ok(0));
                count.fetch_add(1, SeqCst);
            }
            yield_now();
            unreachable!("the kill is delivered");
        });
        until(|| waiting(&word) == 1);
        waits.kill();
        // Once, and then it waits as before.
        until(|| cut.load(SeqCst) == 1 && waiting(&word) == 1);
        (0..100).for_each(|_| yield_now());
        assert_eq!((cut.load(SeqCst), waiting(&word)), (1, 1));
        for n in 2..=3 {
            assert_eq!(wake(&word, 1), Ok(1));
            until(|| cut.load(SeqCst) == n);
        }
        assert!(matches!(waits.join(), Err(JoinError::Killed)));
    }
    // A timeout does the same.
    let word = AtomicU32::new(0);
    let answer = std::cell::Cell::new(None);
    let limited = timeout(ms(5), || {
        answer.set(Some(wait(&word, 0)));
        yield_now();
    });
    assert!(limited.is_err());
    assert_eq!(answer.get(), Some(Ok(0)));
    assert_eq!(waiting(&word), 0);
}

/// A lock made of a word: 0 free, 1 taken, 2 taken and waited for. What it guards is no atomic.
#[derive(Default)]
struct Guarded {
    word: AtomicU32,
    count: UnsafeCell<u64>,
}

// SAFETY: the count is used by who has the lock.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn add(&self) {
        if self.word.compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
            while self.word.swap(2, SeqCst) != 0 {
                wait(&self.word, 2).unwrap_or(0);
            }
        }
        // SAFETY: we have the lock.
        unsafe {
            let before = self.count.get().read();
            if before % 16 == 0 {
                std::thread::yield_now(); // so that others come and wait
            }
            self.count.get().write(before + 1);
        }
        if self.word.swap(0, SeqCst) == 2 {
            wake(&self.word, 1).unwrap();
        }
    }
}

#[test]
fn nothing_is_lost_between_hubs_and_os_threads() {
    greenline::patch::all();
    const ROUNDS: u32 = 300;
    /// Goes on when the word is `me`, and makes it `1 - me`.
    fn ping_pong(word: &AtomicU32, me: u32) {
        for _ in 0..ROUNDS {
            while word.load(SeqCst) != me {
                wait(word, 1 - me).unwrap_or(0);
            }
            word.store(1 - me, SeqCst);
            wake(word, 1).unwrap();
        }
    }
    let guarded = Arc::new(Guarded::default());
    let adder = || {
        let guarded = guarded.clone();
        Box::new(move || (0..ROUNDS).for_each(|_| guarded.add())) as Body
    };
    // Two hubs, here and there, and OS threads: every pair of those plays with each other.
    let mut here: Vec<Body> = vec![adder(), adder()];
    let mut there: Vec<Body> = vec![adder(), adder()];
    let mut without: Vec<Body> = vec![adder(), adder()];
    let place = |n, body: Body, here: &mut Vec<Body>, there: &mut Vec<Body>, without: &mut Vec<Body>| {
        [here, there, without][n as usize].push(body);
    };
    for (one, other) in [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)] {
        let word = Arc::new(AtomicU32::new(0));
        for (me, where_to) in [(0, one), (1, other)] {
            let word = word.clone();
            let body = Box::new(move || ping_pong(&word, me));
            place(where_to, body, &mut here, &mut there, &mut without);
        }
    }
    let mut joins = vec![start(true, move || {
        for ended in join_all(there.into_iter().map(|body| spawn(body))) {
            ended.unwrap();
        }
    })];
    joins.extend(without.into_iter().map(|body| start(true, body)));
    joins.extend(here.into_iter().map(|body| start(false, body)));
    joins.into_iter().for_each(|join| join());
    // SAFETY: all have ended.
    assert_eq!(unsafe { *guarded.count.get() }, 6 * u64::from(ROUNDS));
    assert_eq!(guarded.word.load(SeqCst), 0);
}

/// A waiter whose time is over, but who has not run yet, is in the table still: a wake-up that is spent on it is told.
#[test]
fn a_wake_up_that_comes_with_the_deadline_counts() {
    patch::all();
    static WORD: AtomicU32 = AtomicU32::new(0);
    let call = |operation: i32, value: usize, time: *const libc::timespec| {
        // SAFETY: a word that lives for ever, and null or a time of the caller's.
        unsafe {
            libc::syscall(libc::SYS_futex, WORD.as_ptr(), operation | libc::FUTEX_PRIVATE_FLAG, value, time)
        }
    };
    for _ in 0..100 {
        let waker = greenline::spawn(move || {
            greenline::sleep(Duration::from_millis(1));
            call(libc::FUTEX_WAKE, 1, std::ptr::null())
        });
        let waiter = greenline::spawn(move || {
            call(libc::FUTEX_WAIT, 0, &libc::timespec { tv_sec: 0, tv_nsec: 2_000_000 })
        });
        greenline::yield_now();
        let start = Instant::now();
        // Both are over when the hub looks next, and the waker runs first.
        while start.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        let (woken, answer) = (waker.join().unwrap(), waiter.join().unwrap());
        assert_eq!(answer, if woken == 1 { 0 } else { -1 });
        if woken == 1 {
            return;
        }
    }
    panic!("the waiter was never in the table when the waker came");
}
