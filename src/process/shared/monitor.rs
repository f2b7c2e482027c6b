//! **The one way to block between processes**: a state, changed by one at a time, and gates to wait at.
//!
//! ```text
//!   the region:  | mutex | current: 0 or 1 | state 0 | state 1 | awaited, a word for each gate | memory ... |
//! ```
//!
//! *A change* is made on a copy. If it is to be, the copy is written over the state that is not current, and then made
//! the current one by one store: that is the commit. Who is killed before that leaves the old state, and who is killed
//! after it the new one; and the mutex is opened by the kernel, for the next to go on. The `memory` after the states is
//! for what is too large to be copied, and is changed only where the current state says that nothing is.
//!
//! *A wait* is a change that cannot be made yet. Who finds that, still holding the mutex, sets the gate's `awaited`, and
//! then waits at it. Who makes a change by which others could go on [opens](Transaction::notify_all) their gate: if it is awaited,
//! all who wait are woken, and it is awaited no more. They find the mutex locked until the change is committed; then each
//! tries again, and those who still cannot go on wait as before.
//!
//! That the gate is opened *before* the commit is what makes it bear a kill: between the two, somebody is woken for
//! nothing. The other way round, nobody would be woken for something. For the same reason `awaited` is reset only after
//! all were woken. And since a gate is not opened unless somebody waits, nobody makes a system call as long as nobody
//! waits.

use super::condvar::CondVar;
use super::mutex::{Guard, Mutex};
use super::{mapping::Mapping, robust_list};
use std::cell::UnsafeCell;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Instant;

/// A state `S` that processes share. What is in it must mean the same in all of them: no addresses of what was allocated,
/// no descriptors that were opened after the fork.
pub(crate) struct Monitor<S> {
    region: Mapping,
    gates: Box<[CondVar]>,
    /// Where in the region its memory begins.
    memory_at: usize,
    of: PhantomData<S>,
}

// SAFETY: the states are used by who holds the mutex; the rest is an address and descriptors.
unsafe impl<S: Send> Send for Monitor<S> {}
// SAFETY: the same.
unsafe impl<S: Send> Sync for Monitor<S> {}

/// What a region begins with.
#[repr(C)]
struct Shared<S> {
    mutex: Mutex,
    /// Which of the states counts.
    current: AtomicU32,
    states: [UnsafeCell<MaybeUninit<S>>; 2],
}

/// Where `memory` begins: at a cache line.
const ALIGNMENT: usize = 64;

impl<S: Copy> Monitor<S> {
    /// One with that many gates.
    ///
    /// Errors: no memory, no descriptor left; the kernel cannot help with locks of processes that die.
    pub(crate) fn new(initial: S, gates: usize) -> io::Result<Monitor<S>> {
        Monitor::with_memory(initial, gates, 0)
    }

    /// One with `size` bytes of memory beside its state: zeros at first, and aligned to 64 bytes.
    ///
    /// Errors: as for `new`.
    pub(crate) fn with_memory(initial: S, gates: usize, size: usize) -> io::Result<Monitor<S>> {
        robust_list::check_support()?;
        let memory_at = Monitor::<S>::memory_at(gates);
        let size = memory_at.checked_add(size).ok_or(io::ErrorKind::OutOfMemory)?;
        let gates = (0..gates).map(|_| CondVar::new()).collect::<io::Result<_>>()?;
        let monitor = Monitor { region: Mapping::new(size)?, gates, memory_at, of: PhantomData };
        // SAFETY: nobody else has it yet. The zeros of the rest are a free mutex, state 0, and gates that nobody awaits.
        unsafe { (*monitor.shared().states[0].get()).write(initial) };
        Ok(monitor)
    }

    /// Where `size` bytes of the memory beside the state begin.
    ///
    /// # Panics
    /// There is less memory.
    #[inline]
    pub(crate) fn memory(&self, at: usize, size: usize) -> NonNull<u8> {
        let memory = self.region.size() - self.memory_at;
        assert!(size <= memory && at <= memory - size, "{size} bytes at {at} of a memory of {memory}");
        // SAFETY: within the region, as was looked at.
        unsafe { self.region.start().add(self.memory_at + at) }
    }

    /// The state as it is now.
    pub(crate) fn snapshot(&self) -> S {
        *self.lock()
    }

    /// Has `f` change the state. If it unwinds, nothing has changed.
    ///
    /// While `f` runs others cannot, in no process, so it should be short; it must not block, nor use another monitor,
    /// nor run code of a user.
    #[inline]
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut Transaction<'_, S>) -> R) -> R {
        let mut change = self.lock();
        let answer = f(&mut change);
        change.commit();
        answer
    }

    /// As [`change`](Monitor::change), if `f` can: where it answers `None`, nothing has changed.
    #[inline]
    pub(crate) fn try_change<R>(&self, f: impl FnOnce(&mut Transaction<'_, S>) -> Option<R>) -> Option<R> {
        let mut change = self.lock();
        let answer = f(&mut change)?;
        change.commit();
        Some(answer)
    }

    /// Waits at `gate` until `f` can. `None`: the deadline has passed, and `f` cannot still. Blocks the current green thread
    /// and no other.
    ///
    /// Unwinds when the green thread is killed or a timeout around it fires; never after `f` could.
    #[inline]
    pub(crate) fn wait<R>(
        &self,
        gate: usize,
        deadline: Option<Instant>,
        f: impl FnMut(&mut Transaction<'_, S>) -> Option<R>,
    ) -> Option<R> {
        self.wait_beside(gate, deadline, || None, f)
    }

    /// As [`wait`](Monitor::wait), without a deadline, by who [expects](Monitor::spin_then_park) that `f` can soon.
    pub(crate) fn wait_spinning<R>(
        &self,
        gate: usize,
        mut f: impl FnMut(&mut Transaction<'_, S>) -> Option<R>,
    ) -> R {
        loop {
            if let Some(answer) = self.try_change_or_register(gate, &mut f) {
                return answer;
            }
            self.spin_then_park(gate, None, None);
        }
    }

    /// As [`wait`](Monitor::wait); `f` is also called again when the descriptor is readable that `beside` answers each time
    /// after `f` could not.
    pub(crate) fn wait_beside<R>(
        &self,
        gate: usize,
        deadline: Option<Instant>,
        mut beside: impl FnMut() -> Option<RawFd>,
        mut f: impl FnMut(&mut Transaction<'_, S>) -> Option<R>,
    ) -> Option<R> {
        let mut expired = false;
        loop {
            if let Some(answer) = self.try_change_or_register(gate, &mut f) {
                return Some(answer);
            }
            if expired {
                return None;
            }
            expired = !self.wait_at(gate, deadline, beside());
        }
    }

    /// As [`attempt`](Monitor::try_change); where `f` cannot, who calls is going to [`wait_at`](Monitor::wait_at) the gate.
    #[inline]
    pub(crate) fn try_change_or_register<R>(
        &self,
        gate: usize,
        f: impl FnOnce(&mut Transaction<'_, S>) -> Option<R>,
    ) -> Option<R> {
        let mut change = self.lock();
        let answer = f(&mut change);
        match answer {
            Some(_) => change.commit(),
            None => self.awaited(gate).store(1, Relaxed),
        }
        answer
    }

    /// Waits until the gate was opened since it was last awaited by this OS thread, or until `beside` is readable, or until
    /// the deadline: `false`. To be followed by another look.
    pub(crate) fn wait_at(&self, gate: usize, deadline: Option<Instant>, beside: Option<RawFd>) -> bool {
        self.gates[gate].wait(deadline, beside)
    }

    /// As [`wait_at`](Monitor::wait_at), by who expects an answer, and so may look for it for a while before it sleeps.
    pub(crate) fn spin_then_park(
        &self,
        gate: usize,
        deadline: Option<Instant>,
        beside: Option<RawFd>,
    ) -> bool {
        // Whoever opens it says so last.
        self.gates[gate].expect(|| self.awaited(gate).load(Acquire) == 0, deadline, beside)
    }

    #[inline]
    fn lock(&self) -> Transaction<'_, S> {
        let shared = self.shared();
        let guard = shared.mutex.lock();
        let state = shared.states[shared.current.load(Relaxed) as usize].get();
        // SAFETY: we hold the mutex, and the current state was written before it was made current.
        Transaction { state: unsafe { (*state).assume_init() }, monitor: self, _guard: guard }
    }

    fn shared(&self) -> &Shared<S> {
        // SAFETY: the region begins with it, at a page: `memory_at` has left room. All zeros is a value of it.
        unsafe { self.region.start().cast().as_ref() }
    }

    /// Whether somebody may wait at that gate: 1. Changed by who holds the mutex.
    fn awaited(&self, gate: usize) -> &AtomicU32 {
        assert!(gate < self.gates.len(), "there is no gate {gate}");
        // SAFETY: after the `Shared`, whose size is a multiple of its alignment, there is a word for each gate.
        unsafe { self.region.start().cast::<Shared<S>>().add(1).cast::<AtomicU32>().add(gate).as_ref() }
    }

    const fn memory_at(gates: usize) -> usize {
        assert!(align_of::<Shared<S>>() <= 4096, "a region begins at a page");
        (size_of::<Shared<S>>() + gates * size_of::<AtomicU32>()).next_multiple_of(ALIGNMENT)
    }
}

/// A change that is being made: derefs to the copy of the state that it is made on.
pub(crate) struct Transaction<'a, S: Copy> {
    state: S,
    monitor: &'a Monitor<S>,
    _guard: Guard<'a>,
}

impl<S: Copy> Transaction<'_, S> {
    /// Has all look again who wait at `gate`, when this change is made. Answers whether anybody may wait there.
    #[inline]
    pub(crate) fn notify_all(&self, gate: usize) -> bool {
        let awaited = self.monitor.awaited(gate);
        let is_awaited = awaited.load(Relaxed) != 0;
        if is_awaited {
            self.monitor.gates[gate].notify_all();
            // After it, and the store after both: whoever is killed here has woken them for nothing.
            awaited.store(0, Release);
        }
        is_awaited
    }

    /// Writes to the memory beside the state, beginning at its byte `at`. What the current state says is there must stay as
    /// it is until this change is made, for it may never be.
    ///
    /// # Panics
    /// There is less memory.
    #[inline]
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        let memory = self.memory(at, bytes.len());
        // SAFETY: so many bytes are there, and the mutex is held.
        unsafe { memory.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// Reads the memory beside the state.
    ///
    /// # Panics
    /// There is less memory.
    #[inline]
    pub(crate) fn read(&self, at: usize, bytes: &mut [u8]) {
        let memory = self.memory(at, bytes.len());
        // SAFETY: so many bytes are there, zeros or what was written, and the mutex is held.
        unsafe { memory.copy_to_nonoverlapping(NonNull::from(&mut *bytes).cast(), bytes.len()) };
    }

    /// Where `size` bytes of it begin.
    ///
    /// # Panics
    /// There is less memory.
    #[inline]
    pub(crate) fn memory(&self, at: usize, size: usize) -> NonNull<u8> {
        self.monitor.memory(at, size)
    }

    /// Frees the memory of the whole pages in `range`. What is read there afterwards is zeros.
    pub(crate) fn free_pages(&self, range: Range<usize>) {
        let start = self.monitor.memory_at;
        self.monitor.region.free_pages(start + range.start..start + range.end);
    }

    /// Makes what was changed so far the state, whatever comes after. Needed only by who goes on to change memory that the
    /// old state spoke of.
    #[inline]
    pub(crate) fn commit(&self) {
        let shared = self.monitor.shared();
        let other = 1 - shared.current.load(Relaxed);
        // SAFETY: we hold the mutex; this one is not the current one.
        unsafe { (*shared.states[other as usize].get()).write(self.state) };
        // What was written before, to the memory, too, is there once this is.
        shared.current.store(other, Release);
    }
}

impl<S: Copy> Deref for Transaction<'_, S> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        &self.state
    }
}

impl<S: Copy> DerefMut for Transaction<'_, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut S {
        &mut self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::time::Duration;

    /// Ends the process, should the test hang.
    struct Watchdog(#[allow(dead_code)] mpsc::Sender<()>);

    impl Watchdog {
        fn new(seconds: u64) -> Watchdog {
            let (alive, watched) = mpsc::channel();
            std::thread::spawn(move || {
                if watched.recv_timeout(Duration::from_secs(seconds)) == Err(RecvTimeoutError::Timeout) {
                    eprintln!("a test hangs");
                    std::process::abort();
                }
            });
            Watchdog(alive)
        }
    }

    /// A child that runs `f`, which must not need a hub: other tests run on other OS threads.
    fn fork(f: impl FnOnce()) -> i32 {
        // SAFETY: the child does not return.
        match unsafe { libc::fork() } {
            0 => {
                let panicked = catch_unwind(AssertUnwindSafe(f)).is_err();
                // SAFETY: it ends here.
                unsafe { libc::_exit(panicked as i32) }
            }
            child => child,
        }
    }

    fn kill_and_reap(child: i32) {
        // SAFETY: a child of ours that nobody has reaped.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    }

    fn kill_self() {
        // SAFETY: no preconditions.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }

    #[test]
    fn what_is_not_to_be_has_not_changed() {
        let monitor = Monitor::new(1, 0).unwrap();
        assert_eq!(monitor.try_change(|state| (std::mem::replace(&mut **state, 2) == 7).then_some(())), None);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            monitor.change(|state| {
                **state = 3;
                panic!("boom");
            })
        }));
        assert!(unwound.is_err());
        assert_eq!(monitor.snapshot(), 1);
        assert_eq!(monitor.change(|state| std::mem::replace(&mut **state, 4)), 1);
        assert_eq!(monitor.snapshot(), 4);
    }

    #[test]
    fn one_that_is_killed_leaves_the_old_state_or_the_new() {
        let _watchdog = Watchdog::new(100);
        let monitor = Monitor::new([0u64; 100], 0).unwrap();
        let mut before = 0;
        for round in 0..300 {
            let children: Vec<i32> = (0..2)
                .map(|_| {
                    fork(|| {
                        loop {
                            monitor.change(|state| state.iter_mut().for_each(|word| *word += 1));
                        }
                    })
                })
                .collect();
            // Until they are at it, and a little.
            while monitor.snapshot()[0] < before + 10 {
                std::thread::yield_now();
            }
            (0..round * 10).for_each(|_| std::hint::spin_loop());
            for child in children {
                kill_and_reap(child);
                let state = monitor.snapshot();
                assert!(state.iter().all(|&word| word == state[0]), "{state:?}");
                before = state[0];
            }
        }
    }

    #[test]
    fn one_that_is_killed_while_it_changes_leaves_the_old_state_and_an_open_lock() {
        let _watchdog = Watchdog::new(20);
        let monitor = Monitor::new(1, 1).unwrap();
        let child = fork(|| {
            monitor.change(|state| {
                **state = 2;
                kill_self();
            });
        });
        kill_and_reap(child);
        assert_eq!(monitor.snapshot(), 1);
    }

    #[test]
    fn one_that_is_killed_after_it_has_opened_a_gate_wakes_for_nothing() {
        let _watchdog = Watchdog::new(20);
        let monitor = Monitor::new(0, 1).unwrap();
        let first = fork(|| {
            while monitor.awaited(0).load(Relaxed) == 0 {
                std::hint::spin_loop();
            }
            monitor.change(|state| {
                state.notify_all(0);
                **state = 7;
                kill_self();
            });
        });
        let second = fork(|| {
            while !is_zombie(first) {
                std::hint::spin_loop();
            }
            monitor.change(|state| {
                **state = 8;
                state.notify_all(0);
            });
        });
        assert_eq!(monitor.wait(0, None, |state| (**state != 0).then_some(**state)), Some(8));
        kill_and_reap(first);
        kill_and_reap(second);
    }

    fn is_zombie(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    }

    #[test]
    fn os_threads_wait_for_each_other() {
        let _watchdog = Watchdog::new(60);
        let monitor = Arc::new(Monitor::new(0, 2).unwrap());
        let turn = |of: u64| {
            let monitor = monitor.clone();
            move || {
                for _ in 0..2_000 {
                    let turned = monitor.wait(of as usize, None, |state| {
                        (**state % 2 == of).then(|| **state += 1)?;
                        state.notify_all(1 - of as usize);
                        Some(())
                    });
                    assert_eq!(turned, Some(()));
                }
            }
        };
        let other = std::thread::spawn(turn(1));
        turn(0)();
        other.join().unwrap();
        assert_eq!(monitor.snapshot(), 4_000);
    }

    #[test]
    fn those_who_wait_at_one_gate_may_wait_for_different_things() {
        let _watchdog = Watchdog::new(60);
        for _ in 0..200 {
            let monitor = Arc::new(Monitor::new(0, 1).unwrap());
            let waiter = |for_what: u64| {
                let monitor = monitor.clone();
                move || monitor.wait(0, None, |state| (**state >= for_what).then_some(())).unwrap()
            };
            let at = |value: u64| {
                monitor.change(|state| {
                    **state = value;
                    state.notify_all(0);
                });
            };
            let (low, high) = (std::thread::spawn(waiter(1)), std::thread::spawn(waiter(2)));
            // Green threads of one hub, too.
            let (green_low, green_high) =
                (crate::api::spawn::spawn(waiter(1)), crate::api::spawn::spawn(waiter(2)));
            crate::api::sleep::yield_now();
            at(1);
            low.join().unwrap();
            green_low.join().unwrap();
            assert!(!green_high.is_finished());
            at(2);
            high.join().unwrap();
            green_high.join().unwrap();
        }
    }

    #[test]
    fn a_deadline_passes_and_a_kill_takes_nothing() {
        let _watchdog = Watchdog::new(60);
        let monitor = Arc::new(Monitor::new(0, 1).unwrap());
        let never = |state: &mut Transaction<'_, u64>| {
            **state += 1;
            None::<()>
        };
        assert_eq!(monitor.wait(0, Some(Instant::now()), never), None);
        assert_eq!(monitor.wait(0, Some(Instant::now() + Duration::from_millis(5)), never), None);
        let inside = monitor.clone();
        let waiter = crate::api::spawn::spawn(move || inside.wait(0, None, never));
        crate::api::sleep::yield_now();
        waiter.kill();
        assert!(waiter.join().is_err());
        assert!(
            crate::api::timeout::timeout(Duration::from_millis(5), || monitor.wait(0, None, never)).is_err()
        );
        assert_eq!(monitor.snapshot(), 0);
    }

    #[test]
    fn nobody_makes_a_system_call_for_nobody() {
        let monitor = Monitor::new(0, 1).unwrap();
        let counter = || {
            let mut count = [0u8; 8];
            // SAFETY: room for eight bytes. It does not block.
            let read = unsafe { libc::read(monitor.gates[0].as_raw(), count.as_mut_ptr().cast(), 8) };
            if read == 8 { u64::from_ne_bytes(count) } else { 0 }
        };
        let open = || monitor.change(|state| state.notify_all(0));
        open();
        assert_eq!(counter(), 0);
        monitor.wait(0, Some(Instant::now()), |_| None::<()>);
        open();
        open();
        assert_eq!(counter(), 1);
    }
}
