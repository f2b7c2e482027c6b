//! Generators, the simplest coroutines: a function that hands out a value, is left in the middle, and goes on from there
//! when it is asked for the next one. Two of them take turns here, and nobody schedules them but this loop; a hub does
//! the same with green threads, and knows when to.
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
    // Nothing has run yet: the first `next` begins.
    let mut waiting = vec![work("sing", 2), work("dance", 3)];
    while !waiting.is_empty() {
        // A round: each that has something to say stays for the next one.
        waiting.retain_mut(|generator| match generator.next() {
            Some(said) => {
                println!("{said}");
                true
            }
            None => false,
        });
    }

    // Values can be sent in, too: `yield_` answers them.
    let mut adder = Generator::<i32, i32>::receiving(|y| {
        let mut sum = 0;
        loop {
            sum += y.yield_(sum);
        }
    });
    adder.next();
    for number in [1, 10, 100] {
        println!("sent {number}, the sum is {:?}", adder.send(number).expect("it goes on for ever"));
    }
}
