//! The functions and handles that a program uses; `lib.rs` re-exports them.
//!
//! Next: `api/wait.rs`, then `api/join.rs`, `api/spawn.rs`, `api/sleep.rs`, `api/io.rs`.

pub(crate) mod current_hub;
pub(crate) mod generator;
pub(crate) mod handle;
pub mod io;
pub(crate) mod join;
pub(crate) mod local;
pub(crate) mod oneshot;
pub(crate) mod scope;
pub(crate) mod sleep;
pub(crate) mod spawn;
pub(crate) mod this_hub;
pub(crate) mod timeout;
pub mod trace;
pub mod wait;
