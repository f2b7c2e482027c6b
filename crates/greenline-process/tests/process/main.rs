//! Processes, what they share, pools and managers. Each test runs in a process of its own.

mod lifecycle;
#[cfg(feature = "patch")]
mod manager;
mod pipe;
mod pool;
mod queue;
mod shared;
#[path = "../support/mod.rs"]
mod support;
mod sync;

use std::process::ExitCode;
use support::trials::Group;

fn main() -> ExitCode {
    let groups = [
        Group::both_ways("lifecycle", lifecycle::ALONE),
        Group::both_ways("pipe", pipe::ALONE),
        Group::both_ways("queue", queue::ALONE),
        Group::both_ways("shared", shared::ALONE),
        Group::both_ways("sync", sync::ALONE),
        Group { module: "pool", cases: pool::CASES, also_patched: false, call: pool::call },
        #[cfg(feature = "patch")]
        Group { module: "manager", cases: manager::CASES, also_patched: false, call: manager::call },
    ];
    support::trials::main(&groups, lifecycle::OTHERS, lifecycle::TESTS)
}
