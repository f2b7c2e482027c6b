//! The main function of a child. It runs on the stack that has forked, ends by `_exit`, and never returns.
//!
//! Next: `process/exit.rs`, the exit code.

use super::children_at_exit;
use super::descriptor::replace_by_dev_null;
use super::exit::Exit;
use super::pipe::PipeEnd;
use super::this_process::current;
use crate::green::catch_body;
use crate::green::{JoinError, panic_message};
use crate::observe::watchdog;
use crate::sys::at_fork::become_independent;
use std::sync::Weak;

/// Runs `f` and ends the process with the exit code of its result.
///
/// `f` lies on the stack of the caller that has forked, like everything else that the parent has. Only `f` is moved and
/// dropped.
pub(super) fn run<R: Exit>(f: impl FnOnce() -> R, closing: &[Weak<PipeEnd>]) -> ! {
    become_independent();
    children_at_exit::install();
    watchdog::start_as_in_parent();
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
