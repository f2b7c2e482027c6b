//! Each figure is measured in a process of its own. So no measurement sees what another has left behind, and one that
//! crashes or does not end affects no other. The process is itself a worker of the model [`Process`].

use super::kernel;
use greenline_process::model::Model;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

/// The most seconds that one measurement may take.
const SECONDS: u32 = 30;

/// The amount of work in a measurement.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) quick: bool,
    pub(crate) rounds_per_microsecond: u64,
}

impl Effort {
    /// Returns one of two numbers.
    pub(crate) fn of<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Runs `measure` for `model` in a process of its own.
///
/// If the workers are green threads, everything is patched first: the one line that such a program has and others have not.
///
/// Errors: a description of the failure.
pub(crate) fn run<T>(
    model: Model,
    effort: Effort,
    measure: impl FnOnce(Model, Effort) -> io::Result<T> + Send + 'static,
) -> Result<T, String>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    let inside = move || {
        kernel::live_no_longer_than(SECONDS);
        if model == Model::Green {
            // The watchdog of debug builds would be measured, too.
            greenline::watchdog::stop();
            greenline::patch::try_all().map_err(|error| error.to_string())?;
        }
        measure(model, effort).map_err(|error| error.to_string())
    };
    let lab = Model::Process.spawn(inside).map_err(|error| error.to_string())?;
    lab.join().unwrap_or_else(|error| Err(error.to_string()))
}
