//! Values and arrays that processes share, also when their users are killed; patched and unpatched.

use crate::support::kill_stress::{KillStress, makes_no_system_calls, shared_mappings};
use crate::support::subprocess::Case;
use greenline::{join_all, sleep, spawn, thread, yield_now};
use greenline_process::{Array, Child, Plain, Process, Value};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub(crate) const ALONE: &[Case] = &[
    ("value_update_by_processes_is_atomic", value),
    ("value_update_may_yield_unwind_and_use_the_value", change_does_as_it_likes),
    ("array_update_by_processes_is_atomic", array),
    ("array_without_elements_and_bad_indices", edges),
    ("update_of_a_killed_process_leaves_the_old_or_the_new", || killed(400)),
    ("update_at_of_a_killed_process_leaves_whole_elements", killed_in_elements),
    ("drop_leaves_no_mappings", nothing_left),
    ("update_makes_no_system_call", no_system_calls),
];

fn children(count: usize, f: impl Fn(usize) + Clone + 'static) -> Vec<Child> {
    let child = |number| {
        let f = f.clone();
        Process::new(move || f(number)).start().unwrap()
    };
    (0..count).map(child).collect()
}

fn join(children: Vec<Child>) {
    children.iter().for_each(|child| assert_eq!(child.join().unwrap(), 0));
}

fn value() {
    let value = Value::new(0u64).unwrap();
    let inside = value.clone();
    let work = move || (0..5_000).for_each(|_| inside.update(|value| *value += 1));
    let inside = work.clone();
    let children = children(3, move |_| inside());
    let threads: Vec<_> = (0..2).map(|_| thread::Thread::new(work.clone()).start().unwrap()).collect();
    work();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    join(children);
    assert_eq!(value.get(), 6 * 5_000);
    assert_eq!((value.swap(7), value.get()), (30_000, 7));
    value.set(8);
    assert_eq!(value.update(|value| std::mem::replace(value, 9)), 8);
    assert_eq!(format!("{value:?}"), "Value(9)");
}

fn change_does_as_it_likes() {
    let value = Value::new(0u32).unwrap();
    let greens = (0..2).map(|_| {
        let value = value.clone();
        spawn(move || {
            for _ in 0..100 {
                value.update(|count| {
                    yield_now();
                    *count += 1;
                });
            }
        })
    });
    join_all(greens).into_iter().for_each(Result::unwrap);
    assert_eq!(value.get(), 200);
    assert!(catch_unwind(AssertUnwindSafe(|| value.update(|_| panic!("boom")))).is_err());
    value.set(1);
    // The closure itself changes the value in between, once.
    let mut times = 0;
    value.update(|count| {
        times += 1;
        if times == 1 {
            value.set(10);
        }
        *count += 1;
    });
    assert_eq!((value.get(), times), (11, 2));
}

fn array() {
    let array = Array::new(&[[0u64; 3]; 10]).unwrap();
    let inside = array.clone();
    let children = children(3, move |number| {
        for round in 0..1_000 {
            inside.update_at(round % 10, |element| element[number] += 1);
            if round % 100 == 0 {
                inside.update(|elements| elements.iter_mut().for_each(|element| element[number] += 1));
            }
        }
    });
    join(children);
    assert_eq!(array.to_vec(), [[110; 3]; 10]);
    array.set(3, [1, 2, 3]);
    assert_eq!((array.get(3), array.get(4), array.len()), ([1, 2, 3], [110; 3], 10));
    array.update(|elements| elements.reverse());
    assert_eq!((array.get(6), array.get(3)), ([1, 2, 3], [110; 3]));
    array.set(0, [0; 3]);
    assert_eq!(array.get(0), [0; 3]);
    let small = Array::new(&[1.5f32, 2.5]).unwrap();
    assert_eq!(format!("{small:?}"), "[1.5, 2.5]");
}

/// It is aligned to more than a cache line.
#[derive(Clone, Copy)]
#[repr(align(256))]
struct Aligned([u8; 256]);

// SAFETY: numbers only.
unsafe impl Plain for Aligned {}

fn edges() {
    let none = Array::<u8>::new(&[]).unwrap();
    assert!(none.is_empty());
    assert_eq!(none.update(|elements| elements.len()), 0);
    let zeros = Array::<u16>::zeroed(3).unwrap();
    assert_eq!(zeros.to_vec(), [0; 3]);
    let calls: [fn(&Array<u16>); 3] =
        [|array| assert_eq!(array.get(3), 0), |array| array.set(3, 1), |array| array.update_at(3, |_| ())];
    for f in calls {
        let panic = catch_unwind(AssertUnwindSafe(|| f(&zeros))).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "there is no element 3 in an array of 3");
    }
    let aligned = Array::new(&[Aligned([1; 256]), Aligned([2; 256])]).unwrap();
    aligned.set(0, Aligned([3; 256]));
    assert_eq!(aligned.to_vec().iter().map(|element| element.0[255]).collect::<Vec<_>>(), [3, 2]);
    // It takes a gigabyte of address space.
    let large = Array::<u64>::zeroed(1 << 26).unwrap();
    large.set(1 << 25, 7);
    assert_eq!((large.get(1 << 25), large.get(0)), (7, 0));
}

fn killed(kills: u32) {
    let (value, array) = (Value::new([0u64; 50]).unwrap(), Array::new(&[0u64; 500]).unwrap());
    let inside = (value.clone(), array.clone());
    let mut stress = KillStress::new(3, move |place, _| {
        let (value, array) = &inside;
        loop {
            match place {
                0 => value.update(|words| words.iter_mut().for_each(|word| *word += 1)),
                _ => array.update(|words| words.iter_mut().for_each(|word| *word += 1)),
            }
        }
    });
    let mut before = (0, 0);
    for _ in 0..kills {
        stress.kill_one();
        let (words, elements) = (value.get(), array.to_vec());
        assert!(words.iter().all(|&word| word == words[0]), "{words:?}");
        assert!(elements.iter().all(|&element| element == elements[0]), "{elements:?}");
        assert!(words[0] >= before.0 && elements[0] >= before.1);
        before = (words[0], elements[0]);
    }
    while value.get()[0] == before.0 || array.get(0) == before.1 {
        sleep(Duration::from_millis(1));
    }
    (0..3).for_each(|place| stress.kill(place));
}

fn killed_in_elements() {
    const SIZE: usize = 2_048;
    let array = Array::new(&[[0u64; SIZE]; 4]).unwrap();
    let inside = array.clone();
    let mut stress = KillStress::new(2, move |place, _| {
        for number in 1.. {
            inside.set(place, [number; SIZE]);
        }
    });
    for _ in 0..300 {
        stress.kill_one();
        let elements = array.to_vec();
        for element in &elements {
            assert!(*element == [element[0]; SIZE], "{:?}", element.iter().collect::<HashSet<_>>());
        }
        assert!(elements[2..] == [[0; SIZE]; 2]);
    }
    (0..2).for_each(|place| stress.kill(place));
}

fn nothing_left() {
    let before = shared_mappings();
    let all: Vec<_> = (0..10).map(|n| (Value::new(n).unwrap(), Array::new(&[n; 10]).unwrap())).collect();
    let clones = all.clone();
    drop(all);
    assert!(shared_mappings() > before);
    assert_eq!(clones[7].1.get(9), 7);
    drop(clones);
    assert_eq!(shared_mappings(), before);
}

fn no_system_calls() {
    let (value, array) = (Value::new(0u32).unwrap(), Array::new(&[0u32; 10]).unwrap());
    assert!(makes_no_system_calls(|| {
        for round in 0..100 {
            value.update(|value| *value += 1);
            array.set(round % 10, value.get());
            array.update_at(3, |value| *value += 1);
        }
    }));
}
