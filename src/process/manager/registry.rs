//! The registry: all objects of a server by number and by name. It is itself an object, with the number [`REGISTRY`].
//!
//! Next: `process/manager/queue.rs`, one of the objects.

use super::barrier::BarrierObject;
use super::dict::DictObject;
use super::event::EventObject;
use super::list::ListObject;
use super::object::{Fault, Object, Reply, Session, decode};
use super::protocol::{self, Kind, ObjectSpec, REGISTRY, RegistryRequest};
use super::queue::QueueObject;
use super::semaphore::SemaphoreObject;
use super::value;
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
    pub(super) fn call(&self, request: &[u8], session: &Session) -> Result<Reply, Fault> {
        let (number, request) = protocol::split_request(request)?;
        if number != REGISTRY {
            // The `Rc` keeps the object alive during the call, even if it is discarded meanwhile.
            return self.object(number)?.1.call(request, session);
        }
        match decode(request)? {
            RegistryRequest::Create(spec) => Reply::of(&self.create(spec)),
            RegistryRequest::Discard(number) => Reply::of(&self.discard(number)?),
            RegistryRequest::Publish(name, number) => Reply::of(&self.publish(name, number)?),
            RegistryRequest::Find(name, kind) => Reply::of(&self.find(&name, kind)?),
        }
    }

    fn object(&self, number: u64) -> Result<(Kind, Rc<dyn Object>), Fault> {
        self.objects.borrow().get(&number).cloned().ok_or(Fault::NoSuchObject)
    }

    fn create(&self, spec: ObjectSpec) -> u64 {
        let (kind, object): (Kind, Rc<dyn Object>) = match spec {
            ObjectSpec::Queue(max_len) => (Kind::Queue, Rc::new(QueueObject::new(max_len))),
            ObjectSpec::Event => (Kind::Event, Rc::new(EventObject::default())),
            ObjectSpec::Lock => (Kind::Lock, Rc::new(SemaphoreObject::new(1))),
            ObjectSpec::Semaphore(permits) => (Kind::Semaphore, Rc::new(SemaphoreObject::new(permits))),
            ObjectSpec::Barrier(parties) => (Kind::Barrier, Rc::new(BarrierObject::new(parties))),
            ObjectSpec::Dict => (Kind::Dict, Rc::new(DictObject::default())),
            ObjectSpec::List => (Kind::List, Rc::new(ListObject::default())),
            ObjectSpec::Value(initial) => (Kind::Value, Rc::new(value::dict_of(initial))),
        };
        let number = self.last.get() + 1;
        self.last.set(number);
        self.objects.borrow_mut().insert(number, (kind, object));
        number
    }

    fn discard(&self, number: u64) -> Result<(), Fault> {
        let (_, object) = self.objects.borrow_mut().remove(&number).ok_or(Fault::NoSuchObject)?;
        self.names.borrow_mut().retain(|_, named| *named != number);
        object.discard();
        Ok(())
    }

    fn publish(&self, name: String, number: u64) -> Result<(), Fault> {
        self.object(number)?;
        let mut names = self.names.borrow_mut();
        if *names.entry(name).or_insert(number) == number {
            Ok(())
        } else {
            Err(Fault::Name("another object was published by that name".into()))
        }
    }

    fn find(&self, name: &str, wanted: Kind) -> Result<u64, Fault> {
        let number = self.names.borrow().get(name).copied();
        let number = number.ok_or_else(|| Fault::Name("nothing was published by that name".into()))?;
        let (is, _) = self.object(number)?;
        if is == wanted { Ok(number) } else { Err(Fault::WrongKind { is, wanted }) }
    }
}
