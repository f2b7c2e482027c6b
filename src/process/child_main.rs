//! The child's whole life, on the stack that has forked. It leaves by `_exit`, and never by a return.

use super::exit::Exit;
use super::pipe::PipeEnd;
use super::{at_exit, current, dev_null};
use crate::green::JoinError;
use crate::hub::{begin_own_life, catch};
use crate::observe::watchdog;
use std::any::Any;
use std::sync::Weak;

/// Runs `f`, and ends the process with what came of it.
///
/// `f` lies on the stack of who has forked, like all else that its parent has; only `f` is moved, and dropped.
pub(super) fn run<R: Exit>(f: impl FnOnce() -> R, closing: &[Weak<PipeEnd>]) -> ! {
    begin_own_life();
    at_exit::prepare();
    watchdog::start_as_in_parent();
    // What the terminal says is said to the parent. It can be read from, if need be.
    let _ = dev_null::become_null(0);
    closing.iter().filter_map(Weak::upgrade).for_each(|end| end.give_up());
    let code = match catch(|| f().exit_code()) {
        Ok(code) => code,
        Err(JoinError::Panicked(payload)) => {
            eprintln!("process '{}' panicked: {}", current().name(), message(&*payload));
            // Its destructor may panic, too.
            std::mem::forget(payload);
            1
        }
        // By `pthread_exit`.
        Err(_) => 0,
    };
    at_exit::end(code)
}

/// What was said when it was thrown.
pub(super) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
