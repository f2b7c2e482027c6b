//! A guard for code that must not be left by an unwind, because the code after it is what makes it sound.
//!
//! Next: `sys/hint.rs`.

/// Aborts the process when dropped, with this sentence on standard error, unless it is disarmed.
#[must_use]
pub(crate) struct AbortOnUnwind(pub(crate) &'static str);

impl AbortOnUnwind {
    #[inline]
    pub(crate) fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for AbortOnUnwind {
    #[cold]
    fn drop(&mut self) {
        eprintln!("greenline: {}; aborting", self.0);
        std::process::abort();
    }
}
