//! Calls that wait, one family a module: `poll`, `waitpid`, `sigwait`, message queues, and descriptors of all kinds. Each returns
//! what it returns on an OS thread that is not patched, and other green threads run meanwhile.
//!
//! The tests run one at a time, because numbers of descriptors, children and handlers of signals are the process's.

#![cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]

mod descriptors;
mod ipc;
mod poll;
mod signals;
#[path = "../support/mod.rs"]
mod support;
mod waitpid;

support::subprocess::run_cases_before_main!(run);

/// Runs a case in a child.
fn run(case: &str) {
    match case {
        "exit twice" => waitpid::exit_twice(),
        "large number" => descriptors::number::large_number(),
        _ => panic!("there is no case {case}"),
    }
}
