//! The ends of threads: nothing that they have borrowed is seen after it has gone, and what they have begun goes on.

#![cfg(feature = "patch")]

use greenline::{Generator, patch};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

/// Says whether it was looked at after it was dropped.
struct Fragile(Cell<bool>);

static SEEN_BROKEN: AtomicBool = AtomicBool::new(false);
static ENDED: AtomicU32 = AtomicU32::new(0);

impl Fragile {
    fn look(&self) {
        SEEN_BROKEN.fetch_or(self.0.get(), SeqCst);
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.0.set(true);
        ENDED.fetch_add(1, SeqCst);
    }
}

/// Looks when it is dropped, too.
struct Looks<'a>(&'a Fragile);

impl Drop for Looks<'_> {
    fn drop(&mut self) {
        self.0.look();
    }
}

/// Goes on with its generator when it is dropped, if it is told to.
struct Keeper {
    generator: Generator<u32>,
    goes_on: bool,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.goes_on {
            let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.generator.next()));
            assert!(next.is_err(), "it went on");
        }
    }
}

thread_local! {
    // The first to be registered is the last to be destroyed.
    static KEEPER: RefCell<Option<Keeper>> = const { RefCell::new(None) };
    static FRAGILE: Fragile = const { Fragile(Cell::new(false)) };
}

/// Leaves a generator in a thread-local which has borrowed another one, that is destroyed before.
fn leave_one(goes_on: bool) {
    // There is a hub first of all, so that on an OS thread it is there to the last.
    greenline::yield_now();
    KEEPER.with(|keeper| drop(keeper.borrow_mut().take()));
    let mut generator = Generator::new(|y| {
        FRAGILE.with(|fragile| {
            let _looks = Looks(fragile);
            y.yield_(1);
            fragile.look();
            y.yield_(2);
        });
    });
    assert_eq!(generator.next(), Some(1));
    KEEPER.with(|keeper| *keeper.borrow_mut() = Some(Keeper { generator, goes_on }));
}

#[test]
fn a_generator_does_not_see_thread_locals_that_were_destroyed() {
    patch::all();
    for goes_on in [false, true] {
        let before = ENDED.load(SeqCst);
        thread::spawn(move || leave_one(goes_on)).join().unwrap();
        greenline::spawn(move || leave_one(goes_on)).join().unwrap();
        assert!(ENDED.load(SeqCst) >= before + 2);
        // An OS thread, of which only its end says that it has ended.
        let real = greenline::thread::Thread::new(move || leave_one(goes_on)).start().unwrap();
        real.join().unwrap();
        while ENDED.load(SeqCst) < before + 3 {
            thread::yield_now();
        }
    }
    assert!(!SEEN_BROKEN.load(SeqCst));
}

#[test]
fn a_generator_is_not_continued_by_another_thread() {
    patch::all();
    let mut generator = greenline::spawn(|| {
        let mut generator = Generator::new(|y| FRAGILE.with(|_| (0..3).for_each(|n| y.yield_(n))));
        assert_eq!(generator.next(), Some(0));
        generator
    })
    .join()
    .unwrap();
    let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| generator.next()));
    assert!(next.unwrap_err().downcast_ref::<&str>().unwrap().contains("another thread"));
    drop(generator);
}

/// A generator that yields in a destructor while it unwinds does not have its thread unwind.
#[test]
fn unwinding_stays_in_the_generator() {
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
        let rest = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| generator.next()));
        assert!(rest.is_err() && !thread::panicking());
    };
    thread::spawn(body).join().unwrap();
    greenline::spawn(body).join().unwrap();
}

/// A real OS thread can be joined when its function has returned; the threads that were made on its hub go on.
#[test]
fn threads_outlive_the_os_thread_that_has_made_them() {
    patch::all();
    let (go, goes) = mpsc::channel::<()>();
    let (result, results) = mpsc::channel();
    let os_thread = greenline::thread::Thread::new(move || {
        greenline::yield_now();
        let waits = thread::spawn(move || goes.recv().unwrap());
        for n in 0..10 {
            let result = result.clone();
            thread::spawn(move || {
                thread::yield_now();
                result.send(n).unwrap();
            });
        }
        waits
    });
    let waits = os_thread.start().unwrap().join().unwrap();
    assert_eq!(results.iter().sum::<u32>(), 45);
    assert!(!waits.is_finished());
    go.send(()).unwrap();
    waits.join().unwrap();
}

/// Who is woken by an OS thread that ends at once is woken, and not told of a deadlock.
#[test]
fn the_last_act_of_an_os_thread_is_not_missed() {
    patch::all();
    for _ in 0..2000 {
        let sleeper = greenline::spawn(|| {
            let me = thread::current();
            drop(greenline::thread::Thread::new(move || me.unpark()).start().unwrap());
            thread::park();
        });
        sleeper.join().unwrap();
    }
}
