//! From what a process's closure returns to the number that its parent sees.

use std::convert::Infallible;
use std::fmt::Debug;
use std::process::ExitCode;

/// What a closure may return that runs as a [`Process`](super::Process).
///
/// Source: `std::process::Termination`, whose result cannot be looked into; Python's `sys.exit`.
pub trait Exit {
    /// The exit code, of which the lower eight bits reach the parent. 0 is success.
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
        // It does not say which it is, but whether it is the same as another.
        (0..=u8::MAX).find(|&code| ExitCode::from(code) == self).map_or(1, i32::from)
    }
}

impl Exit for Infallible {
    fn exit_code(self) -> i32 {
        match self {}
    }
}

/// An error is said on stderr, with the process's name, and ends it with 1.
impl<T: Exit, E: Debug> Exit for Result<T, E> {
    fn exit_code(self) -> i32 {
        match self {
            Ok(value) => value.exit_code(),
            Err(error) => {
                eprintln!("process '{}' failed: {error:?}", super::current().name());
                1
            }
        }
    }
}
