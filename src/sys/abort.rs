//! For code that must not be left by an unwind, because what comes after it is what makes it sound.

/// Aborts the process, with this sentence, unless it is disarmed.
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
