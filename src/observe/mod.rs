//! Reports: events of the scheduler, deadlocks, stack overflows, panics, hubs that do not switch.
//!
//! Next: `observe/trace.rs`.

pub(crate) mod panic_hook;
pub(crate) mod stack_overflow;
pub mod trace;
pub mod watchdog;
