//! What several processes share, and how they wait for each other.
//!
//! Everything that blocks between processes is a [`Monitor`]: a state in memory that all of them see, changed by one at
//! a time, and gates at which those wait who find that they cannot go on. A monitor survives its users: a process
//! that is killed, at whichever instruction, leaves the state as it was before its change or after it, nothing locked,
//! and nobody asleep who could go on.
//!
//! | file         | is about                                                            |
//! |--------------|---------------------------------------------------------------------|
//! | `region.rs`  | memory that a child shares with its parent                           |
//! | `os.rs`      | this OS thread, as the kernel knows it: its id, and what it holds     |
//! | `mutex.rs`   | a lock that the kernel opens when its holder dies                    |
//! | `gate.rs`    | where waiters of any process wait, by a descriptor                   |
//! | `ring.rs`    | messages in such memory, first in, first out                        |
//! | `peer.rs`    | which process that is, and whether it has ended                      |
//! | `monitor.rs` | the three together: **the one way to block between processes**       |
//!
//! A handle is made in one process and inherited by those that are forked afterwards; that is the only way to pass it
//! on. All of them run the same program, at the same addresses, so what one has written is a value to another.

mod condvar;
mod mapping;
mod monitor;
mod mutex;
mod process_id;
mod ring;
mod robust_list;

pub(crate) use monitor::{Monitor, Transaction};
pub(crate) use process_id::{ExitFd, ProcessId};
pub(crate) use ring::{Popped, Ring};
