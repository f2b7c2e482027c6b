//! Questions about green threads: name, origin, counts, and the values of `green_local!`.
//!
//! Next: `hub/observer.rs`.

use super::fields::Hub;
use crate::green::SpawnSite;
use crate::ids::GreenId;
use std::any::Any;
use std::fmt;
use std::rc::Rc;

/// Counts of this OS thread's hub so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Number of switches into a green thread or back into the root.
    pub switches: u64,
    /// Number of green threads that have not ended, whether they have started or not.
    pub alive: usize,
    /// Number of stacks ever made. Stacks are reused, so this is the largest number that was in use at once.
    pub stacks: usize,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} switches, {} green threads alive, {} stacks made",
            self.switches, self.alive, self.stacks
        )
    }
}

impl Hub {
    pub(crate) fn stats(&self) -> Stats {
        let alive = self.status.alive() as usize;
        Stats { switches: self.status.switches(), alive, stacks: self.pool.stacks().high_water_mark() }
    }

    /// Returns whether there are no green threads. Then a root that does not block keeps none from running.
    pub(crate) fn has_no_green_threads(&self) -> bool {
        self.status.alive() == 0
    }

    pub(crate) fn name_of(&self, id: GreenId) -> Option<Rc<str>> {
        self.state.borrow_mut().green(id).map(|green| green.name())
    }

    /// Calls `describe` with the name, the id and the origin of the running green thread. For the fault handler: allocates
    /// nothing, and returns `false` if the state is borrowed.
    pub(crate) fn describe_current(&self, describe: impl FnOnce(Option<&str>, GreenId, SpawnSite)) -> bool {
        let Ok(state) = self.state.try_borrow() else { return false };
        let Some(green) = state.greens.get(self.current().key()) else { return false };
        describe(green.name.as_ref().map(|name| &***name), green.id, green.origin());
        true
    }

    /// Gives the watchdog the names of all green threads.
    pub(crate) fn publish_labels(&self) {
        for (_, green) in &self.state.borrow().greens {
            self.status.set_label(green.id, green.name.as_ref().map(|name| &***name), green.spawned_at);
        }
    }

    /// Returns the running green thread's value of `key`.
    pub(crate) fn local(&self, key: *const ()) -> Option<Rc<dyn Any>> {
        let mut state = self.state.borrow_mut();
        let locals = &state.record_mut(self.current()).rare.as_ref()?.locals;
        locals.iter().find(|(of, _)| *of == key).map(|(_, value)| value.clone())
    }

    /// Gives the running green thread a value of `key`.
    pub(crate) fn set_local(&self, key: *const (), value: Rc<dyn Any>) -> Rc<dyn Any> {
        self.state.borrow_mut().record_mut(self.current()).rare_mut().locals.push((key, value.clone()));
        value
    }

    /// Takes the value that the running green thread has made first.
    pub(crate) fn take_local(&self) -> Option<Rc<dyn Any>> {
        let mut state = self.state.borrow_mut();
        let locals = &mut state.record_mut(self.current()).rare.as_mut()?.locals;
        (!locals.is_empty()).then(|| locals.remove(0).1)
    }
}
