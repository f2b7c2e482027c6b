//! Opening of files and of named pipes.

use crate::support::files::*;
use greenline::{offload, offload_threads, spawn};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::rc::Rc;
use std::time::Duration;

#[test]
fn open_of_a_fifo_waits_for_the_other_end() {
    let _guard = setup();
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
fn open_of_fifos_takes_no_place_of_offload() {
    let _guard = setup();
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
fn open_of_a_fifo_with_o_nonblock_or_o_rdwr_does_not_wait() {
    let _guard = setup();
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
fn open_openat_and_creat_use_modes_and_return_errors_as_in_c() {
    let _guard = setup();
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
    // SAFETY: the paths end in 0; each descriptor is made here.
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
