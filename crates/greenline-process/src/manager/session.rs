//! A client's connection in the server: replies, and what the client holds.
//!
//! Next: `manager/object.rs`, where a call waits.
//!
//! A call may wait, for a message for example, and its client may give up meanwhile: its process is killed, or it closes
//! the connection. So a waiting call also waits for the end of its connection (`object.rs`).
//!
//! If a client dies before it has received a reply, the server must not lose what it took out of an object for that
//! client. Therefore such a reply asks for an acknowledgement, and the session reports to the object whether it came
//! ([`Reply::with_ack`]). A lock or a permit is held by the session, and is given back when the session ends for any
//! reason.

use super::endpoint::Stream;
use super::manager_error::ManagerError;
use super::protocol;
use serde::Serialize;
use std::cell::RefCell;
use std::io;

pub(super) struct Session {
    pub(super) stream: Stream,
    /// Addresses of the objects of which the client holds a lock or a permit, each with a callback that gives it back.
    /// The callback runs if the session ends before the client has released it.
    held: RefCell<Vec<(*const (), Box<dyn FnOnce()>)>>,
}

/// The reply to a request.
pub(super) struct Reply {
    frame: Vec<u8>,
    on_ack: Option<Box<AckCallback>>,
}

/// Runs with the session that acknowledged the reply, or with `None` if the client is gone.
type AckCallback = dyn FnOnce(Option<&Session>);

impl Reply {
    pub(super) fn of(value: &impl Serialize) -> Result<Reply, ManagerError> {
        Ok(Reply { frame: protocol::frame(&(false, Ok::<_, ManagerError>(value)))?, on_ack: None })
    }

    /// Makes a reply that the client has to acknowledge. Then, or when the client is gone, `callback` runs.
    pub(super) fn with_ack(
        value: &impl Serialize,
        callback: impl FnOnce(Option<&Session>) + 'static,
    ) -> Result<Reply, ManagerError> {
        match protocol::frame(&(true, Ok::<_, ManagerError>(value))) {
            Ok(frame) => Ok(Reply { frame, on_ack: Some(Box::new(callback)) }),
            Err(error) => {
                callback(None);
                Err(error)
            }
        }
    }
}

impl Session {
    pub(super) fn new(stream: Stream) -> Session {
        Session { stream, held: RefCell::default() }
    }

    /// Sends the result of a request, and waits until the client has acknowledged it if it has to.
    ///
    /// Errors: those of the connection.
    pub(super) fn send(&self, result: Result<Reply, ManagerError>) -> io::Result<()> {
        let reply = match result {
            Ok(reply) => reply,
            Err(ManagerError::Io(error)) => return Err(error),
            Err(error) => {
                let frame = protocol::frame(&(false, Err::<(), _>(error))).expect("text can be encoded");
                Reply { frame, on_ack: None }
            }
        };
        let sent = protocol::send(&self.stream, &reply.frame);
        let Some(on_ack) = reply.on_ack else { return sent };
        let acknowledged = sent.and_then(|()| match protocol::receive(&self.stream)? {
            Some(body) if body.is_empty() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        });
        on_ack(acknowledged.is_ok().then_some(self));
        acknowledged
    }

    /// Records that the client holds a lock or a permit of `object`. If the session ends before
    /// [`release`](Session::release), `abandon` runs. It has to keep `object` alive.
    pub(super) fn track_held<T>(&self, object: *const T, abandon: impl FnOnce() + 'static) {
        self.held.borrow_mut().push((object.cast(), Box::new(abandon)));
    }

    /// Forgets one lock or permit of `object`. Returns `false` if the client holds none.
    pub(super) fn release<T>(&self, object: *const T) -> bool {
        let mut held = self.held.borrow_mut();
        let position = held.iter().position(|(of, _)| *of == object.cast());
        position.map(|position| held.swap_remove(position)).is_some()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.held.take().into_iter().for_each(|(_, abandon)| abandon());
    }
}
