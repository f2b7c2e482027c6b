//! A whole runtime of green threads: stacks, a run queue, sleep, join, and the detection of a deadlock. Read this file
//! first. Only the stack switch is not in it: that is `arch/x86_64/switch.s`, which the runtime uses, too.
//!
//! Run with: `cargo run --release --example tiny -- [deadlock]`
//!
//! | here         | in the runtime         | which also has                                |
//! |--------------|------------------------|-----------------------------------------------|
//! | `Green`      | `src/green/`           | kills, timeouts, states that are asserted     |
//! | `spawn`      | `src/api/spawn.rs`     | guard pages, reused stacks                    |
//! | `block`      | `src/hub/scheduler.rs` | descriptors, other OS threads, policies       |
//! | `sleep`      | `src/time/timers.rs`   | timers that are cancelled                     |
//! | `JoinHandle` | `src/api/join.rs`      | several ways to wait, panics with messages    |
//! | `deadlock`   | `src/hub/deadlock.rs`  | where each green thread was spawned           |

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

#[cfg_attr(target_arch = "x86_64", path = "../arch/x86_64/switch.rs")]
#[cfg_attr(target_arch = "aarch64", path = "../arch/aarch64/switch.rs")]
mod switch;

/// Size of a stack. There is no guard page below it: a green thread that needs more overwrites other memory.
const STACK_SIZE: usize = 256 << 10;

/// A green thread: a stack, and the address in it at which the thread was suspended.
#[derive(Default)]
struct Green {
    name: String,
    /// The stack pointer of the suspended thread. While the thread runs, the value is stale.
    stack_pointer: Cell<usize>,
    /// The function that the thread calls first.
    entry: Cell<Option<Box<dyn FnOnce()>>>,
    /// The event for which it waits, for the report of a deadlock.
    waits_for: RefCell<String>,
    has_ended: Cell<bool>,
    joiners: RefCell<Vec<Rc<Green>>>,
    /// The root runs on the stack of `main`, and has none of its own.
    _stack: Vec<u128>,
}

/// The scheduler of this OS thread.
struct Scheduler {
    /// The running green thread.
    current: RefCell<Rc<Green>>,
    /// The threads that can run, in the order in which they became ready.
    run_queue: RefCell<VecDeque<Rc<Green>>>,
    /// The threads that sleep, by the time at which they wake. The address keeps two equal times apart.
    sleepers: RefCell<BTreeMap<(Instant, *const Green), Rc<Green>>>,
    /// All threads that have not ended.
    alive: RefCell<Vec<Rc<Green>>>,
    /// The thread that ended last. Its stack is freed by the next thread, because it cannot free the stack it runs on.
    ended: Cell<Option<Rc<Green>>>,
}

thread_local! {
    static SCHEDULER: Scheduler = {
        let root = Rc::new(Green { name: "main".to_string(), ..Green::default() });
        Scheduler {
            current: RefCell::new(root.clone()),
            run_queue: RefCell::default(),
            sleepers: RefCell::default(),
            alive: RefCell::new(vec![root]),
            ended: Cell::new(None),
        }
    };
}

/// The result of a green thread, which `join` returns.
struct JoinHandle<T> {
    green: Rc<Green>,
    result: Rc<RefCell<Option<T>>>,
}

/// Makes a green thread that calls `f`. It runs when the caller blocks for the first time.
fn spawn<T: 'static>(name: &str, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    let result = Rc::new(RefCell::new(None));
    let slot = result.clone();
    let entry: Box<dyn FnOnce()> = Box::new(move || *slot.borrow_mut() = Some(f()));
    let mut stack = vec![0u128; STACK_SIZE / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end as usize;
    // SAFETY: `top` is the end of the new stack, a multiple of 16, and nothing lies on that stack. `first` does not unwind.
    let stack_pointer = Cell::new(unsafe { switch::prepare(top, first, 0) });
    let (name, entry) = (name.to_string(), Cell::new(Some(entry)));
    let green = Rc::new(Green { name, stack_pointer, entry, _stack: stack, ..Green::default() });
    SCHEDULER.with(|scheduler| {
        scheduler.alive.borrow_mut().push(green.clone());
        scheduler.run_queue.borrow_mut().push_back(green.clone());
    });
    JoinHandle { green, result }
}

/// The first function on each new stack.
extern "C" fn first(_: usize) -> ! {
    SCHEDULER.with(|scheduler| scheduler.ended.take());
    let green = SCHEDULER.with(|scheduler| scheduler.current.borrow().clone());
    let entry = green.entry.take().expect("a thread starts once");
    // A panic ends this green thread only. `join` finds no result then.
    let _ = catch_unwind(AssertUnwindSafe(entry));
    green.has_ended.set(true);
    SCHEDULER.with(|scheduler| {
        scheduler.run_queue.borrow_mut().extend(green.joiners.take());
        scheduler.alive.borrow_mut().retain(|other| !Rc::ptr_eq(other, &green));
        scheduler.ended.set(Some(green));
    });
    block("nothing");
    unreachable!("a thread that has ended is in no queue");
}

/// Lets the next thread of the run queue run. Returns when another thread has put the caller into the run queue, and it
/// is the caller's turn. All blocking functions end here.
fn block(waits_for: &str) {
    let switch_to = SCHEDULER.with(|scheduler| {
        *scheduler.current.borrow().waits_for.borrow_mut() = waits_for.to_string();
        let next = next_ready(scheduler);
        let stack_pointer = next.stack_pointer.get();
        // A thread that has ended is kept by `ended`, every other one by `alive`.
        let previous = Rc::as_ptr(&scheduler.current.replace(next.clone()));
        (previous != Rc::as_ptr(&next)).then_some((previous, stack_pointer))
    });
    if let Some((previous, stack_pointer)) = switch_to {
        // SAFETY: `stack_pointer` was stored by `prepare` or by a switch, and is used once: the thread now runs. `alive`
        // or `ended` keeps `previous`.
        unsafe { switch::switch((*previous).stack_pointer.as_ptr(), stack_pointer) };
    }
    // Another thread has switched to this one. It may have ended.
    SCHEDULER.with(|scheduler| scheduler.ended.take());
}

/// Takes the next thread from the run queue. While the queue is empty, waits for the first sleeper.
fn next_ready(scheduler: &Scheduler) -> Rc<Green> {
    loop {
        let mut sleepers = scheduler.sleepers.borrow_mut();
        while sleepers.first_key_value().is_some_and(|((wake, _), _)| *wake <= Instant::now()) {
            scheduler.run_queue.borrow_mut().extend(sleepers.pop_first().map(|(_, green)| green));
        }
        if let Some(green) = scheduler.run_queue.borrow_mut().pop_front() {
            return green;
        }
        let Some(((wake, _), _)) = sleepers.first_key_value() else { deadlock(scheduler) };
        std::thread::sleep(wake.saturating_duration_since(Instant::now()));
    }
}

/// No thread can run, and no timer will wake one: each waits for another. Reports that and ends the process.
fn deadlock(scheduler: &Scheduler) -> ! {
    eprintln!("deadlock: no green thread can run");
    for green in scheduler.alive.borrow().iter() {
        eprintln!("  {} waits for {}", green.name, green.waits_for.borrow());
    }
    std::process::exit(1);
}

/// Lets the other green threads run for that time.
fn sleep(time: Duration) {
    SCHEDULER.with(|scheduler| {
        let green = scheduler.current.borrow().clone();
        scheduler.sleepers.borrow_mut().insert((Instant::now() + time, Rc::as_ptr(&green)), green);
    });
    block("its timer");
}

impl<T> JoinHandle<T> {
    /// Waits until the thread has ended, and returns its result, or `None` if it panicked.
    fn join(self) -> Option<T> {
        if !self.green.has_ended.get() {
            let current = SCHEDULER.with(|scheduler| scheduler.current.borrow().clone());
            self.green.joiners.borrow_mut().push(current);
            block(&format!("the end of {}", self.green.name));
        }
        self.result.take()
    }
}

fn work(name: &'static str, nap: u64) -> u64 {
    for step in 0..5 {
        println!("{name}: {step}");
        sleep(Duration::from_millis(nap));
    }
    nap * 5
}

fn main() {
    let start = Instant::now();
    let slow = spawn("work1", || work("work1", 30));
    let fast = spawn("work2", || work("work2", 20));
    let slept = slow.join().unwrap() + fast.join().unwrap();
    println!("slept {slept} ms in all, took {} ms", start.elapsed().as_millis());

    if std::env::args().nth(1).as_deref() == Some("deadlock") {
        let waiter = spawn("waiter", || block("an event that never comes"));
        waiter.join();
    }
}
