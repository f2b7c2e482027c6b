//! The contract of a context, checked for both implementations.
#![allow(unsafe_code)]

use super::{asm::AsmContext, contract::Context, corosensei::CorosenseiContext};
use crate::stack::{StackAllocator, StackSize};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Instantiates the same tests for each implementation.
macro_rules! contract {
    ($($name:ident),*) => {
        mod corosensei_context { $(#[test] fn $name() { super::$name::<super::CorosenseiContext>() })* }
        mod asm_context { $(#[test] fn $name() { super::$name::<super::AsmContext>() })* }
    };
}
contract!(
    resume_runs_bodies_one_after_the_other,
    suspend_interleaves_hundreds,
    resume_nests,
    suspend_keeps_live_floats,
    resume_lets_a_body_catch_a_panic,
    suspend_works_from_a_context_resumed_inside
);

fn resume_runs_bodies_one_after_the_other<C: Context>() {
    let stacks = StackAllocator::default();
    let log: Rc<RefCell<Vec<u32>>> = Rc::default();
    // SAFETY: a context is resumed only with a body, never while it runs, and retired once.
    unsafe {
        let context = C::new(stacks.take(StackSize::DEFAULT).unwrap());
        assert!(context.is_idle());
        for n in 0..3 {
            let inside = log.clone();
            context.assign(Box::new(move || {
                let here = 0u8;
                inside.borrow_mut().push(n * 10);
                assert!(context.bounds().contains(&(&raw const here as usize)));
                context.suspend();
                inside.borrow_mut().push(n * 10 + 1);
            }));
            context.resume();
            assert!(!context.is_idle());
            log.borrow_mut().push(n * 10 + 5);
            context.resume();
            assert!(context.is_idle());
        }
        drop(context.retire());
    }
    assert_eq!(*log.borrow(), [0, 5, 1, 10, 15, 11, 20, 25, 21]);
    assert_eq!(stacks.high_water_mark(), 1);
}

fn suspend_interleaves_hundreds<C: Context>() {
    let stacks = StackAllocator::default();
    let sum = Rc::new(Cell::new(0));
    // SAFETY: a context is resumed only with a body, never while it runs, and retired once.
    unsafe {
        let all: Vec<C> = (0..300)
            .map(|n| {
                let context = C::new(stacks.take(StackSize::MIN).unwrap());
                let sum = sum.clone();
                context.assign(Box::new(move || {
                    for round in 0..10 {
                        sum.set(sum.get() + n * round);
                        context.suspend();
                    }
                }));
                context
            })
            .collect();
        for _ in 0..11 {
            all.iter().for_each(|context| context.resume());
        }
        assert!(all.iter().all(|context| context.is_idle()));
        all.into_iter().for_each(|context| drop(context.retire()));
    }
    assert_eq!(sum.get(), (0..300).sum::<i32>() * 45);
}

fn resume_nests<C: Context>() {
    fn depth<C: Context>(stacks: &Rc<StackAllocator>, left: u32) -> u32 {
        if left == 0 {
            return 0;
        }
        let result = Rc::new(Cell::new(0));
        // SAFETY: a context is resumed only with a body, never while it runs, and retired once.
        unsafe {
            let context = C::new(stacks.take(StackSize::DEFAULT).unwrap());
            let (inside, stacks) = (result.clone(), stacks.clone());
            context.assign(Box::new(move || inside.set(depth::<C>(&stacks, left - 1) + 1)));
            context.resume();
            drop(context.retire());
        }
        result.get()
    }
    assert_eq!(depth::<C>(&Rc::default(), 20), 20);
}

fn suspend_works_from_a_context_resumed_inside<C: Context>() {
    let stacks = Rc::new(StackAllocator::default());
    let log: Rc<RefCell<Vec<&str>>> = Rc::default();
    // SAFETY: the inner context suspends the outer one, from which it was resumed.
    unsafe {
        let outer = C::new(stacks.take(StackSize::DEFAULT).unwrap());
        let (stacks, inside) = (stacks.clone(), log.clone());
        outer.assign(Box::new(move || {
            let inner = C::new(stacks.take(StackSize::DEFAULT).unwrap());
            let deep = inside.clone();
            inner.assign(Box::new(move || {
                deep.borrow_mut().push("inner");
                outer.suspend();
                deep.borrow_mut().push("inner again");
                inner.suspend();
                deep.borrow_mut().push("inner ends");
            }));
            inner.resume();
            inside.borrow_mut().push("outer again");
            inner.resume();
            drop(inner.retire());
        }));
        outer.resume();
        log.borrow_mut().push("main");
        outer.resume();
        assert!(outer.is_idle());
        drop(outer.retire());
    }
    assert_eq!(*log.borrow(), ["inner", "main", "inner again", "outer again", "inner ends"]);
}

fn resume_lets_a_body_catch_a_panic<C: Context>() {
    let stacks = StackAllocator::default();
    let caught = Rc::new(Cell::new(false));
    // SAFETY: a context is resumed only with a body, never while it runs, and retired once.
    unsafe {
        let context = C::new(stacks.take(StackSize::DEFAULT).unwrap());
        let inside = caught.clone();
        context.assign(Box::new(move || {
            let thrown = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(7u8)));
            inside.set(thrown.unwrap_err().is::<u8>());
        }));
        context.resume();
        drop(context.retire());
    }
    assert!(caught.get());
}

/// A switch preserves values that the compiler keeps in vector registers.
fn suspend_keeps_live_floats<C: Context>() {
    let stacks = StackAllocator::default();
    // SAFETY: a context is resumed only with a body, never while it runs, and retired once.
    unsafe {
        let context = C::new(stacks.take(StackSize::DEFAULT).unwrap());
        context.assign(Box::new(move || {
            let third = std::hint::black_box(1.0f64) / std::hint::black_box(3.0);
            context.suspend();
            assert_eq!(third, std::hint::black_box(1.0f64) / std::hint::black_box(3.0));
        }));
        context.resume();
        let ninth = std::hint::black_box(1.0f64) / std::hint::black_box(9.0);
        context.resume();
        assert_eq!(ninth, std::hint::black_box(1.0f64) / std::hint::black_box(9.0));
        drop(context.retire());
    }
}
