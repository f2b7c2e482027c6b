//! Input and output, interposed. A descriptor of the program's is never made non-blocking (except a stream for the
//! moment in which it begins to connect): that is a property of what it refers to, which others may share. A call is
//! made in a way that does not wait (`MSG_DONTWAIT`, `RWF_NOWAIT`, or asking `poll` first). If the kernel says that the
//! call would wait, the green thread parks, unless the program itself has made the descriptor non-blocking. How long it
//! waits is what the program has set (`SO_RCVTIMEO`).
//!
//! | file | is about |
//! |------|----------|
//! | `recv_send.rs`, `sendmsg.rs` | `recv`, `send` and their relatives; `accept`, `connect`; messages |
//! | `read_write.rs` | `read`, `write` and their relatives |
//! | `file.rs`, `file_pos.rs` | files, which cannot be polled; `fsync` and its like |
//! | `splice.rs` | `sendfile`, `splice`, `copy_file_range` |
//! | `file_lock.rs`, `open.rs` | locks on files; opening, of named pipes above all |
//! | `wait_any.rs` | the loop of calls that wait for any of several descriptors, or for signals |
//! | `ppoll.rs`, `select.rs`, `epoll_wait.rs`, `sigwait.rs` | those calls |
//! | `waitpid.rs`, `ipc.rs` | waiting for children; queues and semaphores that processes share |
//! | `resolver.rs` | `getaddrinfo` and its like, done by another OS thread |
//! | `fd.rs`, `fd_mode.rs` | the life of a descriptor; what it refers to, and what the program has set |
//! | `blocking.rs`, `transfer.rs`, `iovec.rs`, `mask.rs` | what several of these need |
//!
//! Next: `patch/io/read_write.rs`, the functions that most programs call.

mod blocking;
mod epoll_wait;
mod fd;
mod fd_mode;
mod file;
mod file_lock;
mod file_pos;
mod iovec;
mod ipc;
mod mask;
mod open;
mod ppoll;
mod read_write;
mod recv_send;
mod resolver;
mod select;
mod sendmsg;
mod sigwait;
mod splice;
mod transfer;
mod wait_any;
mod waitpid;

use crate::patch::kind::Covered;

/// The rows of all families.
pub(super) const COVERAGE: &[&[Covered]] = &[
    recv_send::COVERAGE,
    sendmsg::COVERAGE,
    read_write::COVERAGE,
    file::COVERAGE,
    splice::COVERAGE,
    file_lock::COVERAGE,
    open::COVERAGE,
    ppoll::COVERAGE,
    select::COVERAGE,
    epoll_wait::COVERAGE,
    sigwait::COVERAGE,
    waitpid::COVERAGE,
    ipc::COVERAGE,
    resolver::COVERAGE,
    fd::COVERAGE,
];

/// For the child of a fork: what was going on in its parent does not go on in it.
pub(super) fn reset_after_fork() {
    forked();
    file_pos::reset_after_fork();
    file_lock::reset_after_fork();
    resolver::reset_after_fork();
    recv_send::reset_after_fork();
}

/// For both sides of a fork: from now on two processes have these descriptors.
pub(super) fn forked() {
    recv_send::share_listeners();
}
