//! A thread control block (TCB) for each green thread, so that it is a thread of its own to std and to C.
//!
//! Code that has never heard of greenline finds its thread by one register, the thread pointer. It points at the TCB,
//! and `thread_local!` values, `errno`, `thread::current()`, std's count of panics and C's `pthread_self` are all found
//! from there. A green thread whose own TCB is loaded whenever it runs has all of these of its own.
//!
//! ```text
//!   low   [ TLS of libraries | of the executable ] [ struct pthread: tid, dtv, keys, ... ]   high     (x86_64)
//!                                                  ^ thread pointer
//! ```
//!
//! Three things are not the green thread's own. (1) The words by which malloc finds its cache and its arena are copied
//! from block to block at each switch, so malloc always sees one OS thread. (2) The current word
//! ([`crate::sys::current_word`]) is the same in each block, so the hub is found from all of them. (3) The thread id stays
//! the OS thread's, because the kernel knows it by that.
//!
//! The hub's loop loads the block of the next green thread straight in the place of the last one's. The loop itself runs
//! with any of them, because it uses nothing thread-local. Before it calls code that does, it loads the OS thread's.
//!
//! **Invariants.** (1) A block is loaded on at most one OS thread, and only by the hub that made it. (2) A block is not
//! used again before its green thread has ended and, if it is joinable, was joined.
//!
//! This module calls nothing above it: the hub passes its address as an opaque word, and [`TcbPool::end`] returns the
//! address of the futex that the hub has to wake.
//!
//! Next: `tls/green_tls.rs`, what a block says about its green thread.
#![allow(unsafe_code)]

mod block;
mod destructors;
mod find;
mod green_tls;
mod layout;
mod memory;
mod self_test;
mod tcb;
mod tcb_pool;

pub(crate) use destructors::{
    forget_key, has_tls_destructors, note_destruction, note_key, push_destructor, run_destructors,
};
pub(crate) use green_tls::{
    DETACHED, Destructor, ENDED, GreenTls, PthreadKind, TlsOwner, is_green, is_pthread, with_green_tls,
};
pub(crate) use self_test::probe;
pub(crate) use tcb::{Tcb, load};
pub(crate) use tcb_pool::{TcbPool, enable_per_green_tcb, is_enabled, release};
