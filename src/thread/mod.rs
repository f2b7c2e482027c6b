//! OS threads, also after [`patch::threads`](crate::patch::threads): for code that has to run on another core, or that
//! blocks where nothing can be patched.
//!
//! `std::thread::spawn` makes an OS thread, too, until it is patched. From then on it makes a green thread wherever there is
//! a hub.
//!
//! | file            | concept                                                             |
//! |-----------------|---------------------------------------------------------------------|
//! | `start.rs`      | making an OS thread, and joining it                                 |
//! | `non_daemon.rs` | the OS threads for which the process waits before it ends           |
//! | `timer.rs`      | a function that is called after a delay                             |
//! | `offload/`      | a pool of OS threads that run what cannot be polled                 |
//!
//! Next: `thread/start.rs`.

mod non_daemon;
pub(crate) mod offload;
mod start;
mod timer;

pub(crate) use non_daemon::wait_for_all;
pub use start::{JoinHandle, Thread};
pub use timer::{Timer, TimerHandle};
