//! The end of a thread: nothing sees a thread-local after its destructor, and threads that it has started go on.

#![cfg(feature = "patch")]

use greenline::thread::Thread;
use greenline::{Generator, patch};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

/// A value that records whether it is used after it was dropped.
struct Fragile(Cell<bool>);

static USED_AFTER_DROP: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicU32 = AtomicU32::new(0);

impl Fragile {
    fn use_it(&self) {
        USED_AFTER_DROP.fetch_or(self.0.get(), SeqCst);
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.0.set(true);
        DROPPED.fetch_add(1, SeqCst);
    }
}

/// Uses the value in its destructor, too.
struct UsesOnDrop<'a>(&'a Fragile);

impl Drop for UsesOnDrop<'_> {
    fn drop(&mut self) {
        self.0.use_it();
    }
}

/// Owner of a generator. If `resumes` is set, its destructor resumes the generator.
struct GeneratorOwner {
    generator: Generator<u32>,
    resumes: bool,
}

impl Drop for GeneratorOwner {
    fn drop(&mut self) {
        if self.resumes {
            let next = catch_unwind(AssertUnwindSafe(|| self.generator.next()));
            assert!(next.is_err(), "the generator went on");
        }
    }
}

thread_local! {
    // The thread-local that is registered first is destroyed last.
    static OWNER: RefCell<Option<GeneratorOwner>> = const { RefCell::new(None) };
    static FRAGILE: Fragile = const { Fragile(Cell::new(false)) };
}

/// Leaves a generator in `OWNER`. The generator has borrowed `FRAGILE`, which is destroyed before it.
fn leave_generator(resumes: bool) {
    // The hub is made before the thread-locals, so that on an OS thread it is destroyed after them.
    greenline::yield_now();
    OWNER.with(|owner| drop(owner.borrow_mut().take()));
    let mut generator = Generator::new(|y| {
        FRAGILE.with(|fragile| {
            let _guard = UsesOnDrop(fragile);
            y.yield_(1);
            fragile.use_it();
            y.yield_(2);
        });
    });
    assert_eq!(generator.next(), Some(1));
    OWNER.with(|owner| *owner.borrow_mut() = Some(GeneratorOwner { generator, resumes }));
}

#[test]
fn generator_does_not_see_destroyed_thread_locals() {
    patch::all();
    for resumes in [false, true] {
        let before = DROPPED.load(SeqCst);
        thread::spawn(move || leave_generator(resumes)).join().unwrap();
        greenline::spawn(move || leave_generator(resumes)).join().unwrap();
        assert!(DROPPED.load(SeqCst) >= before + 2);
        // The join of an OS thread may return before its thread-locals are destroyed.
        Thread::new(move || leave_generator(resumes)).start().unwrap().join().unwrap();
        while DROPPED.load(SeqCst) < before + 3 {
            thread::yield_now();
        }
    }
    assert!(!USED_AFTER_DROP.load(SeqCst));
}

#[test]
fn generator_next_on_another_thread_panics() {
    patch::all();
    let mut generator = greenline::spawn(|| {
        let mut generator = Generator::new(|y| FRAGILE.with(|_| (0..3).for_each(|n| y.yield_(n))));
        assert_eq!(generator.next(), Some(0));
        generator
    })
    .join()
    .unwrap();
    let next = catch_unwind(AssertUnwindSafe(|| generator.next()));
    assert!(next.unwrap_err().downcast_ref::<&str>().unwrap().contains("another thread"));
    drop(generator);
}

#[test]
fn generator_that_yields_while_unwinding_leaves_its_thread_not_panicking() {
    patch::all();
    let body = || {
        struct Yields<'a>(&'a greenline::Yielder<u32>);
        impl Drop for Yields<'_> {
            fn drop(&mut self) {
                self.0.yield_(7);
            }
        }
        let mut generator = Generator::new(|y| {
            let _yields = Yields(y);
            std::panic::resume_unwind(Box::new("unwinds"));
        });
        assert_eq!(generator.next(), Some(7));
        assert!(!thread::panicking());
        let rest = catch_unwind(AssertUnwindSafe(|| generator.next()));
        assert!(rest.is_err() && !thread::panicking());
    };
    thread::spawn(body).join().unwrap();
    greenline::spawn(body).join().unwrap();
}

/// The join of an OS thread returns when its function has returned. The threads that were started on its hub go on.
#[test]
fn join_of_an_os_thread_returns_before_its_green_threads_end() {
    patch::all();
    let (go, gone) = mpsc::channel::<()>();
    let (result, results) = mpsc::channel();
    let os_thread = Thread::new(move || {
        greenline::yield_now();
        let waiter = thread::spawn(move || gone.recv().unwrap());
        for n in 0..10 {
            let result = result.clone();
            thread::spawn(move || {
                thread::yield_now();
                result.send(n).unwrap();
            });
        }
        waiter
    });
    let waiter = os_thread.start().unwrap().join().unwrap();
    assert_eq!(results.iter().sum::<u32>(), 45);
    assert!(!waiter.is_finished());
    go.send(()).unwrap();
    waiter.join().unwrap();
}

/// An OS thread that wakes a green thread and ends at once does not leave the hub to report a deadlock.
#[test]
fn unpark_by_an_os_thread_that_ends_at_once_wakes() {
    patch::all();
    for _ in 0..2000 {
        let sleeper = greenline::spawn(|| {
            let me = thread::current();
            drop(Thread::new(move || me.unpark()).start().unwrap());
            thread::park();
        });
        sleeper.join().unwrap();
    }
}
