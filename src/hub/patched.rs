//! What only interposed calls ask of the hub.

use super::Hub;

impl Hub {
    /// Whether an interposed call has already returned early for the interrupt that is pending. They are not
    /// unwound by one: they return early, once.
    pub(crate) fn was_cut_short(&self) -> bool {
        self.state.borrow_mut().expect(self.current.get()).cut_short
    }

    /// Notes that one does.
    pub(crate) fn cut_short(&self) {
        self.state.borrow_mut().expect(self.current.get()).cut_short = true;
    }
}
