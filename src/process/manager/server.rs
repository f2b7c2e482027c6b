//! The server process: a hub whose green threads each serve a connection, over one store of objects.
//!
//! It ends with the process that has started it, however that ends. It has nothing to tidy up: its address has no file,
//! and its end closes all connections, by which every client sees it.

use super::handshake::{self, Key};
use super::peers::Peers;
use super::session::Session;
use super::store::Store;
use super::stream::{Listener, Stream};
use super::sys;
use crate::api::io;
use crate::api::join::join_first;
use crate::api::spawn::spawn;
use crate::net::StreamServer;
use crate::process;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

/// What all green threads of the server share.
struct Server {
    key: Key,
    store: Store,
    peers: Rc<Peers>,
}

/// The server's whole life.
pub(super) fn run(listener: Listener, key: Key) {
    sys::signals_of_a_server();
    sys::raise_limit_of_descriptors();
    let Some(parent) = process::parent() else { return };
    let keep = [parent.sentinel().as_raw_fd(), listener.as_fd().as_raw_fd()];
    if let Err(error) = sys::give_up_inherited(&keep) {
        log::warn!("a manager keeps the descriptors that it has inherited: {error}");
    }
    let server = Rc::new(Server { key, store: Store::default(), peers: Rc::default() });
    let accept = spawn(move || {
        let ended = StreamServer::new(listener, move |stream, ()| server.serve(stream)).serve_forever();
        log::error!("a manager accepts no connection any more: {ended:?}");
    });
    let watch = spawn(move || drop(io::wait_readable(parent.sentinel(), None)));
    join_first([accept, watch], 1);
}

impl Server {
    /// Serves a connection until it ends. What has ended it is seen by the client as well.
    fn serve(&self, stream: Stream) {
        if let Err(error) = self.try_serve(stream) {
            log::debug!("a connection to a manager has ended: {error}");
        }
    }

    fn try_serve(&self, stream: Stream) -> std::io::Result<()> {
        let pid = match &stream {
            Stream::Unix(stream) => Some(sys::check_peer(stream)?),
            Stream::Tcp(_) => None,
        };
        handshake::serve(&stream, &self.key)?;
        let session = Rc::new(Session::new(stream));
        // Dropped before the session, which it counts.
        let watched = pid.filter(|&pid| pid > 0).map(|pid| self.peers.watch(pid, &session));
        let ended = session.converse(|request, session| self.store.call(request, session));
        drop(session);
        drop(watched);
        ended
    }
}
