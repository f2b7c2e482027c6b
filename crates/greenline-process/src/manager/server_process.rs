//! The server process: a hub with one green thread for each connection, and one registry of objects.
//!
//! Next: `manager/endpoint.rs`, how clients reach a server.
//!
//! It ends with the process that started it, however that ends. It has nothing to clean up: its address has no file, and
//! its end closes all connections, by which all clients notice.
//!
//! A dead client's connection ends by itself, except when another process has a copy of its descriptor. A child that was
//! forked meanwhile has one, and keeps the connection open without ever using it. So the server watches each process
//! that has connected to it by a pidfd.

use super::endpoint::{Stream, shut_down};
use super::handshake::{self, Key};
use super::protocol;
use super::registry::Registry;
use super::session::Session;
use super::sys;
use crate::builder::Process;
use crate::child::Child;
use crate::descriptor::Descriptor;
use crate::this_process::parent;
use greenline::io;
use greenline::join_first;
use greenline::net::{self, Listener};
use greenline::spawn;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::{Rc, Weak};

/// Turns what a listener accepted into a connection and, on a Unix socket, the id of the client's process. Returns an
/// error if the client must not be served.
pub(super) type Admit<S> = fn(S) -> std::io::Result<(Stream, Option<libc::pid_t>)>;

/// The processes of the clients on this machine, by process id, with their sessions.
type Clients = Rc<RefCell<BTreeMap<libc::pid_t, Vec<Weak<Session>>>>>;

/// Starts a server process. The parent's copy of `listener` is closed here, so from then on a client reaches the server
/// or no process.
pub(super) fn start<L>(name: String, listener: L, key: Key, admit: Admit<L::Stream>) -> std::io::Result<Child>
where
    L: Listener + AsFd + 'static,
{
    let process = Process::new(move || run(listener, key, admit)).name(name).daemon(true);
    sys::with_sigint_blocked(|| process.start())
}

/// Runs the server until its parent ends.
fn run<L: Listener + AsFd + 'static>(listener: L, key: Key, admit: Admit<L::Stream>) {
    sys::set_server_signals();
    sys::raise_descriptor_limit();
    let Some(parent) = parent() else { return };
    let keep = [parent.sentinel().as_raw_fd(), listener.as_fd().as_raw_fd()];
    if let Err(error) = sys::replace_inherited_descriptors(&keep) {
        log::warn!("a manager keeps the descriptors that it has inherited: {error}");
    }
    let (registry, clients) = (Registry::default(), Clients::default());
    let serve = move |stream| -> std::io::Result<()> {
        let (stream, pid) = admit(stream)?;
        handshake::serve(&stream, &key)?;
        let session = Rc::new(Session::new(stream));
        // A process of another PID namespace has the id 0 here, and cannot be watched.
        if let Some(pid) = pid.filter(|&pid| pid > 0) {
            watch(&clients, pid, &session);
        }
        while let Some(request) = protocol::receive(&session.stream)? {
            session.send(registry.call(&request, &session))?;
        }
        Ok(())
    };
    let serve = move |stream, _| {
        // The client sees the end of the connection as well.
        if let Err(error) = serve(stream) {
            log::debug!("a connection to a manager has ended: {error}");
        }
    };
    let accept = spawn(move || {
        let ended = net::Server::streams(listener, serve).serve_forever();
        log::error!("a manager accepts no more connections: {ended:?}");
    });
    let watch = spawn(move || drop(io::wait_readable(parent.sentinel(), None)));
    join_first([accept, watch], 1);
}

/// Closes `session` when process `pid` dies. One green thread and one descriptor watch a process until then.
fn watch(clients: &Clients, pid: libc::pid_t, session: &Rc<Session>) {
    let mut processes = clients.borrow_mut();
    let sessions = processes.entry(pid).or_insert_with(|| {
        let clients = clients.clone();
        spawn(move || close_when_dead(&clients, pid));
        Vec::new()
    });
    sessions.retain(|session| session.strong_count() > 0);
    sessions.push(Rc::downgrade(session));
}

fn close_when_dead(clients: &Clients, pid: libc::pid_t) {
    let died = Descriptor::pidfd(pid as u32).and_then(|process| io::wait_readable(&process, None));
    let sessions = clients.borrow_mut().remove(&pid).unwrap_or_default();
    match died {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            // For example, no descriptor is left. The end of the connection still ends the session.
            log::warn!("a manager cannot see whether process {pid} is alive: {error}");
        }
        _ => sessions.iter().filter_map(Weak::upgrade).for_each(|session| shut_down(&session.stream)),
    }
}
