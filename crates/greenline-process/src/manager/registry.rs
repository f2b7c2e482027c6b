//! The registry: all objects of a server by number and by name. It is itself an object, with the number [`REGISTRY`].
//!
//! Next: `manager/queue.rs`, one of the objects.

use super::dict::DictObject;
use super::event::EventObject;
use super::list::ListObject;
use super::manager_error::ManagerError;
use super::object::{Object, Reply, Session, decode};
use super::protocol::{Bytes, Kind, REGISTRY, RegistryRequest};
use super::queue::QueueObject;
use super::semaphore::SemaphoreObject;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Default)]
pub(super) struct Registry {
    objects: RefCell<BTreeMap<u64, (Kind, Rc<dyn Object>)>>,
    names: RefCell<BTreeMap<String, u64>>,
    /// The number of the newest object. A number is never used again, so a proxy of a discarded object finds no other.
    last: Cell<u64>,
}

impl Registry {
    /// Executes a request to any object.
    pub(super) fn call(&self, request: &[u8], session: &Session) -> Result<Reply, ManagerError> {
        let (number, request) = postcard::take_from_bytes(request).map_err(ManagerError::codec)?;
        if number != REGISTRY {
            // The `Rc` keeps the object alive during the call, even if it is discarded meanwhile.
            return self.object(number)?.1.call(request, session);
        }
        match decode(request)? {
            RegistryRequest::Create(kind, initial) => {
                let (object, number) = (create(kind, initial)?, self.last.get() + 1);
                self.last.set(number);
                self.objects.borrow_mut().insert(number, (kind, object));
                Reply::of(&number)
            }
            RegistryRequest::Discard(number) => {
                let (_, object) = self.object(number)?;
                self.objects.borrow_mut().remove(&number);
                self.names.borrow_mut().retain(|_, named| *named != number);
                Reply::of(&object.discard())
            }
            RegistryRequest::Publish(name, number) => {
                self.object(number)?;
                if *self.names.borrow_mut().entry(name).or_insert(number) != number {
                    return Err(name_error("another object was published by that name"));
                }
                Reply::of(&())
            }
            RegistryRequest::Find(name, wanted) => {
                let number = self.names.borrow().get(&name).copied();
                let number = number.ok_or_else(|| name_error("nothing was published by that name"))?;
                self.object(number)?.0.check(wanted)?;
                Reply::of(&number)
            }
        }
    }

    fn object(&self, number: u64) -> Result<(Kind, Rc<dyn Object>), ManagerError> {
        let object = self.objects.borrow().get(&number).cloned();
        object.ok_or(ManagerError::NoSuchObject { manager: String::new() })
    }
}

fn create(kind: Kind, initial: Bytes) -> Result<Rc<dyn Object>, ManagerError> {
    Ok(match kind {
        Kind::Queue => Rc::new(QueueObject::new(initial.decode()?)),
        Kind::Event | Kind::Barrier => Rc::new(EventObject::new(initial.decode()?)),
        Kind::Lock | Kind::Semaphore => Rc::new(SemaphoreObject::new(initial.decode()?)),
        Kind::Dict => Rc::new(DictObject::default()),
        Kind::List => Rc::new(ListObject::default()),
        Kind::Value => Rc::new(DictObject::of_value(initial)),
    })
}

fn name_error(cause: &str) -> ManagerError {
    ManagerError::Name { manager: String::new(), cause: cause.into() }
}
