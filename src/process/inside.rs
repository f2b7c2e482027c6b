//! The child's whole life, on the stack that has forked. It leaves by `_exit`, and never by a return.

use super::exit::Exit;
use super::{current, ending};
use crate::green::JoinError;
use crate::hub::catch;
use crate::watchdog;
use std::any::Any;

/// Runs `f`, and ends the process with what came of it.
pub(super) fn run<R: Exit>(f: impl FnOnce() -> R) -> ! {
    ending::begin_anew();
    watchdog::start_as_in_parent();
    read_from_nowhere();
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
    ending::end(code)
}

/// What was said when it was thrown.
fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

/// What the terminal says is said to the parent.
fn read_from_nowhere() {
    crate::fds::forget(0);
    // SAFETY: a name that ends in 0; the descriptor that is opened is closed again, unless it is stdin's own.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if null > 0 {
            libc::dup2(null, 0);
            libc::close(null);
        }
    }
}
