//! The registry: all objects of a server by number and by name. It is itself an object, with the number [`REGISTRY`].
//!
//! Next: `process/manager/queue.rs`, one of the objects.

use super::barrier::BarrierObject;
use super::bytes::Bytes;
use super::dict::DictObject;
use super::event::EventObject;
use super::list::ListObject;
use super::manager_error::ManagerError;
use super::object::{Object, Reply, Session, decode};
use super::protocol::{self, Kind, REGISTRY, RegistryRequest};
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
        let (number, request) = protocol::split_request(request)?;
        if number != REGISTRY {
            // The `Rc` keeps the object alive during the call, even if it is discarded meanwhile.
            return self.object(number)?.1.call(request, session);
        }
        match decode(request)? {
            RegistryRequest::Create(kind, initial) => Reply::of(&self.create(kind, initial)?),
            RegistryRequest::Discard(number) => Reply::of(&self.discard(number)?),
            RegistryRequest::Publish(name, number) => Reply::of(&self.publish(name, number)?),
            RegistryRequest::Find(name, kind) => Reply::of(&self.find(&name, kind)?),
        }
    }

    fn object(&self, number: u64) -> Result<(Kind, Rc<dyn Object>), ManagerError> {
        self.objects.borrow().get(&number).cloned().ok_or_else(no_such_object)
    }

    fn create(&self, kind: Kind, initial: Bytes) -> Result<u64, ManagerError> {
        let object: Rc<dyn Object> = match kind {
            Kind::Queue => Rc::new(QueueObject::new(initial.decode()?)),
            Kind::Event => Rc::new(EventObject::default()),
            Kind::Lock => Rc::new(SemaphoreObject::new(1)),
            Kind::Semaphore => Rc::new(SemaphoreObject::new(initial.decode()?)),
            Kind::Barrier => Rc::new(BarrierObject::new(initial.decode()?)),
            Kind::Dict => Rc::new(DictObject::default()),
            Kind::List => Rc::new(ListObject::default()),
            Kind::Value => Rc::new(DictObject::of_value(initial)),
        };
        let number = self.last.get() + 1;
        self.last.set(number);
        self.objects.borrow_mut().insert(number, (kind, object));
        Ok(number)
    }

    fn discard(&self, number: u64) -> Result<(), ManagerError> {
        let (_, object) = self.objects.borrow_mut().remove(&number).ok_or_else(no_such_object)?;
        self.names.borrow_mut().retain(|_, named| *named != number);
        object.discard();
        Ok(())
    }

    fn publish(&self, name: String, number: u64) -> Result<(), ManagerError> {
        self.object(number)?;
        let mut names = self.names.borrow_mut();
        if *names.entry(name).or_insert(number) == number {
            Ok(())
        } else {
            Err(name_error("another object was published by that name"))
        }
    }

    fn find(&self, name: &str, wanted: Kind) -> Result<u64, ManagerError> {
        let number = self.names.borrow().get(name).copied();
        let number = number.ok_or_else(|| name_error("nothing was published by that name"))?;
        self.object(number)?.0.check(wanted).map(|()| number)
    }
}

fn no_such_object() -> ManagerError {
    ManagerError::NoSuchObject { manager: String::new() }
}

fn name_error(cause: &str) -> ManagerError {
    ManagerError::Name { manager: String::new(), cause: cause.into() }
}
