//! The robust list of an OS thread: by it, the kernel opens the locks of an OS thread that dies.
//!
//! When an OS thread dies, for whatever reason, the kernel looks at its *robust list* (get_robust_list(2)). The list links
//! the locks that the OS thread holds. One more lock, which it is about to take or to release, is in `list_op_pending`.
//! glibc keeps the list for its own robust mutexes. This crate needs only `list_op_pending`, because one of its locks is
//! held for a few instructions and never together with another: see `mutex.rs`.
//!
//! The list belongs to the *OS thread*. A green thread may have its own thread control block, in which glibc would look
//! for a list that the kernel does not know. Therefore the kernel is asked where the list is, once for each thread control
//! block, and the address is kept beside the OS thread's id. A child of fork(2) has a new id. It sees by the [`epoch`] that
//! the values that it has inherited are its parent's.
//!
//! Next: `shared/process_id.rs`, identifying a process.

use super::epoch::epoch;
use greenline::internals::gettid;
use greenline::internals::result;
use greenline::internals::syscall;
use std::cell::Cell;
use std::io;
use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicUsize, compiler_fence};

/// The kernel's `struct robust_list_head`.
#[repr(C)]
struct Head {
    list: *mut Head,
    /// Distance from what is linked, or pending, to the word of the lock.
    futex_offset: isize,
    list_op_pending: AtomicUsize,
}

/// The calling OS thread.
#[derive(Clone, Copy)]
pub(super) struct OsThread {
    /// Its id, which the kernel expects in the word of a lock that it holds.
    pub(super) id: u32,
    head: *const Head,
}

/// Checks whether the kernel opens the locks of an OS thread that dies.
///
/// Errors: it does not.
pub(super) fn check_support() -> io::Result<()> {
    epoch()?;
    find_head().map(|_| ()).map_err(|error| {
        let text =
            format!("processes cannot share locks here, because the kernel has no robust lists: {error}");
        io::Error::new(io::ErrorKind::Unsupported, text)
    })
}

impl OsThread {
    #[inline]
    pub(super) fn current() -> OsThread {
        thread_local! {
            /// The thread, and the epoch in which it was queried.
            static CACHED: Cell<(u64, OsThread)> = const { Cell::new((0, OsThread { id: 0, head: null() })) };
        }
        let epoch = epoch().unwrap_or(0);
        if epoch == 0 || CACHED.get().0 != epoch {
            CACHED.set((epoch, OsThread::query()));
        }
        CACHED.get().1
    }

    #[cold]
    fn query() -> OsThread {
        let id = gettid() as u32;
        let head = find_head().expect("the first monitor has checked that there are robust lists");
        OsThread { id, head }
    }

    /// Names the lock that it is about to take. If the OS thread dies from now on, and the word has its id, the kernel
    /// marks the word and wakes one OS thread that waits for the lock.
    #[inline]
    pub(super) fn set_pending(self, word: &AtomicU32) {
        // SAFETY: the kernel uses this address for the OS thread for as long as the OS thread runs.
        let head = unsafe { &*self.head };
        debug_assert_eq!(head.list_op_pending.load(Relaxed), 0, "one lock at a time");
        let entry = (word.as_ptr() as usize).wrapping_add_signed(-head.futex_offset);
        head.list_op_pending.store(entry, Relaxed);
        // The kernel looks after the OS thread has stopped, and then sees its stores in program order.
        compiler_fence(SeqCst);
    }

    /// Names no lock any more. The lock was released, and a waiter was woken.
    #[inline]
    pub(super) fn clear_pending(self) {
        compiler_fence(SeqCst);
        // SAFETY: as in `set_pending`.
        unsafe { &*self.head }.list_op_pending.store(0, Relaxed);
    }
}

/// Returns where the kernel looks when this OS thread dies. glibc has registered a list for each thread that it has made.
/// Any other OS thread gets an empty list here, which is never freed.
fn find_head() -> io::Result<*const Head> {
    let (mut head, mut size) = (null_mut::<Head>(), 0usize);
    let args = [0, &raw mut head as usize, &raw mut size as usize, 0, 0, 0];
    // SAFETY: the kernel writes to two variables of this frame.
    result(unsafe { syscall(libc::SYS_get_robust_list, args) })?;
    if head.is_null() {
        let list_op_pending = AtomicUsize::new(0);
        head = Box::into_raw(Box::new(Head { list: null_mut(), futex_offset: 0, list_op_pending }));
        // SAFETY: an empty list ends in itself. It is never freed.
        unsafe {
            (*head).list = head;
            result(syscall(libc::SYS_set_robust_list, [head as usize, size_of::<Head>(), 0, 0, 0, 0]))?;
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_thread_current_has_a_new_id_after_any_fork() {
        let own = OsThread::current().id;
        assert_eq!(own, gettid() as u32);
        // SAFETY: a fork past the C library. The child allocates nothing and ends at once.
        unsafe {
            let child = syscall(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0, 0]);
            if child == 0 {
                let id = OsThread::current().id;
                libc::_exit((id != own && id == gettid() as u32) as i32);
            }
            let mut status = 0;
            libc::waitpid(child as i32, &raw mut status, 0);
            assert_eq!(libc::WEXITSTATUS(status), 1);
        }
        assert_eq!(OsThread::current().id, own);
    }
}
