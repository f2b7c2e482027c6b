//! Helpers of the tests about files.

use super::hang_guard::HangGuard;
use super::random::Random;
pub(crate) use super::threads::on_os_thread as unpatched;
use greenline::patch;
use std::cell::Cell;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub(crate) const MIB: usize = 1 << 20;

/// Patches, and aborts the test program if the guard lives for too long.
pub(crate) fn setup() -> HangGuard {
    let guard = HangGuard::new();
    patch::all();
    guard
}

/// Path of a file that is removed at the end of the test.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    /// Returns a path at which there is no file yet.
    pub(crate) fn new() -> Temp {
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("greenline-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        // On a disk, if there is one.
        Temp(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    /// Creates a file with this content.
    pub(crate) fn with(bytes: &[u8]) -> Temp {
        let temp = Temp::new();
        std::fs::write(&temp.0, bytes).unwrap();
        temp
    }

    /// Creates a named pipe.
    pub(crate) fn fifo() -> Temp {
        let temp = Temp::new();
        let path = CString::new(temp.0.to_str().unwrap()).unwrap();
        // SAFETY: the path ends in 0.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        temp
    }

    /// Opens the file for reading and writing.
    pub(crate) fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.0).unwrap()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns `len` pseudo-random bytes.
pub(crate) fn random(len: usize, seed: u64) -> Vec<u8> {
    Random::new(seed).bytes(len)
}

/// Writes the file to the disk, and evicts it from the page cache from `offset` on.
pub(crate) fn drop_cache(file: &File, offset: usize) {
    file.sync_all().unwrap();
    forget_cache(file, offset);
}

/// Evicts a file from the page cache from `offset` on, as far as it is on the disk.
pub(crate) fn forget_cache(file: &File, offset: usize) {
    // SAFETY: no pointers.
    let result =
        unsafe { libc::posix_fadvise(file.as_raw_fd(), offset as libc::off_t, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(result, 0);
}

/// Calls `f` in a green thread. Returns its result, and whether another green thread has run before `f` returned.
pub(crate) fn lets_others_run<T: 'static>(f: impl FnOnce() -> T + 'static) -> (T, bool) {
    let ended = Rc::new(Cell::new(false));
    let ran = Rc::new(Cell::new(false));
    let (in_other, in_f) = (ran.clone(), ended.clone());
    let works = greenline::spawn(move || {
        let other_ended = in_f.clone();
        greenline::spawn(move || in_other.set(!other_ended.get()));
        let value = f();
        in_f.set(true);
        value
    });
    (works.join().unwrap(), ran.get())
}

/// Calls `f` until another green thread has run meanwhile, at most 100 times. The kernel may have read ahead. On a busy
/// machine, the OS thread that makes the call may preempt the hub and be done before the caller parks. This repeats as
/// long as the hub computes without a pause. Therefore the hub sleeps between the calls.
pub(crate) fn lets_others_run_once<T: 'static>(f: impl FnMut() -> T + 'static + Clone) {
    let lets_others_run = (0..100).any(|_| {
        let others_ran = lets_others_run(f.clone()).1;
        greenline::sleep(super::time::ms(1));
        others_ran
    });
    assert!(lets_others_run, "it keeps the others from running");
}

pub(crate) fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap()
}
