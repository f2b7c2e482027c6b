//! Threads of both kinds for tests in which both use the same object: green threads of the caller's hub, a second hub,
//! OS threads without a hub, and forked children.

use super::time::HANG_TIMEOUT;
pub(crate) use super::time::ms;
use greenline::spawn;
use greenline::thread::Thread;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// A time limit that no wait reaches unless it hangs.
pub(crate) const LONG: Duration = HANG_TIMEOUT;

/// Returns the calling OS thread's id, which all green threads of a hub share.
pub(crate) fn os_thread() -> i32 {
    // SAFETY: the call has no arguments.
    unsafe { libc::gettid() }
}

/// Calls `f` on an OS thread without a hub, which is not patched. Returns its result.
pub(crate) fn on_os_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    Thread::new(f).start().unwrap().join().unwrap()
}

/// Yields until `condition` holds, on a thread of any kind. Fails the test after [`HANG_TIMEOUT`].
#[track_caller]
pub(crate) fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG_TIMEOUT, "the condition never held");
        std::thread::yield_now();
    }
}

/// Lets every other thread run that is ready. A test calls it before it checks that none of them went on.
pub(crate) fn yield_100_times() {
    (0..100).for_each(|_| std::thread::yield_now());
}

/// The kinds of thread that use an object together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A green thread of the caller's hub.
    Green,
    /// An OS thread without a hub.
    Os,
}

pub(crate) use Kind::{Green, Os};

pub(crate) const KINDS: [Kind; 2] = [Green, Os];

impl Kind {
    pub(crate) fn os_if(is_os_thread: bool) -> Kind {
        if is_os_thread { Os } else { Green }
    }
}

/// A function that joins a thread and fails the test if that thread panicked.
pub(crate) type Join = Box<dyn FnOnce()>;

/// Starts a thread of the given kind and returns the function that joins it.
pub(crate) fn start(kind: Kind, body: impl FnOnce() + Send + 'static) -> Join {
    match kind {
        Os => {
            let thread = Thread::new(body).start().unwrap();
            Box::new(move || thread.join().unwrap())
        }
        Green => {
            let thread = spawn(body);
            Box::new(move || thread.join().unwrap())
        }
    }
}

/// Starts an OS thread with a hub of its own, which runs each body in a green thread.
pub(crate) fn start_hub<B: FnOnce() + Send + 'static>(bodies: impl IntoIterator<Item = B>) -> Join {
    let bodies: Vec<B> = bodies.into_iter().collect();
    start(Os, move || {
        for result in greenline::join_all(bodies.into_iter().map(|body| spawn(body))) {
            result.unwrap();
        }
    })
}

pub(crate) fn join_each(joins: impl IntoIterator<Item = Join>) {
    joins.into_iter().for_each(|join| join());
}

/// Maps zeroed memory that a forked child shares. It is never unmapped.
///
/// # Safety
/// All zeros must be a value of `T`, and `T` must fit into a page.
pub(crate) unsafe fn shared_memory<T>() -> &'static T {
    assert!(size_of::<T>() <= 4096);
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: the memory is fresh and aligned to a page. The caller vouches for the type.
    unsafe {
        let address = libc::mmap(null_mut(), 4096, access, flags, -1, 0);
        assert_ne!(address, libc::MAP_FAILED);
        &*address.cast()
    }
}

/// A forked child that blocks in its body until the parent releases it.
pub(crate) struct ForkedChild {
    pid: libc::pid_t,
    pipe: [i32; 2],
}

impl ForkedChild {
    /// Forks. The child runs `body` and exits with its result. The argument of `body` blocks until the parent calls
    /// `release`. The body must make no calls but system calls and those under test.
    pub(crate) fn start(body: impl FnOnce(&dyn Fn()) -> i32) -> ForkedChild {
        let mut pipe = [0; 2];
        // SAFETY: two descriptors are written. The child returns from nothing: it ends here.
        let pid = unsafe {
            assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
            libc::fork()
        };
        if pid == 0 {
            let wait_for_release = || {
                let mut byte = 0u8;
                // SAFETY: the child owns its copies of both descriptors.
                unsafe {
                    libc::close(pipe[1]);
                    libc::read(pipe[0], (&raw mut byte).cast(), 1);
                }
            };
            let code = body(&wait_for_release);
            // SAFETY: the call has no preconditions.
            unsafe { libc::_exit(code) };
        }
        assert!(pid > 0);
        ForkedChild { pid, pipe }
    }

    pub(crate) fn release(&self) {
        // SAFETY: the descriptor is open until `join`.
        assert_eq!(unsafe { libc::write(self.pipe[1], c"x".as_ptr().cast(), 1) }, 1);
    }

    /// Waits until the child has exited. Fails the test unless it exited with 0.
    pub(crate) fn join(self) {
        let mut status = 1;
        // SAFETY: the child was not waited for yet; the descriptors are this struct's.
        unsafe {
            assert_eq!(libc::waitpid(self.pid, &raw mut status, 0), self.pid);
            libc::close(self.pipe[0]);
            libc::close(self.pipe[1]);
        }
        assert_eq!(status, 0, "the child's exit status");
    }
}
