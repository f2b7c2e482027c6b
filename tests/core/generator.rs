//! Generators and green locals.

use greenline::*;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

fn count_to(n: u32) -> Generator<u32> {
    Generator::new(move |y| (1..=n).for_each(|i| y.yield_(i)))
}

#[test]
fn generator_is_an_iterator_and_stays_at_its_end() {
    let mut three = count_to(3);
    assert_eq!(three.by_ref().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((three.next(), three.next()), (None, None));
    let evens = count_to(10).filter(|n| n % 2 == 0).zip(count_to(3));
    assert_eq!(evens.collect::<Vec<_>>(), [(2, 1), (4, 2), (6, 3)]);
}

#[test]
fn generator_runs_nothing_before_the_first_next() {
    let began = Rc::new(Cell::new(false));
    let inside = began.clone();
    let mut lazy = Generator::new(move |y| {
        inside.set(true);
        y.yield_(());
    });
    assert!(!began.get());
    lazy.next();
    assert!(began.get());
}

#[test]
fn generator_send_passes_values_in() {
    let mut echo = Generator::<String, Option<u32>>::receiving(|y| {
        let mut got = y.yield_("ready".into());
        while let Some(n) = got {
            got = y.yield_(format!("got {n}"));
        }
    });
    assert_eq!(echo.next().as_deref(), Some("ready"));
    assert_eq!(echo.send(Some(1)).as_deref(), Some("got 1"));
    assert_eq!(echo.send(Some(2)).as_deref(), Some("got 2"));
    assert_eq!(echo.send(None), None);
    let early = catch_unwind(|| Generator::<u8, u8>::receiving(|_| ()).send(1));
    assert!(early.unwrap_err().downcast::<&str>().unwrap().contains("has not started"));
}

#[test]
fn generator_dropped_half_way_runs_its_destructors() {
    struct Set(Rc<Cell<u32>>);
    impl Drop for Set {
        fn drop(&mut self) {
            yield_now(); // a destructor may block
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Rc::new(Cell::new(0));
    let (first, captured) = (dropped.clone(), Set(dropped.clone()));
    let mut half = Generator::new(move |y| {
        let _captured = captured;
        let _local = Set(first);
        loop {
            y.yield_(1);
        }
    });
    half.next();
    drop(half);
    assert_eq!(dropped.get(), 2);
    drop(Generator::<()>::new({
        let never_begun = Set(dropped.clone());
        move |_| drop(never_begun)
    }));
    assert_eq!(dropped.get(), 3);
}

#[test]
fn generator_panic_reaches_the_caller_of_next() {
    let mut bad = Generator::new(|y| {
        y.yield_(1);
        std::panic::panic_any(9u8);
    });
    assert_eq!(bad.next(), Some(1));
    let thrown = catch_unwind(AssertUnwindSafe(|| bad.next()));
    assert_eq!(*thrown.unwrap_err().downcast::<u8>().unwrap(), 9);
    assert_eq!(bad.next(), None);
}

#[test]
fn generator_that_blocks_parks_only_the_caller_of_next() {
    let order: Rc<RefCell<Vec<&str>>> = Rc::default();
    let (a, b) = (order.clone(), order.clone());
    let asks = spawn(move || {
        let inside = a.clone();
        let mut slow = Generator::new(move |y| {
            sleep(Duration::from_millis(10));
            inside.borrow_mut().push("slow");
            y.yield_(());
        });
        slow.next();
        a.borrow_mut().push("asked");
    });
    let other = spawn(move || b.borrow_mut().push("other"));
    join_all([asks, other]);
    assert_eq!(*order.borrow(), ["other", "slow", "asked"]);
    // A generator may block in the root, too.
    let mut slow = Generator::new(|y| {
        sleep(Duration::from_millis(1));
        y.yield_(spawn(|| 5).join().unwrap());
    });
    assert_eq!(slow.next(), Some(5));
}

#[test]
fn generator_moves_from_one_green_thread_to_another() {
    let mut numbers = count_to(4);
    assert_eq!(numbers.next(), Some(1));
    let (second, mut numbers) = spawn(move || (numbers.next(), numbers)).join().unwrap();
    assert_eq!(second, Some(2));
    assert_eq!(numbers.next(), Some(3));
    drop(spawn(move || drop(numbers)));
    join_everything();
}

#[test]
fn generator_inside_a_generator_yields_its_values() {
    fn tree(depth: u32) -> Generator<u32> {
        Generator::new(move |y| {
            if depth > 0 {
                tree(depth - 1).for_each(|n| y.yield_(n));
                y.yield_(depth);
                tree(depth - 1).for_each(|n| y.yield_(n));
            }
        })
    }
    assert_eq!(tree(3).collect::<Vec<_>>(), [1, 2, 1, 3, 1, 2, 1]);
}

#[test]
fn yielder_on_another_stack_panics() {
    let mut sly = Generator::new(|y: &Yielder<u32>| {
        let refused = scope(|s| s.spawn(|| y.yield_(1)).join());
        assert!(refused.unwrap_err().to_string().contains("another stack"));
        y.yield_(2);
    });
    assert_eq!(sly.next(), Some(2));
}

#[test]
fn generator_leaked_is_harmless() {
    let mut leaked = count_to(3);
    leaked.next();
    std::mem::forget(leaked);
    std::thread::spawn(|| {
        let mut leaked = count_to(3);
        leaked.next();
        std::mem::forget(leaked);
    })
    .join()
    .unwrap();
}

green_local! {
    static COUNT: Cell<u32> = Cell::new(100);
    static LIST: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn green_local_has_one_value_per_green_thread() {
    let bump = |by: u32| {
        move || {
            for _ in 0..3 {
                COUNT.set(COUNT.get() + by);
                yield_now();
            }
            LIST.with_borrow_mut(|list| list.push("mine"));
            (COUNT.get(), LIST.with_borrow(Vec::len))
        }
    };
    let both: Vec<_> = join_all([spawn(bump(1)), spawn(bump(10))]).into_iter().map(Result::unwrap).collect();
    assert_eq!(both, [(103, 1), (130, 1)]);
    assert_eq!(COUNT.get(), 100, "the root has its own value");
}

struct Said(&'static str);
thread_local! {
    static HEARD: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}
impl Drop for Said {
    fn drop(&mut self) {
        yield_now(); // a destructor may block
        HEARD.with_borrow_mut(|heard| heard.push(self.0));
    }
}
green_local! {
    static FIRST: Said = Said("first");
    static SECOND: Said = { FIRST.with(|_| ()); Said("second") };
}

#[test]
fn green_local_is_dropped_at_the_end_in_the_order_of_creation() {
    let handle = spawn(|| {
        SECOND.with(|_| sleep(Duration::from_millis(1)));
        current().id()
    });
    // The values are dropped at the end, although the handle still exists.
    while !handle.is_finished() {
        yield_now();
    }
    HEARD.with_borrow(|heard| assert_eq!(*heard, ["first", "second"]));
    let killed = spawn(|| {
        FIRST.with(|_| ());
        sleep(Duration::MAX);
    });
    yield_now();
    kill_all([killed]);
    HEARD.with_borrow(|heard| assert_eq!(heard.len(), 3));
}

green_local! {
    static SLOW: SleepsOnDrop = SleepsOnDrop;
}
struct SleepsOnDrop;
impl Drop for SleepsOnDrop {
    fn drop(&mut self) {
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn green_local_created_while_the_outcome_is_dropped_is_dropped_before_the_end() {
    struct MakesOne;
    impl Drop for MakesOne {
        fn drop(&mut self) {
            SLOW.with(|_| ());
        }
    }
    spawn(|| ()).join().unwrap();
    drop(spawn(|| MakesOne));
    yield_now();
    let all: Vec<_> = (0..3).map(|n| spawn(move || n)).collect();
    assert_eq!(join_all(all).into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2]);
    join_everything();
}

#[test]
fn green_local_of_the_root_is_dropped_when_its_os_thread_ends() {
    let (say, heard) = std::sync::mpsc::channel();
    green_local! {
        static OTHER: Cell<u32> = Cell::new(1);
        static LAST: RefCell<Option<Sends>> = const { RefCell::new(None) };
    }
    struct Sends(std::sync::mpsc::Sender<u32>);
    impl Drop for Sends {
        fn drop(&mut self) {
            self.0.send(OTHER.get()).unwrap();
        }
    }
    std::thread::spawn(move || LAST.with(|last| *last.borrow_mut() = Some(Sends(say)))).join().unwrap();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn generator_that_yields_inside_its_own_timeout_panics() {
    let mut sly = Generator::<u32>::new(|y| {
        let _ = timeout(Duration::from_secs(60), || y.yield_(1));
    });
    let thrown = catch_unwind(AssertUnwindSafe(|| sly.next()));
    assert!(thrown.unwrap_err().downcast::<&str>().unwrap().contains("in a timeout"));
    // A timeout that the caller of `next` has opened is allowed. So is one that ends before the yield.
    let mut fine = Generator::new(|y| {
        timeout(Duration::from_secs(60), yield_now).unwrap();
        y.yield_(1);
        y.yield_(2);
    });
    assert_eq!(timeout(Duration::from_secs(60), || fine.next()), Ok(Some(1)));
    assert_eq!(fine.next(), Some(2));
}

#[test]
fn kill_while_a_generator_is_dropped_is_not_lost() {
    struct Blocks;
    impl Drop for Blocks {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                return;
            }
            sleep(Duration::from_millis(5));
        }
    }
    let victim = spawn(|| {
        let mut numbers = Generator::new(|y| {
            let _blocks = Blocks;
            y.yield_(1);
        });
        numbers.next();
        drop(numbers);
        sleep(Duration::from_secs(3600));
    });
    yield_now();
    victim.kill();
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
}
