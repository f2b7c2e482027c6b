//! Signals: each delivery of a subscribed signal runs a function in a green thread.
//!
//! A signal handler in C may do next to nothing, because it interrupts any code. The handler of this crate only counts the
//! signal and writes to an eventfd on which the hub waits. The function that you give to [`handle`] runs later, in a green
//! thread, and may do anything.
//!
//! ```
//! use greenline::signal;
//! use std::sync::mpsc;
//!
//! greenline::patch::all();
//! let (stop, stopped) = mpsc::channel();
//! let ctrl_c = signal::handle(signal::SIGINT, move || stop.send(()).unwrap()).unwrap();
//! // ... threads that serve. Meanwhile a user presses Ctrl-C:
//! # unsafe { libc::kill(libc::getpid(), libc::SIGINT) };
//! stopped.recv().unwrap(); // the others run until then
//! ctrl_c.cancel(); // from here on Ctrl-C ends the program
//! ```
//!
//! Without a subscription a signal does what it does in any program: Ctrl-C ends the process, even if the hub waits.
//!
//! A hub with a subscription is never [deadlocked](crate#deadlock), because a signal may arrive at any time. It waits.
//! [`join_everything`](crate::join_everything) does not wait for subscriptions.
//!
//! The signal handler is in `sys/signal_handler.rs`.
//!
//! Next: `hub/signals.rs`, where counts become green threads.

pub use libc::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};

use crate::api::current_hub::current_hub;
use crate::api::handle::Handle;
use crate::hub::try_current;
use crate::sys::constant_name::signal_name;
use crate::sys::signal_handler;
use libc::c_int;
use std::io;
use std::marker::PhantomData;
use std::panic::Location;

/// Runs `f` in a green thread of this OS thread's hub each time that the signal is delivered to the process, to any of its OS
/// threads, as long as the [`Subscription`] exists.
///
/// Each delivery gets a green thread of its own. It is detached and has the name of the signal, such as `SIGINT`. Several may
/// run at once. The kernel merges signals that arrive while the same signal is still pending, except real-time signals (34
/// and above). So two signals may be one delivery, but no signal is lost. A signal may be subscribed to several times, also by
/// several hubs. Each subscription gets each delivery. While a green thread computes, or blocks the OS thread, `f` waits as
/// every green thread does.
///
/// After the last subscription to a signal has gone, its former action is restored. It is also restored in the child of a
/// `fork`, which has no subscriptions. Waiting system calls are restarted after the signal (`SA_RESTART`), so a read of std in
/// another OS thread does not notice it.
///
/// # Errors
/// [`InvalidInput`](io::ErrorKind::InvalidInput): the signal does not exist, or no green thread can handle it. These are
/// `SIGKILL` and `SIGSTOP`; the signals that report a failed instruction (`SIGSEGV` and others), which must be handled before
/// the instruction can go on; and `SIGABRT`, after which nothing runs. Another error: no descriptor is left, or there is no
/// memory for a stack.
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

/// A subscription to a signal, until it is dropped. (With `std::mem::forget` it lasts for ever.)
///
/// After the drop, green threads that have started go on. Deliveries that the hub has not seen yet are ignored.
#[derive(Debug)]
#[must_use = "the signal is handled only while this is held"]
pub struct Subscription {
    number: u64,
    signal: c_int,
    /// While there is a handle, the hub reports no deadlock.
    _handle: Handle,
    /// A subscription is not `Send`, because its hub is not.
    _of_this_os_thread: PhantomData<*const ()>,
}

impl Subscription {
    /// Returns the number of the signal.
    pub fn signal(&self) -> c_int {
        self.signal
    }

    /// Drops the subscription.
    pub fn cancel(self) {}
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // A hub that is gone has dropped its subscriptions.
        if let Some(hub) = try_current() {
            hub.unsubscribe(self.number);
        }
    }
}

/// Returns an error if `signal` cannot be handled later, on another stack.
fn check(signal: c_int) -> io::Result<()> {
    let refused = |why: &str| {
        let text = format!("{} cannot be handled by a green thread: {why}", signal_name(signal));
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    };
    match signal {
        libc::SIGKILL | libc::SIGSTOP => refused("the kernel lets no program handle it"),
        libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP | libc::SIGSYS => {
            refused("it reports a failed instruction, and the code cannot go on before it is handled")
        }
        libc::SIGABRT => refused("it ends the process, and no green thread runs any more"),
        1..=signal_handler::SIGRTMAX_NR => Ok(()),
        _ => refused("there is no such signal"),
    }
}
