//! One process writes A, B and C into a queue, and another reads them.
//!
//! Shows a `Queue` between processes, made before them and used by both. The reader can get a message as soon as the
//! writer's `put` returns, in that order. When the writer closes the queue, the reader reads the rest and ends.
//!
//! Run with: `cargo run --release --example process_queue`

use greenline_process::{Process, Queue};
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let queue = Queue::new()?;

    let letters = queue.clone();
    let writer = Process::new(move || {
        for letter in ['A', 'B', 'C'] {
            println!("process {} puts {letter} into the queue", std::process::id());
            letters.put(letter).expect("nobody closes it but this one");
            greenline::sleep(Duration::from_millis(20));
        }
        letters.close();
    });
    let reader = Process::new(move || {
        while let Ok(letter) = queue.get() {
            println!("process {} gets {letter} from the queue", std::process::id());
        }
    });

    let (writer, reader) = (writer.name("writer").start()?, reader.name("reader").start()?);
    for process in [writer, reader] {
        println!("the {} has ended with {}", process.name(), process.join()?);
    }
    Ok(())
}
