//! The functions and handles that a program uses; `lib.rs` re-exports them.
//!
//! Next: `api/spawn.rs`.

pub(crate) mod current_hub;
pub(crate) mod generator;
pub(crate) mod handle;
pub mod io;
pub(crate) mod join;
pub(crate) mod local;
pub(crate) mod oneshot;
pub(crate) mod policy;
pub(crate) mod scope;
pub(crate) mod sleep;
pub(crate) mod spawn;
pub(crate) mod timeout;
pub mod trace;
pub mod wait;
