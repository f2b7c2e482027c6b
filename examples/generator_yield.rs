//! Generators, the simplest coroutines. A generator yields a value, which suspends it, and continues from there when its
//! caller wants the next value. The loop in `main` schedules two of them in turn. A hub does the same with green threads,
//! and also knows when each can continue.
//!
//! Run with: `cargo run --release --example generator_yield`

use greenline::Generator;

fn work(name: &'static str, steps: u32) -> Generator<String> {
    Generator::new(move |y| {
        for step in 1..=steps {
            y.yield_(format!("{name}: step {step}"));
        }
    })
}

fn main() {
    // No generator has run yet: the first `next` starts it.
    let mut waiting = vec![work("sing", 2), work("dance", 3)];
    while !waiting.is_empty() {
        // One round. A generator that has ended is removed.
        waiting.retain_mut(|generator| match generator.next() {
            Some(line) => {
                println!("{line}");
                true
            }
            None => false,
        });
    }

    // A caller can also send values in: `yield_` returns them.
    let mut adder = Generator::<i32, i32>::receiving(|y| {
        let mut sum = 0;
        loop {
            sum += y.yield_(sum);
        }
    });
    adder.next();
    for number in [1, 10, 100] {
        println!("sent {number}, the sum is {:?}", adder.send(number).expect("it never ends"));
    }
}
