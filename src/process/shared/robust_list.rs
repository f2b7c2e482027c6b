//! This OS thread, as the kernel knows it: its id, and where it says which lock it is about to take or has.
//!
//! When an OS thread dies, however that comes, the kernel looks at its *robust list* (get_robust_list(2)): the locks
//! that it has, as far as they are linked there, and one more, to which `list_op_pending` points: the one that it is about
//! to take or to release. glibc keeps the list for its own robust mutexes. We need only the one word, for a lock of ours is
//! held for a few instructions and never together with another: see `mutex.rs`.
//!
//! The list is the *OS thread's*. A green thread may have a thread control block of its own, in which glibc would look
//! for a list that the kernel has never heard of; so the kernel is asked where the list is, once for each thread
//! control block, and the answer is kept beside the id. A child of fork(2) has a new id, and finds by the [`epoch`] that
//! what it has inherited is its parent's.

use crate::arch::syscall::syscall;
use std::cell::Cell;
use std::io;
use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, compiler_fence};

/// The kernel's `struct robust_list_head`.
#[repr(C)]
struct Head {
    list: *mut Head,
    /// From what is linked, or pending, to the word of the lock.
    futex_offset: isize,
    list_op_pending: AtomicUsize,
}

/// Who calls.
#[derive(Clone, Copy)]
pub(super) struct OsThread {
    id: u32,
    head: *const Head,
}

/// Whether the kernel opens the locks of who dies.
///
/// Errors: it does not.
pub(super) fn check_support() -> io::Result<()> {
    epoch()?;
    find_head().map(|_| ())
}

impl OsThread {
    #[inline]
    pub(super) fn current() -> OsThread {
        thread_local! {
            static KNOWN: Cell<(u64, OsThread)> = const { Cell::new((0, OsThread { id: 0, head: null() })) };
        }
        let epoch = epoch().unwrap_or(0);
        let (known_since, thread) = KNOWN.get();
        if known_since == epoch && epoch != 0 {
            return thread;
        }
        let thread = OsThread::query();
        KNOWN.set((epoch, thread));
        thread
    }

    #[cold]
    fn query() -> OsThread {
        // SAFETY: no pointers.
        let id = unsafe { syscall(libc::SYS_gettid, [0; 6]) } as u32;
        let head = find_head().expect("it was there when the first region was made");
        OsThread { id, head }
    }

    /// Its id: what the kernel expects in the word of a lock that it has.
    #[inline]
    pub(super) fn id(self) -> u32 {
        self.id
    }

    /// From now on, should it die: if the lock of that word has its id, the kernel marks the word, and wakes one who waits
    /// for it.
    #[inline]
    pub(super) fn set_pending(self, word: &AtomicU32) {
        // SAFETY: the kernel's answer for this OS thread, and so good for as long as that runs.
        let head = unsafe { &*self.head };
        debug_assert_eq!(head.list_op_pending.load(Relaxed), 0, "one lock at a time");
        let entry = (word.as_ptr() as usize).wrapping_add_signed(-head.futex_offset);
        head.list_op_pending.store(entry, Relaxed);
        // The kernel looks when this OS thread runs no more, and then sees its stores in their order.
        compiler_fence(SeqCst);
    }

    /// The lock is released, and who waited was woken.
    #[inline]
    pub(super) fn clear_pending(self) {
        compiler_fence(SeqCst);
        // SAFETY: as above.
        unsafe { &*self.head }.list_op_pending.store(0, Relaxed);
    }
}

/// Where the kernel looks when this OS thread dies. glibc has told it, for each thread that it has made; one that somebody
/// else has made gets a list here, that is not freed.
fn find_head() -> io::Result<*const Head> {
    let (mut head, mut size) = (null_mut::<Head>(), 0usize);
    let args = [0, &raw mut head as usize, &raw mut size as usize, 0, 0, 0];
    // SAFETY: room for the answers, in this frame.
    check(unsafe { syscall(libc::SYS_get_robust_list, args) })?;
    if head.is_null() {
        head = Box::into_raw(Box::new(Head {
            list: null_mut(),
            futex_offset: 0,
            list_op_pending: AtomicUsize::new(0),
        }));
        // SAFETY: an empty list, which ends in itself, and which stays.
        unsafe {
            (*head).list = head;
            check(syscall(libc::SYS_set_robust_list, [head as usize, size_of::<Head>(), 0, 0, 0, 0]))?;
        }
    }
    Ok(head)
}

fn check(answer: isize) -> io::Result<()> {
    if answer == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(-answer as i32);
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!("processes cannot share locks here, for the kernel has no robust lists: {error}"),
    ))
}

/// A number that is this process's own: a child of fork(2) has another one than its parent, whichever way it was forked,
/// for the kernel hands it the page in which the number is kept as zeros.
#[inline]
pub(super) fn epoch() -> io::Result<u64> {
    let page = EPOCH.load(Acquire);
    if !page.is_null() {
        // SAFETY: not null, so it was mapped below, for good.
        let epoch = unsafe { &*page }.load(Relaxed);
        if epoch != 0 {
            return Ok(epoch);
        }
    }
    detect_fork()
}

static EPOCH: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());

#[cold]
fn detect_fork() -> io::Result<u64> {
    let mut page = EPOCH.load(Acquire);
    if page.is_null() {
        page = map_page()?;
        if let Err(theirs) = EPOCH.compare_exchange(null_mut(), page, AcqRel, Acquire) {
            // SAFETY: nobody has seen ours.
            unsafe { libc::munmap(page.cast(), PAGE) };
            page = theirs;
        }
    }
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the answer. Then a page that is never unmapped.
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now);
        let time = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        let fresh = time.max(1);
        Ok((*page).compare_exchange(0, fresh, AcqRel, Acquire).map_or_else(|theirs| theirs, |_| fresh))
    }
}

const PAGE: usize = 4096;

/// A page that is zeros again in a child (Linux 4.14).
fn map_page() -> io::Result<*mut AtomicU64> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: anywhere, and nothing of ours is there yet.
    unsafe {
        let page = libc::mmap(null_mut(), PAGE, protection, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        if libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) != 0 {
            let error = io::Error::last_os_error();
            libc::munmap(page, PAGE);
            return Err(error);
        }
        Ok(page.cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_an_id_of_its_own_however_it_was_forked() {
        let own = OsThread::current().id();
        // SAFETY: no pointers.
        assert_eq!(own, unsafe { syscall(libc::SYS_gettid, [0; 6]) } as u32);
        // SAFETY: as fork, past the C library; the child allocates nothing and leaves at once.
        unsafe {
            let child = syscall(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0, 0]);
            if child == 0 {
                let id = OsThread::current().id();
                libc::_exit((id != own && id == syscall(libc::SYS_gettid, [0; 6]) as u32) as i32);
            }
            let mut status = 0;
            libc::waitpid(child as i32, &raw mut status, 0);
            assert_eq!(libc::WEXITSTATUS(status), 1);
        }
        assert_eq!(OsThread::current().id(), own);
    }
}
