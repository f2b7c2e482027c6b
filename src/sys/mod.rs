//! Leaves: what the other modules need of the processor, the kernel and the C library. Nothing here knows a green
//! thread.
//!
//! Next: `sys/raw_mutex.rs`, the lock that never parks.

pub(crate) mod abort;
pub(crate) mod at_exit;
pub(crate) mod hint;
pub(crate) mod page;
pub(crate) mod raw_mutex;
pub(crate) mod signal_chain;
pub(crate) mod sigset;
pub(crate) mod timespec;
