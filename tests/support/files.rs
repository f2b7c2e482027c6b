//! What the tests about files share.

use greenline::patch;
use std::cell::Cell;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

pub(crate) const MIB: usize = 1 << 20;

/// Every test begins so: patched, and not for ever.
pub(crate) fn setup() -> Watch {
    let (sender, ended) = mpsc::channel();
    let name = thread::current().name().unwrap_or("main").to_owned();
    let watch = greenline::thread::Thread::new(move || {
        if ended.recv_timeout(Duration::from_secs(90)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            std::process::abort();
        }
    });
    watch.start().unwrap();
    patch::all();
    Watch(sender)
}

pub(crate) struct Watch(mpsc::Sender<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Calls `f` on an OS thread that is not patched.
pub(crate) fn unpatched<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    greenline::thread::Thread::new(f).start().unwrap().join().unwrap()
}

/// A path that is removed at the end.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    pub(crate) fn new() -> Temp {
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("greenline-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        // On a disk, if there is one.
        Temp(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    pub(crate) fn with(bytes: &[u8]) -> Temp {
        let temp = Temp::new();
        std::fs::write(&temp.0, bytes).unwrap();
        temp
    }

    pub(crate) fn fifo() -> Temp {
        let temp = Temp::new();
        let path = CString::new(temp.0.to_str().unwrap()).unwrap();
        // SAFETY: a path.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        temp
    }

    pub(crate) fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.0).unwrap()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) fn random(len: usize, mut seed: u64) -> Vec<u8> {
    seed = seed.wrapping_mul(2) + 1;
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Puts what memory has of a file out of it, from `offset` on.
pub(crate) fn drop_cache(file: &File, offset: usize) {
    file.sync_all().unwrap();
    forget_cache(file, offset);
}

/// The same, of what is on the disk.
pub(crate) fn forget_cache(file: &File, offset: usize) {
    // SAFETY: no pointers.
    let answer =
        unsafe { libc::posix_fadvise(file.as_raw_fd(), offset as libc::off_t, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(answer, 0);
}

/// Whether `f`, in a green thread, lets another run until it has ended.
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

/// Calls it until the others have run meanwhile: the kernel may read ahead, or be quick.
pub(crate) fn lets_others_run_once<T: 'static>(f: impl FnMut() -> T + 'static + Clone) {
    let lets_others_run = (0..100).any(|_| lets_others_run(f.clone()).1);
    assert!(lets_others_run, "it keeps the others from running");
}

pub(crate) fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap()
}
