//! `std::thread` does what its documentation says, with threads that are green threads of one OS thread.

#![cfg(feature = "patch")]

mod local;
mod os_thread;
mod panic;
mod park;
mod scope;
mod spawn;
#[path = "../support/mod.rs"]
mod support;
