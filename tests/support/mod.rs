//! Helpers that several test files share, each in one place. A test file says `mod support;` and uses what it needs.
//!
//! `net_errors.rs` holds tests, not helpers. The two test files that run it include it by its path.

#![allow(dead_code, unused_imports, unused_macros)] // each test file uses a part

#[cfg(feature = "patch")]
pub(crate) mod differential;
#[cfg(feature = "patch")]
pub(crate) mod files;
pub(crate) mod hang_guard;
pub(crate) mod limits;
pub(crate) mod proc_fs;
pub(crate) mod random;
pub(crate) mod sockets;
pub(crate) mod subprocess;
pub(crate) mod threads;
pub(crate) mod time;
