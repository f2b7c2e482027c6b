//! Descriptors of other kinds than sockets: timers, counters, watches and terminals.

use super::owned;
use crate::support::differential::{exclusive, ms, same, spawn_delayed, waits};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::ptr::null_mut;
use std::thread;

#[test]
fn timerfd_read_waits_until_the_timer_expires() {
    let _exclusive = exclusive();
    let expirations = same(|| {
        // SAFETY: the time is in this frame.
        let mut timer = unsafe {
            let timer = owned(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0));
            let mut time: libc::itimerspec = zeroed();
            time.it_value.tv_nsec = 30_000_000;
            assert_eq!(libc::timerfd_settime(timer.as_raw_fd(), 0, &time, null_mut()), 0);
            timer
        };
        let mut count = [0; 8];
        waits(ms(30), || timer.read_exact(&mut count).unwrap());
        u64::from_ne_bytes(count)
    });
    assert_eq!(expirations, 1);
}

#[test]
fn eventfd_read_waits_for_a_count_and_write_waits_for_room() {
    let _exclusive = exclusive();
    let count = same(|| {
        let mut eight = [0; 8];
        // SAFETY: no pointers.
        let mut counter = owned(unsafe { libc::eventfd(0, 0) });
        let mut other = counter.try_clone().unwrap();
        let writer = spawn_delayed(move || other.write_all(&7u64.to_ne_bytes()).unwrap());
        waits(ms(10), || counter.read_exact(&mut eight).unwrap());
        writer.join().unwrap();
        let count = u64::from_ne_bytes(eight);
        // The counter is at its maximum. The next writer waits until it is read.
        counter.write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        let mut other = counter.try_clone().unwrap();
        let reader = spawn_delayed(move || other.read_exact(&mut [0; 8]).unwrap());
        waits(ms(10), || counter.write_all(&1u64.to_ne_bytes()).unwrap());
        reader.join().unwrap();
        // C's functions `eventfd_read` and `eventfd_write`.
        counter.read_exact(&mut eight).unwrap();
        let (fd, mut value) = (counter.as_raw_fd(), 0);
        // SAFETY: the descriptor is open; the value is written to this frame.
        unsafe {
            let writer = spawn_delayed(move || assert_eq!(libc::eventfd_write(fd, 5), 0));
            waits(ms(10), || assert_eq!(libc::eventfd_read(fd, &mut value), 0));
            writer.join().unwrap();
            assert_eq!((value, libc::eventfd_read(-1, &mut value)), (5, -1));
        }
        count
    });
    assert_eq!(count, 7);
}

#[test]
fn inotify_read_waits_for_an_event() {
    let _exclusive = exclusive();
    same(|| {
        let dir = std::env::temp_dir().join(format!(
            "greenline-{}-{:?}",
            std::process::id(),
            thread::current().id()
        ));
        std::fs::create_dir_all(&dir).unwrap();
        let path = CString::new(dir.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path ends in 0.
        let mut watch = unsafe {
            let watch = owned(libc::inotify_init1(0));
            assert!(libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) >= 0);
            watch
        };
        let file = dir.join("made");
        let maker = spawn_delayed(move || File::create(file).map(drop).unwrap());
        let mut event = [0; 512];
        let len = waits(ms(10), || watch.read(&mut event).unwrap());
        maker.join().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        len
    });
}

/// A terminal cannot be made non-blocking for one call. The patch calls `poll` first.
#[test]
fn terminal_read_waits_for_input() {
    let _exclusive = exclusive();
    let results = same(|| {
        let (mut master, mut slave) = (-1, -1);
        // SAFETY: the numbers are written to this frame.
        let made = unsafe { libc::openpty(&mut master, &mut slave, null_mut(), null_mut(), null_mut()) };
        assert_eq!(made, 0);
        let (mut master, mut slave) = (owned(master), owned(slave));
        let mut other = master.try_clone().unwrap();
        let typist = spawn_delayed(move || other.write_all(b"a line\n").unwrap());
        let mut line = [0; 64];
        let len = waits(ms(10), || slave.read(&mut line).unwrap());
        typist.join().unwrap();
        let mut echo = [0; 8];
        master.read_exact(&mut echo).unwrap();
        let mut other = slave.try_clone().unwrap();
        let program = spawn_delayed(move || other.write_all(b"out").unwrap());
        let mut out = [0; 3];
        waits(ms(10), || master.read_exact(&mut out).unwrap());
        program.join().unwrap();
        (line[..len].to_vec(), echo, out)
    });
    assert_eq!(results, (b"a line\n".to_vec(), *b"a line\r\n", *b"out"));
}

#[test]
fn terminal_write_larger_than_its_buffer_waits_for_the_reader() {
    let _exclusive = exclusive();
    same(|| {
        const LEN: usize = 200_000;
        let (mut master, mut slave) = (-1, -1);
        // SAFETY: the numbers and the settings are written to this frame.
        unsafe {
            assert_eq!(libc::openpty(&mut master, &mut slave, null_mut(), null_mut(), null_mut()), 0);
            let mut raw: libc::termios = zeroed();
            libc::cfmakeraw(&mut raw);
            assert_eq!(libc::tcsetattr(slave, libc::TCSANOW, &raw), 0);
        }
        let (mut master, mut slave) = (owned(master), owned(slave));
        let bytes: Vec<u8> = (0..LEN).map(|n| (n % 251) as u8).collect();
        let expected = bytes.clone();
        let program = thread::spawn(move || {
            slave.write_all(&bytes).unwrap();
            slave
        });
        let mut all = vec![0; LEN];
        master.read_exact(&mut all).unwrap();
        assert!(all == expected);
        program.join().unwrap();
    });
}
