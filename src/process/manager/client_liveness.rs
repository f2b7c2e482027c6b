//! Watches the processes of the clients on this machine, and ends the sessions of those that die.
//!
//! Next: `process/manager/endpoint.rs`, how clients reach a server.
//!
//! A dead client's connection ends by itself, except when another process has a copy of its descriptor. A child that was
//! forked meanwhile has one, and keeps the connection open without ever using it. So the server watches each process
//! that has connected to it by a pidfd.

use super::session::Session;
use crate::api::io;
use crate::api::spawn::spawn;
use crate::process::descriptor::Descriptor;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

/// The processes that are watched, by process id, with their sessions.
#[derive(Clone, Default)]
pub(super) struct ClientLiveness(Rc<RefCell<BTreeMap<libc::pid_t, Vec<Weak<Session>>>>>);

impl ClientLiveness {
    /// Closes `session` when process `pid` dies. One green thread and one descriptor watch a process until then.
    pub(super) fn watch(&self, pid: libc::pid_t, session: &Rc<Session>) {
        let mut processes = self.0.borrow_mut();
        let sessions = processes.entry(pid).or_insert_with(|| {
            let this = self.clone();
            spawn(move || this.close_when_dead(pid));
            Vec::new()
        });
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Rc::downgrade(session));
    }

    fn close_when_dead(&self, pid: libc::pid_t) {
        let died = Descriptor::pidfd(pid as u32).and_then(|process| io::wait_readable(&process, None));
        let sessions = self.0.borrow_mut().remove(&pid).unwrap_or_default();
        match died {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                // For example, no descriptor is left. The end of the connection still ends the session.
                log::warn!("a manager cannot see whether process {pid} is alive: {error}");
            }
            _ => sessions.iter().filter_map(Weak::upgrade).for_each(|session| session.close()),
        }
    }
}
