//! Two OS threads sing and dance while `main` runs on. `main` does not join them and returns first. The process ends when
//! its threads have ended, because they are no daemons. With `--wait`, `main` joins them. With `--daemon`, they are daemons,
//! and the end of the process does not wait for them.
//!
//! Run with: `cargo run --release --example thread_sing_dance -- [--wait | --daemon]`

use greenline::thread::Thread;
use std::{thread::sleep, time::Duration};

fn perform(what: &'static str, times: u32) {
    for n in 1..=times {
        println!("{what} {n}");
        sleep(Duration::from_millis(100));
    }
}

fn main() {
    let option = std::env::args().nth(1).unwrap_or_default();
    let (wait, daemon) = (option == "--wait", option == "--daemon");
    if !(wait || daemon || option.is_empty()) {
        eprintln!("unexpected argument '{option}'\nusage: thread_sing_dance [--wait | --daemon]");
        std::process::exit(2);
    }
    let thread = |what| Thread::new(move || perform(what, 3)).name(what).daemon(daemon);
    let threads = ["singing", "dancing"].map(|what| thread(what).start().expect("an OS thread"));
    for thread in &threads {
        println!("{} is alive: {}", thread.name(), thread.is_alive());
    }
    if wait {
        for thread in threads {
            thread.join().expect("no panic");
        }
        println!("both have ended");
    }
    println!("main is over");
}
