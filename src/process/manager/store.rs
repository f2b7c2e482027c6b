//! The objects of a manager, in its server; and the one that is always there and makes, finds and discards the others.

use super::session::{Answer, Session, Stop};
use super::wire::{self, Bytes, Fault, Kind};
use super::{barrier, dict, event, list, queue, semaphore, value};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// An object, in the server: it does what it is called for. It may wait, and others come in meanwhile.
pub(super) trait Object {
    fn kind(&self) -> Kind;

    /// Does `call`, which is encoded, for the client of `session`.
    ///
    /// Errors: there is no such call, or nobody is there any more to have the answer.
    fn call(&self, call: &[u8], session: &Session) -> Result<Answer, Stop>;

    /// It is no more: who waits in it is to be told.
    fn discard(&self) {}
}

/// The number of the registry.
pub(super) const REGISTRY: u64 = 0;

/// What can be asked of the registry.
#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    /// Gives the number of the new object.
    Make(Blueprint),
    Discard(u64),
    Publish(String, u64),
    /// Gives the number of what was published by that name.
    Find(String, Kind),
}

/// What to make.
#[derive(Serialize, Deserialize)]
pub(super) enum Blueprint {
    /// With room for so many messages; 0: any number.
    Queue(u64),
    Event,
    Lock,
    Semaphore(u64),
    Barrier(u64),
    Dict,
    List,
    Value(Bytes),
}

impl Blueprint {
    fn build(self) -> Rc<dyn Object> {
        match self {
            Blueprint::Queue(room) => Rc::new(queue::Server::new(room)),
            Blueprint::Event => Rc::new(event::Server::default()),
            Blueprint::Lock => Rc::new(semaphore::Server::new(Kind::Lock, 1)),
            Blueprint::Semaphore(permits) => Rc::new(semaphore::Server::new(Kind::Semaphore, permits)),
            Blueprint::Barrier(parties) => Rc::new(barrier::Server::new(parties)),
            Blueprint::Dict => Rc::new(dict::Server::default()),
            Blueprint::List => Rc::new(list::Server::default()),
            Blueprint::Value(initial) => Rc::new(value::Server::new(initial)),
        }
    }
}

/// All objects of a server. A number is never used again, so that a proxy of what was discarded does not come upon
/// something else.
#[derive(Default)]
pub(super) struct Store {
    objects: RefCell<BTreeMap<u64, Rc<dyn Object>>>,
    names: RefCell<BTreeMap<String, u64>>,
    last: Cell<u64>,
}

impl Store {
    /// Has a request done.
    pub(super) fn call(&self, request: &[u8], session: &Session) -> Result<Answer, Stop> {
        let (object, call) = wire::open(request)?;
        match object {
            REGISTRY => Ok(self.registry(wire::call(call)?)?),
            // Kept as long as the call takes, if it is discarded meanwhile.
            _ => self.object(object)?.call(call, session),
        }
    }

    fn object(&self, number: u64) -> Result<Rc<dyn Object>, Fault> {
        self.objects.borrow().get(&number).cloned().ok_or(Fault::NoSuchObject)
    }

    fn registry(&self, call: Call) -> Result<Answer, Fault> {
        Ok(match call {
            Call::Make(blueprint) => Answer::of(&self.make(blueprint)),
            Call::Discard(number) => Answer::of(&self.discard(number)?),
            Call::Publish(name, number) => Answer::of(&self.publish(name, number)?),
            Call::Find(name, kind) => Answer::of(&self.find(&name, kind)?),
        })
    }

    fn make(&self, blueprint: Blueprint) -> u64 {
        let number = self.last.get() + 1;
        self.last.set(number);
        self.objects.borrow_mut().insert(number, blueprint.build());
        number
    }

    fn discard(&self, number: u64) -> Result<(), Fault> {
        let object = self.objects.borrow_mut().remove(&number).ok_or(Fault::NoSuchObject)?;
        self.names.borrow_mut().retain(|_, named| *named != number);
        object.discard();
        Ok(())
    }

    fn publish(&self, name: String, number: u64) -> Result<(), Fault> {
        self.object(number)?;
        let mut names = self.names.borrow_mut();
        match names.insert(name.clone(), number) {
            Some(other) if other != number => {
                names.insert(name, other);
                Err(Fault::NameTaken)
            }
            _ => Ok(()),
        }
    }

    fn find(&self, name: &str, wanted: Kind) -> Result<u64, Fault> {
        let number = self.names.borrow().get(name).copied().ok_or(Fault::NoSuchName)?;
        let is = self.object(number)?.kind();
        if is == wanted { Ok(number) } else { Err(Fault::WrongKind { is, wanted }) }
    }
}
