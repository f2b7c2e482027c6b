//! A panic in a green thread is reported once, as std reports one in a thread, with the green thread's name
//! in front: `green thread 'work1':`, then std's `thread 'main' panicked at src/main.rs:5:9`.
//!
//! A hook put before the one that was there, not in its place; a program that sets its own afterwards has
//! its own. While ours runs the other, nothing blocks: std would abort if another green thread panicked meanwhile.

use crate::hub::try_current;
use crate::ids::GreenId;
use crate::tls;
use std::panic;
use std::sync::Once;

/// Says something that the program should not miss: to its logger, or to stderr where it has none.
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
    // The hook cannot be set by a thread that panics. Then a later hub does it.
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match try_current().filter(|hub| hub.can_block()) {
            Some(hub) => {
                let id = hub.current();
                if tls::is_pthread() {
                    // std knows its name, and says it.
                    return before(info);
                }
                if let Some(name) = hub.name_of(id).filter(|_| id != GreenId::ROOT) {
                    // What std's hook says begins on a line of its own.
                    eprint!("\ngreen thread '{name}': ");
                }
                match tls::is_green() {
                    // Then it has a count of panics of its own, and locks may be waited for.
                    true => before(info),
                    false => hub.with_blocking_disabled(|| before(info)),
                }
            }
            None => before(info),
        }));
    });
}
