//! Clients on this machine whose process has died.
//!
//! The end of a connection would say it, if nobody else had a copy of it; but a process that was forked meanwhile has, and
//! keeps it open without ever using it. So the server watches each process that it has a connection to, by a descriptor
//! that stands for it, and hangs up for it when it is gone.

use super::session::Session;
use crate::api::io;
use crate::api::join::JoinHandle;
use crate::api::spawn::spawn;
use crate::process::pidfd;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

#[derive(Default)]
pub(super) struct Peers(RefCell<BTreeMap<libc::pid_t, Peer>>);

/// A process, and its conversations.
struct Peer {
    sessions: Vec<Weak<Session>>,
    watcher: Option<JoinHandle<()>>,
}

/// That a session is watched. Dropped with it.
pub(super) struct Watched {
    peers: Rc<Peers>,
    pid: libc::pid_t,
}

impl Peers {
    /// Hangs up for `session` when process `pid` has died.
    pub(super) fn watch(self: &Rc<Peers>, pid: libc::pid_t, session: &Rc<Session>) -> Watched {
        let mut peers = self.0.borrow_mut();
        let peer = peers.entry(pid).or_insert_with(|| Peer { sessions: Vec::new(), watcher: None });
        peer.sessions.push(Rc::downgrade(session));
        if peer.watcher.as_ref().is_none_or(JoinHandle::is_finished) {
            let inside = self.clone();
            peer.watcher = Some(spawn(move || inside.wait_for_end(pid)));
        }
        Watched { peers: self.clone(), pid }
    }

    fn wait_for_end(&self, pid: libc::pid_t) {
        let ended = pidfd::open(pid as u32).and_then(|process| io::wait_readable(&process, None));
        if let Err(error) = ended {
            if error.raw_os_error() != Some(libc::ESRCH) {
                // Too few descriptors, say. Then there is the end of the connection.
                log::warn!("a manager cannot see whether process {pid} is alive: {error}");
                return;
            }
        }
        let sessions = match self.0.borrow().get(&pid) {
            Some(peer) => peer.sessions.clone(),
            None => return,
        };
        sessions.iter().filter_map(Weak::upgrade).for_each(|session| session.hang_up());
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut peers = self.peers.0.borrow_mut();
        let Some(peer) = peers.get_mut(&self.pid) else { return };
        peer.sessions.retain(|session| session.strong_count() > 0);
        if peer.sessions.is_empty() {
            let watcher = peers.remove(&self.pid).and_then(|peer| peer.watcher);
            drop(peers);
            if let Some(watcher) = watcher {
                watcher.kill();
            }
        }
    }
}
