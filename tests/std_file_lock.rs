//! Locks on files, and named pipes, patched: who waits for them lets the others run, and gets what the kernel would give.

#![cfg(feature = "patch")]
#![allow(clippy::incompatible_msrv)] // what std has learnt since calls these, too

mod support;

use greenline::{offload, offload_threads, spawn};
use std::cell::Cell;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use support::files::*;

const CASE: &str = "GREENLINE_TEST_CASE";

/// Another process, this program again: does what the case says, says so, and goes on when its stdin is closed.
struct Other(Child);

impl Other {
    fn new(case: &str, path: &Temp) -> Other {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "case", "--nocapture"]).env(CASE, case).env("GREENLINE_TEST_PATH", &path.0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let ready = BufReader::new(child.stdout.as_mut().unwrap())
            .lines()
            .any(|line| line.is_ok_and(|line| line.contains("has the lock")));
        assert!(ready);
        Other(child)
    }

    fn go_on(&mut self) {
        drop(self.0.stdin.take());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A record lock on one byte.
fn record(file: &File, command: i32, kind: i32, at: i64) -> i32 {
    // SAFETY: all zeros is a value of it; a range of ours.
    unsafe {
        let mut range: libc::flock = std::mem::zeroed();
        range.l_type = kind as _;
        range.l_start = at;
        range.l_len = 1;
        match libc::fcntl(file.as_raw_fd(), command, &mut range) {
            0 => 0,
            _ => errno(),
        }
    }
}

#[test]
fn case() {
    let Ok(case) = std::env::var(CASE) else { return };
    let path = std::env::var("GREENLINE_TEST_PATH").unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let wait = || io::stdin().read_to_end(&mut Vec::new()).unwrap();
    match case.as_str() {
        "flock" => file.lock().unwrap(),
        "record" => assert_eq!(record(&file, libc::F_SETLKW, libc::F_WRLCK, 2), 0),
        "open file" => assert_eq!(record(&file, libc::F_OFD_SETLKW, libc::F_WRLCK, 2), 0),
        "deadlock" => {
            assert_eq!(record(&file, libc::F_SETLKW, libc::F_WRLCK, 2), 0);
            println!("has the lock");
            std::process::exit(record(&file, libc::F_SETLKW, libc::F_WRLCK, 1));
        }
        other => unreachable!("{other}"),
    }
    println!("has the lock");
    wait();
    std::process::exit(0);
}

#[test]
fn one_at_a_time_has_the_lock() {
    let _watch = setup();
    let temp = Temp::with(b"");
    let (inside, count) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let all: Vec<_> = (0..20)
        .map(|_| {
            let (file, inside, count) = (temp.open(), inside.clone(), count.clone());
            spawn(move || {
                for round in 0..5 {
                    file.lock().unwrap();
                    assert!(!inside.replace(true));
                    thread::yield_now();
                    count.set(count.get() + 1);
                    assert!(inside.replace(false));
                    // Given back so, or so.
                    if round % 2 == 0 {
                        file.unlock().unwrap();
                    } else {
                        file.lock_shared().unwrap();
                        file.unlock().unwrap();
                    }
                }
                // Or so.
                file.lock().unwrap();
            })
        })
        .collect();
    all.into_iter().for_each(|one| one.join().unwrap());
    assert_eq!(count.get(), 100);
}

#[test]
fn a_lock_that_another_process_has_is_waited_for() {
    let _watch = setup();
    type Lock = fn(&File);
    let locks: [(&str, Lock); 4] = [
        ("flock", |file| file.lock().unwrap()),
        ("record", |file| assert_eq!(record(file, libc::F_SETLKW, libc::F_WRLCK, 2), 0)),
        ("open file", |file| assert_eq!(record(file, libc::F_OFD_SETLKW, libc::F_WRLCK, 2), 0)),
        // SAFETY: no pointers.
        ("record", |file| assert_eq!(unsafe { libc::lockf(file.as_raw_fd(), libc::F_LOCK, 10) }, 0)),
    ];
    for (case, lock) in locks {
        let temp = Temp::with(b"0123456789");
        let mut other = Other::new(case, &temp);
        let file = temp.open();
        let locked = spawn(move || lock(&file));
        // Somebody who runs meanwhile has the other process go on.
        for _ in 0..20 {
            greenline::sleep(Duration::from_millis(2));
            assert!(!locked.is_finished());
        }
        other.go_on();
        locked.join().unwrap();
    }
}

#[test]
fn who_would_wait_for_each_other_is_told() {
    let _watch = setup();
    let temp = Temp::with(b"0123456789");
    let file = temp.open();
    assert_eq!(record(&file, libc::F_SETLKW, libc::F_WRLCK, 1), 0);
    let mut other = Other::new("deadlock", &temp);
    let mine = spawn(move || {
        let mine = record(&file, libc::F_SETLKW, libc::F_WRLCK, 2);
        drop(file);
        mine
    });
    let mine = mine.join().unwrap();
    let theirs = other.0.wait().unwrap().code().unwrap();
    // Whoever comes second.
    let one = [(libc::EDEADLK, 0), (0, libc::EDEADLK)].contains(&(mine, theirs));
    assert!(one, "{mine}, {theirs}");
}

#[test]
fn those_who_wait_for_a_lock_keep_no_work_from_being_done() {
    let _watch = setup();
    let temp = Temp::with(b"0123456789");
    let mut other = Other::new("record", &temp);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let file = temp.open();
            spawn(move || record(&file, libc::F_SETLKW, libc::F_WRLCK, 2))
        })
        .collect();
    greenline::sleep(Duration::from_millis(20));
    offload_threads(1);
    let work = spawn({
        let file = temp.open();
        move || {
            file.sync_all().unwrap();
            offload(|| 1)
        }
    });
    assert_eq!(work.join().unwrap(), 1);
    offload_threads(64);
    assert!(waiting.iter().all(|one| !one.is_finished()));
    other.go_on();
    waiting.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), 0));
}

#[test]
fn a_function_may_need_somebody_who_needs_a_file() {
    let _watch = setup();
    let temp = Temp::with(b"");
    let file = temp.open();
    offload_threads(1);
    let (synced, is_synced) = std::sync::mpsc::channel();
    let function = spawn(move || offload(move || is_synced.recv().unwrap()));
    greenline::sleep(Duration::from_millis(5));
    file.sync_all().unwrap();
    synced.send(()).unwrap();
    function.join().unwrap();
    offload_threads(64);
}

#[test]
fn a_kill_ends_the_wait_for_a_lock() {
    let _watch = setup();
    let temp = Temp::with(b"0123456789");
    let holder = temp.open();
    holder.lock().unwrap();
    let file = temp.open();
    let waits = spawn(move || {
        assert_eq!(file.lock().unwrap_err().raw_os_error(), Some(libc::EINTR));
        greenline::yield_now();
        greenline::sleep(Duration::MAX);
    });
    greenline::sleep(Duration::from_millis(5));
    waits.kill();
    assert!(matches!(waits.join(), Err(greenline::JoinError::Killed)));
    // And it has got nothing.
    holder.unlock().unwrap();
    temp.open().try_lock().unwrap();
}

#[test]
fn what_does_not_wait_answers_at_once() {
    let _watch = setup();
    let temp = Temp::with(b"0123456789");
    let _other = Other::new("record", &temp);
    let file = temp.open();
    // SAFETY: no pointers.
    let lockf = |command: i32| unsafe { libc::lockf(file.as_raw_fd(), command, 10) };
    assert_eq!((lockf(libc::F_TEST), errno()), (-1, libc::EACCES));
    assert_eq!((lockf(libc::F_TLOCK), errno()), (-1, libc::EAGAIN));
    assert_eq!(record(&file, libc::F_SETLK, libc::F_WRLCK, 2), libc::EAGAIN);
    assert_eq!(record(&file, libc::F_SETLKW, libc::F_WRLCK, 3), 0);
    assert_eq!(lockf(libc::F_ULOCK), 0);
    let (one, two) = (temp.open(), temp.open());
    one.lock_shared().unwrap();
    two.lock_shared().unwrap();
    assert!(matches!(two.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
}

#[test]
fn the_two_ends_of_a_named_pipe_wait_for_each_other() {
    let _watch = setup();
    let bytes = random(300_000, 5);
    for reader_first in [true, false] {
        let fifo = Rc::new(Temp::fifo());
        let (path, sent) = (fifo.clone(), bytes.clone());
        let read = move || {
            let mut got = Vec::new();
            File::open(&path.0).unwrap().read_to_end(&mut got).unwrap();
            got
        };
        let path = fifo.clone();
        let write = move || OpenOptions::new().write(true).open(&path.0).unwrap().write_all(&sent).unwrap();
        let (reader, writer) = if reader_first {
            let reader = spawn(read);
            greenline::sleep(Duration::from_millis(10));
            (reader, spawn(write))
        } else {
            let writer = spawn(write);
            greenline::sleep(Duration::from_millis(10));
            (spawn(read), writer)
        };
        assert!(reader.join().unwrap() == bytes);
        writer.join().unwrap();
    }
}

#[test]
fn those_who_open_named_pipes_keep_no_work_from_being_done() {
    let _watch = setup();
    offload_threads(1);
    let fifos: Vec<_> = (0..3).map(|_| Rc::new(Temp::fifo())).collect();
    let readers = fifos.iter().cloned().map(|fifo| {
        spawn(move || {
            let mut text = String::new();
            File::open(&fifo.0).unwrap().read_to_string(&mut text).unwrap();
            text
        })
    });
    let readers: Vec<_> = readers.collect();
    greenline::sleep(Duration::from_millis(20));
    assert_eq!(offload(|| 1), 1);
    for fifo in &fifos {
        OpenOptions::new().write(true).open(&fifo.0).unwrap().write_all(b"text").unwrap();
    }
    readers.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), "text"));
    offload_threads(64);
}

#[test]
fn a_named_pipe_that_is_not_to_be_waited_for_is_not() {
    let _watch = setup();
    let fifo = Temp::fifo();
    let write = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&fifo.0);
    assert_eq!(write.unwrap_err().raw_os_error(), Some(libc::ENXIO));
    let mut both = fifo.open();
    both.write_all(b"text").unwrap();
    let mut text = [0; 4];
    both.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"text");
}

#[test]
fn opening_is_as_ever() {
    let _watch = setup();
    let temp = Temp::new();
    let mode = |mode: u32| {
        let got = std::fs::metadata(&temp.0).unwrap().permissions().mode() & 0o777;
        std::fs::remove_file(&temp.0).unwrap();
        assert_eq!(got, mode);
    };
    drop(OpenOptions::new().write(true).create_new(true).mode(0o640).open(&temp.0).unwrap());
    mode(0o640);
    let path = CString::new(temp.0.to_str().unwrap()).unwrap();
    let name = CString::new(temp.0.file_name().unwrap().to_str().unwrap()).unwrap();
    let dir = File::open(temp.0.parent().unwrap()).unwrap();
    // SAFETY: paths that end in 0; descriptors that are made here.
    unsafe {
        let made = |fd: i32| drop(File::from_raw_fd(fd));
        made(libc::creat(path.as_ptr(), 0o600));
        mode(0o600);
        made(libc::openat(dir.as_raw_fd(), name.as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o604));
        mode(0o604);
        assert_eq!((libc::open(path.as_ptr(), libc::O_RDONLY), errno()), (-1, libc::ENOENT));
        assert_eq!((libc::open(std::ptr::null(), libc::O_RDONLY), errno()), (-1, libc::EFAULT));
        assert_eq!((libc::open(c"/".as_ptr(), libc::O_WRONLY), errno()), (-1, libc::EISDIR));
        assert_eq!((libc::openat(9999, name.as_ptr(), libc::O_RDONLY), errno()), (-1, libc::EBADF));
    }
}
