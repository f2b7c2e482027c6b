//! The panic hook: reports a panic in a green thread as std reports one in a thread, with the green thread's name in front:
//! `green thread 'work1':`, then std's `thread 'main' panicked at src/main.rs:5:9`.
//!
//! The hook calls the one that was installed before it. A program that installs its own hook later replaces this one. While
//! the former hook runs, nothing parks: std would abort if another green thread panicked meanwhile.
//!
//! Next: `observe/stack_overflow.rs`.

use crate::hub::try_current;
use crate::ids::GreenId;
use crate::tls;
use std::panic;
use std::sync::Once;

/// Logs a text that the program should not miss. Writes it to standard error if the program has no logger for it.
pub(crate) fn log_or_stderr(level: log::Level, text: &str) {
    if log::log_enabled!(level) {
        log::log!(level, "{text}");
    } else {
        eprintln!("greenline: {text}");
    }
}

/// Installs the hook, once for the process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    // std refuses to set a hook on a thread that panics. Then a later hub does it.
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let hub = try_current().filter(|hub| hub.can_block());
            // std knows the name of a pthread, and prints it.
            let Some(hub) = hub.filter(|_| !tls::is_pthread()) else { return former(info) };
            let id = hub.current();
            if let Some(name) = hub.name_of(id).filter(|_| id != GreenId::ROOT) {
                // std's text begins on a line of its own.
                eprint!("\ngreen thread '{name}': ");
            }
            if tls::is_green() {
                // It has a panic count of its own, so it may wait for locks.
                former(info);
            } else {
                hub.with_blocking_disabled(|| former(info));
            }
        }));
    });
}
