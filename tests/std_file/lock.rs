//! Locks on files: a green thread that waits for one lets others run, and gets what the kernel gives.

use crate::support::files::*;
use crate::support::subprocess::command;
use greenline::{offload, offload_threads, spawn};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

/// Environment variable with the path of the file to lock.
const PATH: &str = "GREENLINE_TEST_PATH";

/// Another process that holds a lock until its stdin is closed.
struct LockHolder(Child);

impl LockHolder {
    fn new(case: &str, path: &Temp) -> LockHolder {
        let mut command = command(case);
        command.env(PATH, &path.0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let ready = BufReader::new(child.stdout.as_mut().unwrap())
            .lines()
            .any(|line| line.is_ok_and(|line| line.contains("has the lock")));
        assert!(ready);
        LockHolder(child)
    }

    fn release(&mut self) {
        drop(self.0.stdin.take());
    }
}

impl Drop for LockHolder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sets or removes a record lock on one byte. Returns 0 or `errno`.
fn record_lock(file: &File, command: i32, kind: i32, at: i64) -> i32 {
    // SAFETY: all zeros is a value of the range, which is in this frame.
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

/// The child's part of [`LockHolder`]: takes the lock that `case` names, and holds it until stdin is closed.
pub(crate) fn hold_lock(case: &str) {
    let path = std::env::var(PATH).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();

    match case {
        "flock" => file.lock().unwrap(),
        "record lock" => assert_eq!(record_lock(&file, libc::F_SETLKW, libc::F_WRLCK, 2), 0),
        "open file description lock" => {
            assert_eq!(record_lock(&file, libc::F_OFD_SETLKW, libc::F_WRLCK, 2), 0)
        }
        "deadlock" => {
            assert_eq!(record_lock(&file, libc::F_SETLKW, libc::F_WRLCK, 2), 0);
            println!("has the lock");
            std::process::exit(record_lock(&file, libc::F_SETLKW, libc::F_WRLCK, 1));
        }
        other => unreachable!("{other}"),
    }
    println!("has the lock");
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn flock_admits_one_at_a_time() {
    let _guard = setup();
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
                    // The lock is released at once, or turned into a shared one before.
                    if round % 2 == 0 {
                        file.unlock().unwrap();
                    } else {
                        file.lock_shared().unwrap();
                        file.unlock().unwrap();
                    }
                }
                // The file's end releases this one.
                file.lock().unwrap();
            })
        })
        .collect();
    all.into_iter().for_each(|one| one.join().unwrap());
    assert_eq!(count.get(), 100);
}

#[test]
fn flock_fcntl_and_lockf_wait_for_a_lock_of_another_process() {
    let _guard = setup();
    type Lock = fn(&File);
    let locks: [(&str, Lock); 4] = [
        ("flock", |file| file.lock().unwrap()),
        ("record lock", |file| assert_eq!(record_lock(file, libc::F_SETLKW, libc::F_WRLCK, 2), 0)),
        ("open file description lock", |file| {
            assert_eq!(record_lock(file, libc::F_OFD_SETLKW, libc::F_WRLCK, 2), 0)
        }),
        // SAFETY: no pointers.
        ("record lock", |file| assert_eq!(unsafe { libc::lockf(file.as_raw_fd(), libc::F_LOCK, 10) }, 0)),
    ];
    for (case, lock) in locks {
        let temp = Temp::with(b"0123456789");
        let mut other = LockHolder::new(case, &temp);
        let file = temp.open();
        let locked = spawn(move || lock(&file));
        // The root runs meanwhile, and lets the other process release its lock.
        for _ in 0..20 {
            greenline::sleep(Duration::from_millis(2));
            assert!(!locked.is_finished());
        }
        other.release();
        locked.join().unwrap();
    }
}

#[test]
fn fcntl_setlkw_returns_edeadlk_to_one_of_two_that_wait_for_each_other() {
    let _guard = setup();
    let temp = Temp::with(b"0123456789");
    let file = temp.open();
    assert_eq!(record_lock(&file, libc::F_SETLKW, libc::F_WRLCK, 1), 0);
    let mut other = LockHolder::new("deadlock", &temp);
    let mine = spawn(move || {
        let mine = record_lock(&file, libc::F_SETLKW, libc::F_WRLCK, 2);
        drop(file);
        mine
    });
    let mine = mine.join().unwrap();
    let theirs = other.0.wait().unwrap().code().unwrap();
    // The error goes to the one that comes second.
    let one = [(libc::EDEADLK, 0), (0, libc::EDEADLK)].contains(&(mine, theirs));
    assert!(one, "{mine}, {theirs}");
}

#[test]
fn fcntl_setlkw_waiters_take_no_place_of_offload() {
    let _guard = setup();
    let temp = Temp::with(b"0123456789");
    let mut other = LockHolder::new("record lock", &temp);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let file = temp.open();
            spawn(move || record_lock(&file, libc::F_SETLKW, libc::F_WRLCK, 2))
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
    other.release();
    waiting.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), 0));
}

#[test]
fn fsync_goes_on_while_an_offloaded_function_waits_for_it() {
    let _guard = setup();
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
fn flock_when_killed_returns_eintr_and_has_no_lock() {
    let _guard = setup();
    let temp = Temp::with(b"0123456789");
    let holder = temp.open();
    holder.lock().unwrap();
    let file = temp.open();
    let waiter = spawn(move || {
        assert_eq!(file.lock().unwrap_err().raw_os_error(), Some(libc::EINTR));
        greenline::yield_now();
        greenline::sleep(Duration::MAX);
    });
    greenline::sleep(Duration::from_millis(5));
    waiter.kill();
    assert!(matches!(waiter.join(), Err(greenline::JoinError::Killed)));
    // The killed green thread holds no lock.
    holder.unlock().unwrap();
    temp.open().try_lock().unwrap();
}

#[test]
fn lockf_test_and_try_lock_return_at_once() {
    let _guard = setup();
    let temp = Temp::with(b"0123456789");
    let _other = LockHolder::new("record lock", &temp);
    let file = temp.open();
    // SAFETY: no pointers.
    let lockf = |command: i32| unsafe { libc::lockf(file.as_raw_fd(), command, 10) };
    assert_eq!((lockf(libc::F_TEST), errno()), (-1, libc::EACCES));
    assert_eq!((lockf(libc::F_TLOCK), errno()), (-1, libc::EAGAIN));
    assert_eq!(record_lock(&file, libc::F_SETLK, libc::F_WRLCK, 2), libc::EAGAIN);
    assert_eq!(record_lock(&file, libc::F_SETLKW, libc::F_WRLCK, 3), 0);
    assert_eq!(lockf(libc::F_ULOCK), 0);
    let (one, two) = (temp.open(), temp.open());
    one.lock_shared().unwrap();
    two.lock_shared().unwrap();
    assert!(matches!(two.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
}
