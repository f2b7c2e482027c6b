//! Reading and writing of files: the same as by an OS thread that is not patched, and others run meanwhile.

use crate::support::files::*;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[test]
fn read_of_uncached_pages_is_offloaded_and_whole() {
    let _guard = setup();
    let bytes = random(6 * MIB + 12345, 1);
    let temp = Temp::with(&bytes);
    let file = temp.open();
    // The cache holds nothing of the file, or its beginning. The reads are large and small.
    for (len, kept) in [(100_000, 0), (600_000, 100_000), (2 * MIB, 50_000), (5 * MIB, 0), (5 * MIB, 50_000)]
    {
        drop_cache(&file, 0);
        let mut start = vec![0; kept];
        unpatched({
            let path = temp.0.clone();
            move || File::open(path).unwrap().read_exact(&mut start).unwrap()
        });
        let mut buffer = vec![0; len];
        let path = temp.0.clone();
        let got = greenline::spawn(move || {
            let mut file = File::open(path).unwrap();
            let got = file.read(&mut buffer).unwrap();
            assert_eq!(file.stream_position().unwrap(), got as u64);
            (got, buffer)
        });
        let (got, buffer) = got.join().unwrap();
        assert_eq!(got, len, "the kernel reads all at once");
        assert!(buffer == bytes[..len]);
    }
    drop_cache(&file, 0);
    let file = Rc::new(file);
    lets_others_run_once(move || {
        // The file is on the disk already. This evicts it from the cache.
        forget_cache(&file, 0);
        file.read_at(&mut [0; 4096], MIB as u64).unwrap();
    });
}

#[test]
fn read_at_the_end_is_short_and_then_0() {
    let _guard = setup();
    let temp = Temp::with(&random(10_000, 2));
    for cold in [false, true] {
        let mut file = temp.open();
        if cold {
            drop_cache(&file, 0);
        }
        let mut buffer = [0; 8000];
        assert_eq!(file.read(&mut buffer).unwrap(), 8000);
        assert_eq!(file.read(&mut buffer).unwrap(), 2000);
        assert_eq!(file.read(&mut buffer).unwrap(), 0);
        assert_eq!(file.read_at(&mut buffer, 20_000).unwrap(), 0);
        assert_eq!(file.read_at(&mut buffer, 9999).unwrap(), 1);
    }
}

#[test]
fn read_of_a_file_that_grows_meanwhile_needs_little_stack() {
    let _guard = setup();
    let temp = Temp::with(b"the first bytes");
    let over = Arc::new(AtomicBool::new(false));
    let (path, until) = (temp.0.clone(), over.clone());
    let writer = greenline::thread::Thread::new(move || {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        while !until.load(Relaxed) {
            file.write_all(b"more").unwrap();
        }
    });
    let writer = writer.start().unwrap();
    let mut file = temp.open();
    let reader = greenline::Builder::new().stack_size(16 << 10).spawn(move || {
        let (mut buffer, mut got) = (vec![0; 3 * MIB], 0);
        for _ in 0..100_000 {
            // Each look may find that the writer has written since the one before.
            got += file.read(&mut buffer).unwrap();
        }
        got
    });
    assert!(reader.unwrap().join().unwrap() > 100);
    over.store(true, Relaxed);
    writer.join().unwrap();
}

#[test]
fn read_by_threads_that_share_a_position_returns_each_byte_once() {
    let _guard = setup();
    // Each word of a record of 256 KiB is the number of the record.
    const RECORD: usize = 256 << 10;
    let bytes: Vec<u8> =
        (0..32_u64).flat_map(|n| std::iter::repeat_n(n.to_le_bytes(), RECORD / 8).flatten()).collect();
    let temp = Temp::with(&bytes);
    let file = Rc::new(temp.open());
    drop_cache(&file, 0);
    let mut first_pages = [0; 1];
    for n in 0..32 {
        file.read_at(&mut first_pages, (n * RECORD) as u64).unwrap();
    }
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let file = file.clone();
            greenline::spawn(move || {
                let mut seen = Vec::new();
                let mut record = vec![0; RECORD];
                while (&*file).read(&mut record).unwrap() == RECORD {
                    assert!(
                        record.chunks(8).all(|word| word == &record[..8]),
                        "a read returned parts of several records"
                    );
                    seen.push(record[0]);
                }
                seen
            })
        })
        .collect();
    let mut all: Vec<u8> = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..32).collect::<Vec<u8>>());
}

#[test]
fn pread_pwrite_fsync_and_flock_return_the_kernels_errors() {
    let _guard = setup();
    let temp = Temp::with(b"text");
    let read_only = File::open(&temp.0).unwrap();
    let write_only = OpenOptions::new().write(true).open(&temp.0).unwrap();
    let directory = File::open("/").unwrap();
    let (pipe, _other) = io::pipe().unwrap();
    let mut buffer = [0; 8];
    let at = buffer.as_mut_ptr().cast();
    let slice = libc::iovec { iov_base: at, iov_len: 8 };
    let nowhere = libc::iovec { iov_base: 8 as *mut _, iov_len: 8 };
    let fds =
        [read_only.as_raw_fd(), write_only.as_raw_fd(), directory.as_raw_fd(), pipe.as_raw_fd(), -1, 9999];
    type Call = fn(i32, *mut libc::c_void, *const libc::iovec, *const libc::iovec) -> isize;
    // SAFETY: of all calls: the memory is in this frame, or the kernel refuses it.
    let calls: [Call; 14] = unsafe {
        [
            |fd, at, _, _| libc::pread64(fd, at, 8, -1),
            |fd, at, _, _| libc::pread(fd, at, 8, -2),
            |fd, at, _, _| libc::pread(fd, at, 8, 2),
            |fd, at, _, _| libc::pwrite64(fd, at, 8, -1),
            |fd, _, _, nowhere| libc::preadv(fd, nowhere, 1, 0),
            |fd, _, _, nowhere| libc::pwritev(fd, nowhere, 1, 0),
            |fd, _, slice, _| libc::preadv(fd, slice, -1, 0),
            |fd, _, slice, _| libc::pwritev64(fd, slice, 1, -1),
            |fd, _, slice, _| libc::preadv2(fd, slice, 1, 0, 1 << 20),
            |fd, _, slice, _| libc::pwritev2(fd, slice, 1, 0, 1 << 20),
            |fd, _, _, _| libc::fsync(fd) as isize,
            |fd, _, _, _| libc::flock(fd, 77) as isize,
            |fd, _, _, _| libc::lockf(fd, 77, 0) as isize,
            |fd, _, _, _| libc::sync_file_range(fd, -1, 0, 0) as isize,
        ]
    };
    for (n, call) in calls.into_iter().enumerate() {
        for fd in fds {
            let outcome = move |result: isize| (result, if result < 0 { errno() } else { 0 });
            let here = outcome(call(fd, at, &slice, &nowhere));
            let args = (at as usize, &raw const slice as usize, &raw const nowhere as usize);
            let there = unpatched(move || outcome(call(fd, args.0 as _, args.1 as _, args.2 as _)));
            assert_eq!(here, there, "call {n} of descriptor {fd}");
        }
    }
}

#[test]
fn errno_is_unchanged_by_read_fsync_and_flock_that_succeed() {
    let _guard = setup();
    let temp = Temp::with(&random(MIB, 3));
    let file = temp.open();
    drop_cache(&file, 0);
    let mut buffer = vec![0; MIB];
    // SAFETY: the number is the calling thread's own; the memory is in this frame.
    unsafe {
        *libc::__errno_location() = 77;
        assert_eq!(libc::read(file.as_raw_fd(), buffer.as_mut_ptr().cast(), 300_000), 300_000);
        assert_eq!(libc::fsync(file.as_raw_fd()), 0);
        assert_eq!(libc::flock(file.as_raw_fd(), libc::LOCK_EX), 0);
        assert_eq!(*libc::__errno_location(), 77);
    }
}

#[test]
fn write_with_o_append_is_one_piece() {
    let _guard = setup();
    let temp = Temp::new();
    let writers: Vec<_> = (0..4_u8)
        .map(|n| {
            let mut file = OpenOptions::new().append(true).create(true).open(&temp.0).unwrap();
            let lens = [10, 5000, 5 * MIB + 1];
            greenline::spawn(move || {
                for len in lens {
                    assert_eq!(file.write(&vec![n; len]).unwrap(), len);
                    let (seven, nine) = ([n; 7], [n; 9]);
                    let halves = [IoSlice::new(&seven), IoSlice::new(&nine)];
                    assert_eq!(file.write_vectored(&halves).unwrap(), 16);
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|one| one.join().unwrap());
    let bytes = std::fs::read(&temp.0).unwrap();
    let pieces = bytes.chunk_by(|a, b| a == b).count();
    assert!(pieces <= 4 * 6, "{pieces}");
    assert_eq!(bytes.len(), 4 * (10 + 5000 + 5 * MIB + 1 + 3 * 16));
}

#[test]
fn fsync_fdatasync_and_synchronous_write_let_others_run() {
    let _guard = setup();
    let temp = Temp::with(b"");
    let synchronous = OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(&temp.0).unwrap();
    let synchronous = Rc::new(synchronous);
    let file = Rc::new(temp.open());
    lets_others_run_once(move || (&*synchronous).write_all(b"to the disk").unwrap());
    let sync = file.clone();
    lets_others_run_once(move || sync.sync_all().unwrap());
    let sync = file.clone();
    lets_others_run_once(move || sync.sync_data().unwrap());
    lets_others_run_once(move || file.write_all_at(&vec![1; 5 * MIB], 0).unwrap());
    assert_eq!(std::fs::read(&temp.0).unwrap().len(), 5 * MIB);
}
