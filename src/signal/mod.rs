//! Signals: for each that is delivered, a green thread that may do anything.
//!
//! A signal handler in C may do next to nothing, for it comes in the middle of whatever runs. Here a handler of ours
//! only counts, and rings a bell that the hub waits for; what you gave to [`handle`] runs later, in a green thread.
//!
//! ```
//! use greenline::signal;
//! use std::sync::mpsc;
//!
//! greenline::patch::all();
//! let (stop, stopped) = mpsc::channel();
//! let ctrl_c = signal::handle(signal::SIGINT, move || stop.send(()).unwrap()).unwrap();
//! // ... threads that serve; and meanwhile somebody presses Ctrl-C:
//! # unsafe { libc::kill(libc::getpid(), libc::SIGINT) };
//! stopped.recv().unwrap(); // the others run until then
//! ctrl_c.cancel(); // from here on Ctrl-C ends the program
//! ```
//!
//! Without a subscription a signal does what it does in any program: Ctrl-C ends it, though the hub waits.
//!
//! While there is a subscription, somebody outside may always do something: so its hub is never
//! [deadlocked](crate#deadlock), and waits. [`join_everything`](crate::join_everything) does not wait for it.
//!
//! | file        | is about                                                           |
//! |-------------|--------------------------------------------------------------------|
//! | `mod.rs`    | what a program calls                                               |
//! | `bell.rs`   | the handler of the process, and what it writes down                |
//! | `former.rs` | handlers that were there before ours                               |
//!
//! Read next: `hub/signals.rs`, where what was counted becomes green threads.

pub use libc::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};

use crate::api::current_hub::current_hub;
use crate::api::handle::Handle;
use crate::hub::try_current;
use crate::sys::signal_handler;
use crate::sys::signal_name::signal_name;
use libc::c_int;
use std::io;
use std::marker::PhantomData;
use std::panic::Location;

/// Has `f` run in a green thread of this OS thread's hub whenever the signal is delivered to the process, to whichever
/// of its OS threads, for as long as the [`Subscription`] is held.
///
/// Each delivery is a green thread of its own, detached and called `SIGINT` and the like, so several may run at once. The
/// kernel merges what comes while the same signal is still pending (real-time signals, from 34 on, excepted): two
/// deliveries may be one, but none is none. A signal may be subscribed to several times, by several hubs, too; each
/// subscription is served. While a green thread computes, or blocks the OS thread, `f` waits as everybody does.
///
/// What was to be done with the signal before is done again after the last subscription to it has gone; so it is in
/// the child of a `fork`, where nobody subscribes. System calls that wait in the kernel are begun again after the signal
/// (`SA_RESTART`), so a read of std in another OS thread does not notice it.
///
/// # Errors
/// [`InvalidInput`](io::ErrorKind::InvalidInput): there is no such signal, or it cannot be handled so: `SIGKILL` and
/// `SIGSTOP`; those that say that an instruction has failed (`SIGSEGV` and its like), which must be handled there and
/// then; and `SIGABRT`, after which nothing runs. No descriptor is left, or no memory for a stack.
///
/// Source: gevent's `signal_handler`; signal(7).
#[doc(alias = "signal_handler")]
#[track_caller]
pub fn handle(signal: c_int, f: impl Fn() + 'static) -> io::Result<Subscription> {
    check(signal)?;
    let handle = Handle::current()?;
    let number = current_hub().subscribe(signal, Box::new(f), Location::caller())?;
    Ok(Subscription { number, signal, _handle: handle, _of_this_os_thread: PhantomData })
}

/// A signal that is handled, until this is dropped. (Leave it to `std::mem::forget` to handle it for good.)
///
/// Green threads that have begun by then go on; deliveries that the hub has not seen yet are forgotten.
#[derive(Debug)]
#[must_use = "the signal is handled only while this is held"]
pub struct Subscription {
    number: u64,
    signal: c_int,
    /// The hub cannot be sure that nobody wakes it.
    _handle: Handle,
    /// Its hub is.
    _of_this_os_thread: PhantomData<*const ()>,
}

impl Subscription {
    /// Which signal it is.
    pub fn signal(&self) -> c_int {
        self.signal
    }

    /// The same as to drop it.
    pub fn cancel(self) {}
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // A hub that has ended has ended its subscriptions.
        if let Some(hub) = try_current() {
            hub.unsubscribe(self.number);
        }
    }
}

/// Whether it is one that can be handled later, and elsewhere.
fn check(signal: c_int) -> io::Result<()> {
    let refused = |why: &str| {
        let text = format!("{} cannot be handled by a green thread: {why}", signal_name(signal));
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    };
    match signal {
        libc::SIGKILL | libc::SIGSTOP => refused("the kernel lets nobody handle it"),
        libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP | libc::SIGSYS => {
            refused("it says that an instruction has failed, and who ran it cannot go on until it is handled")
        }
        libc::SIGABRT => refused("the process ends by it, and no green thread runs any more"),
        1..=signal_handler::SIGRTMAX_NR => Ok(()),
        _ => refused("there is no such signal"),
    }
}
