//! Leaves: what the other modules need of the processor, the kernel and the C library. Nothing here knows a green thread.
//!
//! Next: `sys/raw_mutex.rs`, the lock that never parks.

pub(crate) mod abort;
pub(crate) mod at_fork;
pub(crate) mod catch;
pub(crate) mod constant_name;
pub(crate) mod current_word;
pub(crate) mod exit_hooks;
pub(crate) mod hint;
pub(crate) mod kernel_futex;
pub(crate) mod os_thread;
pub(crate) mod page;
pub(crate) mod poll_now;
pub(crate) mod quiescent;
pub(crate) mod raw_mutex;
pub(crate) mod signal_chain;
pub(crate) mod signal_handler;
pub(crate) mod sigset;
pub(crate) mod stderr;
pub(crate) mod tid;
pub(crate) mod timespec;
pub(crate) mod tls_segments;
