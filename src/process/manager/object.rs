//! An object in the server.
//!
//! Next: `process/manager/queue.rs`, an object with its requests and its proxy.
//!
//! The file of an object has three parts: an enum of its requests; the object in the server, whose `call` is one `match`
//! over the requests; and the proxy, whose methods each send one request. This file exports what the object needs, and
//! `proxy.rs` exports what the proxy needs. To add an object, write such a file, and give
//! it a line in [`Kind`](super::protocol::Kind) and `Registry::create`, and a method of `Manager` that creates it.

pub(super) use super::protocol::decode;
pub(super) use super::session::{Reply, Session};
pub(super) use super::wait_queue::{Limit, NO_WAIT, WaitQueue};

use super::manager_error::ManagerError;
use std::rc::Rc;

pub(super) trait Object {
    /// Decodes `request` and executes it for the client of `session`. If it waits, the server executes other requests
    /// meanwhile.
    ///
    /// Errors: the object does not know the request or refuses it; the client is gone.
    fn call(self: Rc<Self>, request: &[u8], session: &Session) -> Result<Reply, ManagerError>;

    /// Wakes the calls that wait in the object, which is discarded.
    fn discard(&self) {}
}
