//! The green-thread locals of one green thread.
//!
//! Next: `api/local.rs`, how programs declare them.

use std::any::Any;
use std::rc::Rc;

/// The values by their keys. There are few keys, so this is a list.
#[derive(Default)]
pub(crate) struct GreenLocals(Vec<(*const (), Rc<dyn Any>)>);

impl GreenLocals {
    pub(crate) fn get(&self, key: *const ()) -> Option<Rc<dyn Any>> {
        self.0.iter().find(|(of, _)| *of == key).map(|(_, value)| value.clone())
    }

    pub(crate) fn set(&mut self, key: *const (), value: Rc<dyn Any>) {
        self.0.push((key, value));
    }

    /// Takes the value that was made first, if there is one.
    pub(crate) fn take_first(&mut self) -> Option<Rc<dyn Any>> {
        (!self.0.is_empty()).then(|| self.0.remove(0).1)
    }
}
