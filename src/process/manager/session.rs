//! One client's connection, in the server: a green thread that reads a request, has it done and answers, one at a time.
//!
//! A call may wait, for a message say, and its client may go away meanwhile: killed, or tired of waiting, which it says
//! by closing the connection. So whoever waits here waits for that, too ([`Session::pause`]).
//!
//! What was taken out for a client that is gone before it has it must not be lost. So the client confirms such an answer
//! by an empty frame as soon as it has all of it, and the object is told either way ([`Answer::settled_by`]). A lock or
//! a permit is held by the session, and given back when that ends, however it comes.

use super::semaphore::{self, Held};
use super::stream::Stream;
use super::wire::{self, Fault};
use crate::api::io::{Parked, park_unless_readable};
use serde::Serialize;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

pub(super) struct Session {
    stream: Stream,
    held: RefCell<Vec<Held>>,
}

/// Why a call is not answered as it would be.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody is there to have the answer.
    PeerGone,
    /// This is the answer.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

/// What a call gives.
pub(super) struct Answer {
    frame: Vec<u8>,
    settle: Option<Box<Settle>>,
}

/// Called with the session that has the answer; with none, if that one did not confirm it.
type Settle = dyn FnOnce(Option<&Session>);

impl Answer {
    /// `value`, which the client asked for.
    pub(super) fn of(value: &impl Serialize) -> Answer {
        Answer { frame: wire::answer(&Ok(value)), settle: None }
    }

    /// Has the client confirm that it has the answer, and tells the object of it.
    pub(super) fn settled_by(self, settle: impl FnOnce(Option<&Session>) + 'static) -> Answer {
        Answer { settle: Some(Box::new(settle)), ..self }
    }
}

impl Session {
    pub(super) fn new(stream: Stream) -> Session {
        Session { stream, held: RefCell::default() }
    }

    /// Does what the client asks for until it closes the connection.
    ///
    /// Errors: those of the connection.
    pub(super) fn converse(
        &self,
        mut call: impl FnMut(&[u8], &Session) -> Result<Answer, Stop>,
    ) -> io::Result<()> {
        while let Some(request) = wire::receive(&self.stream)? {
            match call(&request, self) {
                Ok(answer) => self.answer(answer)?,
                Err(Stop::Fault(fault)) => wire::send(&self.stream, wire::answer(&Err::<(), _>(fault)))?,
                Err(Stop::PeerGone) => break,
            }
        }
        Ok(())
    }

    fn answer(&self, answer: Answer) -> io::Result<()> {
        let sent = wire::send(&self.stream, answer.frame);
        let Some(settle) = answer.settle else { return sent };
        let taken = sent.and_then(|()| self.confirmation());
        settle(taken.is_ok().then_some(self));
        taken
    }

    fn confirmation(&self) -> io::Result<()> {
        match wire::receive(&self.stream)? {
            Some(nothing) if nothing.is_empty() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Parks until a ticket of this green thread is used, which answers `true`, or until the deadline.
    ///
    /// Errors: the client has gone. In the middle of a call it says nothing, so whatever can be read is the end.
    pub(super) fn pause(&self, deadline: Option<Instant>) -> Result<bool, Stop> {
        match park_unless_readable(&self.stream, deadline) {
            Ok(Parked::Woken) => Ok(true),
            Ok(Parked::Expired) => Ok(false),
            Ok(Parked::Readable) | Err(_) => Err(Stop::PeerGone),
        }
    }

    /// This session has it until it lets go, or ends.
    pub(super) fn hold(&self, held: Held) {
        self.held.borrow_mut().push(held);
    }

    /// What it has of `object`, if it has.
    pub(super) fn let_go(&self, object: &Rc<semaphore::State>) -> Option<Held> {
        let mut held = self.held.borrow_mut();
        let at = held.iter().position(|held| held.is_of(object))?;
        Some(held.swap_remove(at))
    }

    /// Ends the conversation, from another green thread: the client has died, and somebody else has a copy of its end.
    pub(super) fn hang_up(&self) {
        self.stream.shut_down();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.held.take().into_iter().for_each(Held::abandon);
    }
}
