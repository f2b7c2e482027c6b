//! Watches the processes of the clients on this machine, and ends the sessions of those that die.
//!
//! Next: `process/manager/endpoint.rs`, how clients reach a server.
//!
//! A dead client's connection ends by itself, except when another process has a copy of its descriptor. A child that was
//! forked meanwhile has one, and keeps the connection open without ever using it. So the server watches each process
//! that it has a connection to by a pidfd.

use super::session::Session;
use crate::api::io;
use crate::api::join::JoinHandle;
use crate::api::spawn::spawn;
use crate::process::descriptor::Descriptor;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

type Sessions = Rc<RefCell<Vec<Weak<Session>>>>;

/// The processes with sessions, by process id.
#[derive(Default)]
pub(super) struct ClientLiveness(RefCell<BTreeMap<libc::pid_t, Weak<ClientProcess>>>);

/// A process with its sessions. Each session has a reference to it. With the last one the watching ends.
pub(super) struct ClientProcess {
    sessions: Sessions,
    watcher: JoinHandle<()>,
}

impl ClientLiveness {
    /// Closes `session` when process `pid` dies, until the returned reference is dropped.
    pub(super) fn watch(&self, pid: libc::pid_t, session: &Rc<Session>) -> Rc<ClientProcess> {
        let mut processes = self.0.borrow_mut();
        let process = processes.get(&pid).and_then(Weak::upgrade);
        let process = process.filter(|process| !process.watcher.is_finished()).unwrap_or_else(|| {
            let sessions = Sessions::default();
            let watcher = spawn({
                let sessions = sessions.clone();
                move || close_when_dead(pid, &sessions)
            });
            let process = Rc::new(ClientProcess { sessions, watcher });
            processes.retain(|_, process| process.strong_count() > 0);
            processes.insert(pid, Rc::downgrade(&process));
            process
        });
        let mut sessions = process.sessions.borrow_mut();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Rc::downgrade(session));
        drop(sessions);
        process
    }
}

fn close_when_dead(pid: libc::pid_t, sessions: &Sessions) {
    match Descriptor::pidfd(pid as u32).and_then(|process| io::wait_readable(&process, None)) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            // For example, no descriptor is left. The end of the connection still ends the session.
            log::warn!("a manager cannot see whether process {pid} is alive: {error}");
        }
        _ => sessions.borrow().iter().filter_map(Weak::upgrade).for_each(|session| session.close()),
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        self.watcher.kill();
    }
}
