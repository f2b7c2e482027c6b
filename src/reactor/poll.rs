//! A second reactor backend, over `poll(2)`: with the feature `poll-reactor`, and in the tests of `reactor/mod.rs`.
//!
//! `poll` reports levels, and the reactor wants edges. So a direction is given to the kernel only while the reactor
//! believes that it is not ready (`known`), and is left out from its report until a green thread has used it up. Urgent
//! data is left out once it was reported, until the descriptor is read from again.
//!
//! Not as good as epoll: each wait costs time for each descriptor; an error that no call takes from a socket ends
//! each wait, and so does input while a green thread waits for urgent data alone; of several hubs that listen to one
//! counter only one is woken by a rise.
//!
//! Next: `reactor/fd_state.rs`, what becomes of the edges.

use super::driver::{Driver, Event, Flags, Key, WAKER, Wake, answer, ppoll};
use crate::arch::syscall::syscall;
use crate::time::Time;
use libc::pollfd;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

pub(crate) struct PollFds {
    /// An eventfd.
    waker: Arc<OwnedFd>,
    registered: RefCell<BTreeMap<RawFd, Entry>>,
}

struct Entry {
    key: Key,
    /// Device, inode and type of the file that the number referred to when it was registered.
    identity: Identity,
    /// Urgent data was reported, and is not asked for until the descriptor was read from.
    urgent_seen: bool,
}

type Identity = (libc::dev_t, libc::ino_t, libc::mode_t);

/// Reads an eventfd, so that it is no longer readable.
fn reset(counter: RawFd) {
    let mut value = 0u64;
    // SAFETY: room for eight bytes. The counter is non-blocking.
    unsafe { syscall(libc::SYS_read, [counter as usize, &raw mut value as usize, 8, 0, 0, 0]) };
}

impl Wake for OwnedFd {
    fn wake(&self) -> io::Result<()> {
        let one = 1u64;
        let args = [self.as_raw_fd() as usize, &raw const one as usize, 8, 0, 0, 0];
        // SAFETY: eight bytes of this frame.
        match answer(unsafe { syscall(libc::SYS_write, args) }) {
            // The counter is full, so it is readable.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result.map(drop),
        }
    }
}

impl PollFds {
    fn insert(&self, fd: RawFd, key: Key) -> io::Result<()> {
        let entry = Entry { key, identity: identity(fd)?, urgent_seen: false };
        self.registered.borrow_mut().insert(fd, entry);
        Ok(())
    }
}

impl Driver for PollFds {
    fn new() -> io::Result<PollFds> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it.
        let waker = Arc::new(unsafe { OwnedFd::from_raw_fd(fd) });
        let this = PollFds { waker, registered: RefCell::default() };
        this.insert(fd, WAKER)?;
        Ok(this)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }

    fn register(&self, fd: RawFd, key: Key) -> io::Result<()> {
        match identity(fd)?.2 {
            libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => Err(io::Error::from_raw_os_error(libc::EPERM)),
            _ => self.insert(fd, key),
        }
    }

    fn reregister(&self, fd: RawFd, key: Key) -> io::Result<()> {
        let now = identity(fd).ok();
        let is_same = self.registered.borrow().get(&fd).is_some_and(|entry| Some(entry.identity) == now);
        if is_same { self.insert(fd, key) } else { Err(io::Error::from_raw_os_error(libc::ENOENT)) }
    }

    fn deregister(&self, fd: RawFd) {
        self.registered.borrow_mut().remove(&fd);
    }

    fn listen(&self, counter: RawFd) -> io::Result<()> {
        self.insert(counter, WAKER)
    }

    fn wait(&self, timeout: Time, known: impl Fn(Key) -> Flags, events: &mut Vec<Event>) -> io::Result<()> {
        events.clear();
        let mut registered = self.registered.borrow_mut();
        let mut fds: Vec<pollfd> = Vec::with_capacity(registered.len());
        for (&fd, entry) in &*registered {
            let known = if entry.key == WAKER { libc::POLLOUT } else { known(entry.key) };
            let mut wanted = (libc::POLLIN | libc::POLLOUT) & !known;
            if wanted & libc::POLLIN != 0 {
                wanted |= libc::POLLRDHUP | if entry.urgent_seen { 0 } else { libc::POLLPRI };
            }
            if wanted != 0 {
                fds.push(pollfd { fd, events: wanted, revents: 0 });
            }
        }
        ppoll(&mut fds, timeout)?;
        for pollfd { fd, revents, .. } in fds.into_iter().filter(|fd| fd.revents != 0) {
            let Some(entry) = registered.get_mut(&fd) else { continue };
            if entry.key == WAKER {
                reset(fd);
            }
            entry.urgent_seen =
                revents & libc::POLLPRI != 0 || entry.urgent_seen && revents & libc::POLLIN == 0;
            events.push(Event { key: entry.key, flags: revents });
            if revents & libc::POLLNVAL != 0 {
                // Closed behind our back.
                registered.remove(&fd);
            }
        }
        Ok(())
    }
}

/// Errors: `fd` is not open (EBADF).
fn identity(fd: RawFd) -> io::Result<Identity> {
    // SAFETY: all zeros is a valid `stat`.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: room for a `stat`.
    answer(unsafe { syscall(libc::SYS_fstat, [fd as usize, &raw mut stat as usize, 0, 0, 0, 0]) })?;
    Ok((stat.st_dev, stat.st_ino, stat.st_mode & libc::S_IFMT))
}
