//! The hub: the scheduler of one OS thread, made when the program first needs it.
//!
//! It owns the records of its green threads and moves them between their states. When a green thread blocks, it leaves its
//! stack for the loop. When the OS thread's own stack, the root, blocks, the loop runs there.
//!
//! | file                         | concept                                                          |
//! |------------------------------|------------------------------------------------------------------|
//! | `fields.rs`, `state.rs`      | the hub's data, and what always holds of it                      |
//! | `scheduler.rs`               | the loop: pick, resume, poll, idle                               |
//! | `park.rs`, `interrupts.rs`   | parking, waking, yielding; kill and timeout                      |
//! | `lifecycle.rs`, `entry.rs`   | spawning and finishing green threads; the first function of one  |
//! | `retry.rs`, `wait_fd.rs`     | the one loop of input and output; parking for descriptors        |
//! | `inbox.rs`, `remote.rs`      | what other OS threads ask                                        |
//! | `current.rs`, `shutdown.rs`  | which hub is this OS thread's; its end                           |
//! | `poll_interval.rs`, `prefetch.rs`, `emergency_stack.rs` | what makes the loop fast, and robust  |
//! | `subscriptions.rs`, `signals.rs`, `green_sigmask.rs` | signals                                        |
//! | `trace_event.rs`, `observer.rs`, `deferred_log.rs`, `info.rs`, `status.rs`, `deadlock.rs` | reports   |
//! | `forked_child.rs`            | the hub of a forked child                                        |
//! | `interpose.rs`, `futex.rs`   | what interposed calls ask                                        |
//!
//! Next: `hub/scheduler.rs`, the loop.

mod current;
mod deadlock;
mod deferred_log;
mod emergency_stack;
mod entry;
mod fields;
mod forked_child;
pub(crate) mod futex;
mod green_sigmask;
mod inbox;
mod info;
mod interpose;
mod interrupts;
mod lifecycle;
mod observer;
mod park;
mod poll_interval;
mod prefetch;
mod remote;
mod retry;
mod scheduler;
mod shutdown;
mod signals;
mod state;
pub(crate) mod status;
mod subscriptions;
mod trace_event;
mod wait_fd;

pub use current::with_blocking_disabled;
pub(crate) use current::{has_ended, make, try_current};
pub(crate) use entry::{entry_closure, finish_current};
pub(crate) use fields::Hub;
pub use forked_child::fork;
pub(crate) use forked_child::{before_fork, reset_after_fork};
pub(crate) use inbox::{HubGoneListener, Inbox};
pub use info::Stats;
pub(crate) use interpose::keep_errno;
pub(crate) use lifecycle::Spawn;
pub(crate) use remote::InboxHandle;
pub use remote::RemoteTicket;
pub(crate) use retry::{BackoffOpts, EAGAIN, OnInterrupt, RetryOpts, Tracking};
pub use trace_event::Event;
