//! The names of constants of the C library, for reports: signals, and system calls.
//!
//! Next: `sys/sigset.rs`.

use libc::c_int;

/// A table of constants of the libc crate, each with its number and its name.
macro_rules! constants {
    ($($name:ident)*) => { &[$((libc::$name as i64, stringify!($name))),*] };
}
pub(crate) use constants;

/// Returns `SIGINT` and the like, or `signal 40` for a signal without a name.
pub(crate) fn signal_name(signal: c_int) -> String {
    const SIGNALS: &[(i64, &str)] = constants! {
        SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM
        SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF
        SIGWINCH SIGIO SIGPWR SIGSYS
    };
    let known = SIGNALS.iter().find(|(number, _)| *number == i64::from(signal));
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).into())
}
