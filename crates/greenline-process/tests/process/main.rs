//! Processes, and what they share. Each test runs in a process of its own, without a patch and patched.

mod lifecycle;
mod pipe;
mod queue;
mod shared;
#[path = "../support/mod.rs"]
mod support;
mod sync;

use std::process::ExitCode;

fn main() -> ExitCode {
    let alone = [
        ("lifecycle", lifecycle::ALONE),
        ("pipe", pipe::ALONE),
        ("queue", queue::ALONE),
        ("shared", shared::ALONE),
        ("sync", sync::ALONE),
    ];
    support::trials::main(&alone, lifecycle::OTHERS, lifecycle::TESTS)
}
