//! The main function of a child, and what the result of its closure becomes: an exit code.
//!
//! Next: `child.rs`, a child as its parent sees it.

use super::children_at_exit;
use super::descriptor::replace_by_dev_null;
use super::pipe::PipeEnd;
use super::this_process::current;
use greenline::{
    JoinError,
    internals::{become_independent, catch_body, panic_message, start_watchdog_as_in_parent},
};
use std::convert::Infallible;
use std::fmt::Debug;
use std::process::ExitCode;
use std::sync::Weak;

/// A type that the closure of a [`Process`](super::Process) may return.
///
/// Source: `std::process::Termination`, whose result cannot be inspected; Python's `sys.exit`.
pub trait Exit {
    /// Returns the exit code. Its lower eight bits reach the parent; 0 is success.
    fn exit_code(self) -> i32;
}

impl Exit for () {
    fn exit_code(self) -> i32 {
        0
    }
}

impl Exit for i32 {
    fn exit_code(self) -> i32 {
        self
    }
}

impl Exit for u8 {
    fn exit_code(self) -> i32 {
        self.into()
    }
}

impl Exit for ExitCode {
    fn exit_code(self) -> i32 {
        // Its number cannot be read. It can only be compared.
        (0..=u8::MAX).find(|&code| ExitCode::from(code) == self).map_or(1, i32::from)
    }
}

impl Exit for Infallible {
    fn exit_code(self) -> i32 {
        match self {}
    }
}

/// An error is printed to stderr with the process's name. The exit code is then 1.
impl<T: Exit, E: Debug> Exit for Result<T, E> {
    fn exit_code(self) -> i32 {
        match self {
            Ok(value) => value.exit_code(),
            Err(error) => {
                eprintln!("process '{}' failed: {error:?}", current().name());
                1
            }
        }
    }
}

/// Runs `f` and ends the process with the exit code of its result. It runs on the stack that has forked, ends by `_exit`, and never returns.
///
/// `f` lies on the stack of the caller that has forked, like everything else that the parent has. Only `f` is moved and
/// dropped.
pub(super) fn run<R: Exit>(f: impl FnOnce() -> R, closing: &[Weak<PipeEnd>]) -> ! {
    become_independent();
    children_at_exit::install();
    start_watchdog_as_in_parent();
    // The terminal's input is for the parent. An error leaves the child with the parent's stdin.
    let _ = replace_by_dev_null(0);
    closing.iter().filter_map(Weak::upgrade).for_each(|end| end.give_up());
    let code = match catch_body(|| f().exit_code()) {
        Ok(code) => code,
        Err(JoinError::Panicked(payload)) => {
            eprintln!("process '{}' panicked: {}", current().name(), panic_message(&*payload));
            // Its destructor may panic, too.
            std::mem::forget(payload);
            1
        }
        // `pthread_exit` was called.
        Err(_) => 0,
    };
    children_at_exit::exit_child(code)
}
