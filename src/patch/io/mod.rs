//! Input and output, interposed.
//!
//! | file        | is about                                                          |
//! |-------------|-------------------------------------------------------------------|
//! | `socket.rs` | `recv`, `send` and their relatives; `accept`, `connect`           |
//! | `message.rs` | `recvmsg`, `sendmsg`, and several messages by one call           |
//! | `rw.rs`, `positional.rs` | `read`, `write` and their relatives                  |
//! | `file.rs`   | files, for which nobody can wait; `fsync` and its like            |
//! | `splice.rs` | `sendfile`, `splice`, `copy_file_range`                           |
//! | `lock.rs`   | locks on files                                                    |
//! | `open.rs`   | opening, of named pipes above all                                 |
//! | `several.rs` | the loop for what waits for several descriptors, and for signals |
//! | `poll.rs`, `select.rs`, `epoll.rs` | the calls that do                          |
//! | `signals.rs` | waiting for signals; the masks of those calls                    |
//! | `process.rs` | waiting for children                                             |
//! | `queue.rs`  | the message queues and semaphores that processes share            |
//! | `name.rs`   | `getaddrinfo` and its like, done by another OS thread             |
//! | `fd.rs`     | the life of a descriptor: made, duplicated, set, closed           |
//! | `retry.rs`, `whole.rs` | trying and waiting; writing all of it                  |
//! | `settings.rs` | what the program has set of a descriptor                        |
//! | `covered.rs` | the table of what is interposed                                  |
//!
//! A descriptor of the program's is never made non-blocking (but a stream for the moment in which it begins to connect):
//! that is a property of what it refers to, which others may share. A call is made in a way that does not wait (`MSG_DONTWAIT`, `RWF_NOWAIT`, or asking `poll` first); where
//! the kernel says that it would, the green thread parks, unless the program itself has made the descriptor
//! non-blocking. How long it waits is what the program has set (`SO_RCVTIMEO`).

mod coverage;
mod epoll;
mod fd;
mod fd_mode;
mod file;
mod file_lock;
mod ipc;
mod open;
mod poll;
mod positional;
mod read_write;
mod resolver;
mod retry;
mod select;
mod sendmsg;
mod sigwait;
mod socket;
mod splice;
mod wait_any;
mod waitpid;
mod write_all;

use super::{Covered, Kind, patched_hub};
use crate::arch::syscall::syscall;
use crate::hub::Hub;
use crate::patch::symbol::failed;
use crate::sys::timespec::{ZERO, duration_of as length, timespec_of};
use libc::{c_int, c_long};

/// The rows of all families, in the order of the table above.
pub(super) const COVERAGE: &[&[Covered]] = &[open::COVERAGE, coverage::REST];

fn hub() -> Option<&'static Hub> {
    patched_hub(Kind::Io)
}

/// The offset that means: wherever it is.
const HERE: usize = usize::MAX;

/// For the child of a fork: what was going on in its parent does not go on in it.
pub(super) fn reset_after_fork() {
    forked();
    file::reset_after_fork();
    file_lock::reset_after_fork();
    resolver::reset_after_fork();
    socket::reset_after_fork();
}

/// For both sides of a fork: there are two processes now that have these descriptors.
pub(super) fn forked() {
    socket::share_listeners();
}

/// Calls the kernel. Answers its result, or an error number negated.
///
/// # Safety
/// That of the system call.
unsafe fn kernel(number: c_long, args: [usize; 6]) -> isize {
    // SAFETY: the caller's.
    unsafe { syscall(number, args) }
}

/// `errno`'s way of a raw answer: -1 and the number.
#[inline]
fn with_errno(answer: isize) -> isize {
    if (-4095..0).contains(&answer) { set_errno(answer) } else { answer }
}

#[cold]
fn set_errno(answer: isize) -> isize {
    // SAFETY: the address is this thread's own.
    unsafe { *libc::__errno_location() = -answer as c_int };
    -1
}
