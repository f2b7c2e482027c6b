//! Exit codes: what the result of a process's closure becomes.
//!
//! Next: `process/child_main.rs`, which runs the closure.

use super::this_process::current;
use std::convert::Infallible;
use std::fmt::Debug;
use std::process::ExitCode;

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
