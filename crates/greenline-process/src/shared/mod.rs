//! Memory that several processes share, and how they wait for each other.
//!
//! Everything that blocks between processes is a [`Monitor`]: a state in memory that all of them see, changed by one at
//! a time, and condition variables. A monitor survives its users. If a process is killed at any instruction, the state is
//! as it was before its change or after it, nothing is locked, and no process sleeps that could go on.
//!
//! | file             | is about                                                         |
//! |------------------|------------------------------------------------------------------|
//! | `monitor.rs`     | **the one way to block between processes**                       |
//! | `mutex.rs`       | a mutex that the kernel opens when its holder dies               |
//! | `robust_list.rs` | what the kernel knows of the mutex that an OS thread holds       |
//! | `condvar.rs`     | waiters of any process, woken by a descriptor                    |
//! | `mapping.rs`     | memory that a child shares with its parent                       |
//! | `ring.rs`        | messages in such memory, first in, first out                     |
//! | `process_id.rs`  | identifying a process, and seeing whether it has exited          |
//! | `epoch.rs`       | a number that tells a process from its parent                    |
//!
//! A handle is made in one process and inherited by those that are forked afterwards. There is no other way to pass it on.
//! All of them run the same program at the same addresses, so what one has written is a value to another.
//!
//! Next: `shared/monitor.rs`.

mod condvar;
mod epoch;
mod mapping;
mod monitor;
mod mutex;
mod process_id;
mod ring;
mod robust_list;

pub(crate) use monitor::{Limit, Monitor, Transaction};
pub(crate) use process_id::ProcessId;
pub(crate) use ring::{PopResult, Ring};
