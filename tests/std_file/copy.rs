//! Copies from descriptor to descriptor, by std and by C: all bytes arrive in order, and others run meanwhile, above all the
//! green thread of the same OS thread that reads what is written here.

use crate::support::files::*;
use greenline::spawn;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::thread;

fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connects = spawn(move || TcpStream::connect(address).unwrap());
    let (here, _) = listener.accept().unwrap();
    (here, connects.join().unwrap())
}

/// Starts a green thread that writes the bytes in pieces.
fn feed(mut into: impl Write + 'static, bytes: Vec<u8>) {
    drop(spawn(move || {
        for piece in bytes.chunks(77_777) {
            into.write_all(piece).unwrap();
            thread::yield_now();
        }
    }));
}

/// Starts a green thread that reads to the end in pieces.
fn drain(mut from: impl Read + 'static) -> greenline::JoinHandle<Vec<u8>> {
    spawn(move || {
        let mut bytes = Vec::new();
        let mut piece = vec![0; 33_333];
        loop {
            match from.read(&mut piece).unwrap() {
                0 => return bytes,
                n => bytes.extend_from_slice(&piece[..n]),
            }
            thread::yield_now();
        }
    })
}

/// An end of a copy, by its type in std.
enum End {
    File(File),
    Tcp(TcpStream),
    Unix(UnixStream),
    Read(PipeReader),
    Write(PipeWriter),
}

macro_rules! with {
    ($end:expr, $name:ident => $body:expr) => {
        match $end {
            End::File(mut $name) => $body,
            End::Tcp(mut $name) => $body,
            End::Unix(mut $name) => $body,
            _ => unreachable!(),
        }
    };
}

fn copy(from: End, to: End) -> u64 {
    match (from, to) {
        (End::Read(mut from), End::Write(mut to)) => io::copy(&mut from, &mut to).unwrap(),
        (End::Read(mut from), to) => with!(to, to => io::copy(&mut from, &mut to).unwrap()),
        (from, End::Write(mut to)) => with!(from, from => io::copy(&mut from, &mut to).unwrap()),
        (from, to) => with!(from, from => with!(to, to => io::copy(&mut from, &mut to).unwrap())),
    }
}

#[test]
fn copy_between_all_kinds_of_descriptors_is_whole() {
    let _guard = setup();
    let bytes = random(3 * MIB + 4321, 7);
    for from in 0..4 {
        for to in 0..4 {
            let source_file = Temp::with(&bytes);
            let target_file = Temp::with(b"");
            let source = match from {
                0 => {
                    drop_cache(&source_file.open(), MIB);
                    End::File(source_file.open())
                }
                1 => {
                    let (here, there) = tcp();
                    feed(there, bytes.clone());
                    End::Tcp(here)
                }
                2 => {
                    let (here, there) = UnixStream::pair().unwrap();
                    feed(there, bytes.clone());
                    End::Unix(here)
                }
                _ => {
                    let (here, there) = io::pipe().unwrap();
                    feed(there, bytes.clone());
                    End::Read(here)
                }
            };
            let (target, drained) = match to {
                0 => (End::File(target_file.open()), None),
                1 => {
                    let (here, there) = tcp();
                    (End::Tcp(here), Some(drain(there)))
                }
                2 => {
                    let (here, there) = UnixStream::pair().unwrap();
                    (End::Unix(here), Some(drain(there)))
                }
                _ => {
                    let (there, here) = io::pipe().unwrap();
                    (End::Write(here), Some(drain(there)))
                }
            };
            let copied = spawn(move || copy(source, target)).join().unwrap();
            let arrived = match drained {
                Some(drained) => drained.join().unwrap(),
                None => std::fs::read(&target_file.0).unwrap(),
            };
            assert_eq!(copied, bytes.len() as u64, "from {from} to {to}");
            assert!(arrived == bytes, "from {from} to {to}");
        }
    }
}

/// Splices to the end. std may choose not to call `splice`.
fn splice_all(from: &impl AsRawFd, to: &impl AsRawFd) -> usize {
    let mut all = 0;
    loop {
        // SAFETY: no offsets.
        match unsafe { libc::splice(from.as_raw_fd(), null_mut(), to.as_raw_fd(), null_mut(), 200_000, 0) } {
            0 => return all,
            n @ 1.. => all += n as usize,
            _ => panic!("{}", io::Error::last_os_error()),
        }
    }
}

#[test]
fn splice_waits_for_either_end() {
    let _guard = setup();
    let bytes = random(MIB + 99, 8);
    let sources: [fn(Vec<u8>) -> OwnedFd; 3] = [
        |bytes| {
            let (here, there) = io::pipe().unwrap();
            feed(there, bytes);
            here.into()
        },
        |bytes| {
            let (here, there) = tcp();
            feed(there, bytes);
            here.into()
        },
        |bytes| {
            let (here, there) = UnixStream::pair().unwrap();
            feed(there, bytes);
            here.into()
        },
    ];
    for source in sources {
        // One end of a splice must be a pipe. The bytes go through a pipe to a socket.
        let from = source(bytes.clone());
        let (middle_out, middle_in) = io::pipe().unwrap();
        let (to, there) = UnixStream::pair().unwrap();
        let first = spawn(move || splice_all(&from, &middle_in));
        let second = spawn(move || splice_all(&middle_out, &to));
        let drained = drain(there);
        assert!(drained.join().unwrap() == bytes);
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (bytes.len(), bytes.len()));
    }
}

#[test]
fn splice_with_an_offset_leaves_the_position() {
    let _guard = setup();
    let bytes = random(50_000, 9);
    let temp = Temp::with(&bytes);
    let file = temp.open();
    let (mut out, into) = io::pipe().unwrap();
    let mut offset = 10_000;
    // SAFETY: the offset is in this frame.
    let n = unsafe { libc::splice(file.as_raw_fd(), &mut offset, into.as_raw_fd(), null_mut(), 20_000, 0) };
    assert_eq!((n, offset, (&file).stream_position().unwrap()), (20_000, 30_000, 0));
    let mut got = vec![0; 20_000];
    out.read_exact(&mut got).unwrap();
    assert!(got == bytes[10_000..30_000]);
}

#[test]
fn tee_and_vmsplice_wait_and_copy_all() {
    let _guard = setup();
    let bytes = random(400_000, 10);
    let (first_out, first_in) = io::pipe().unwrap();
    let (second_out, second_in) = io::pipe().unwrap();
    let given = bytes.clone();
    let giver = spawn(move || {
        let (one, two) = given.split_at(123_456);
        let slices = [one, two]
            .map(|half| libc::iovec { iov_base: half.as_ptr().cast_mut().cast(), iov_len: half.len() });
        // SAFETY: the bytes live until all have been read: all threads are joined before `given` is dropped.
        let n = unsafe { libc::vmsplice(first_in.as_raw_fd(), slices.as_ptr(), 2, 0) };
        (n, given)
    });
    let copier = spawn(move || {
        let mut copied = 0;
        let mut first_out = first_out;
        let mut seen = Vec::new();
        loop {
            // SAFETY: no pointers.
            match unsafe { libc::tee(first_out.as_raw_fd(), second_in.as_raw_fd(), MIB, 0) } {
                0 => return (copied, seen),
                n @ 1.. => {
                    copied += n as usize;
                    let mut piece = vec![0; n as usize];
                    first_out.read_exact(&mut piece).unwrap();
                    seen.extend(piece);
                }
                _ => panic!("{}", io::Error::last_os_error()),
            }
        }
    });
    let drained = drain(second_out).join().unwrap();
    let (n, given) = giver.join().unwrap();
    assert_eq!(n, bytes.len() as isize);
    let (copied, seen) = copier.join().unwrap();
    assert_eq!(copied, bytes.len());
    assert!(seen == bytes && drained == bytes && given == bytes);
}

#[test]
fn sendfile_moves_the_offset_or_the_position() {
    let _guard = setup();
    let bytes = random(2 * MIB, 11);
    let temp = Temp::with(&bytes);
    let mut file = temp.open();
    drop_cache(&file, 0);
    let (here, there) = UnixStream::pair().unwrap();
    let drained = drain(there);
    let (socket, from) = (here.as_raw_fd(), file.as_raw_fd());
    // SAFETY: of all calls: the offset is in this frame.
    unsafe {
        // With an offset, the position stays. Without one, it moves.
        let mut offset = 1000;
        assert_eq!(libc::sendfile(socket, from, &mut offset, 500_000), 500_000);
        assert_eq!((offset, file.stream_position().unwrap()), (501_000, 0));
        file.seek(SeekFrom::Start(7)).unwrap();
        assert_eq!(libc::sendfile64(socket, from, null_mut(), 10), 10);
        assert_eq!(file.stream_position().unwrap(), 17);
        // Up to the end, and beyond it.
        let mut offset = (2 * MIB - 100) as libc::off_t;
        assert_eq!(libc::sendfile(socket, from, &mut offset, MIB), 100);
        assert_eq!(libc::sendfile(socket, from, &mut offset, MIB), 0);
        assert_eq!(offset, 2 * MIB as libc::off_t);
        assert_eq!(libc::sendfile(socket, from, null_mut(), 0), 0);
    }
    drop(here);
    let expected = [&bytes[1000..501_000], &bytes[7..17], &bytes[2 * MIB - 100..]].concat();
    assert!(drained.join().unwrap() == expected);
}

#[test]
fn sendfile_splice_and_copy_file_range_return_the_kernels_errors() {
    let _guard = setup();
    let temp = Temp::with(&random(100_000, 12));
    let file = temp.open();
    let read_only = File::open(&temp.0).unwrap();
    let append = File::options().append(true).open(&temp.0).unwrap();
    let directory = File::open("/").unwrap();
    let (pipe_out, pipe_in) = io::pipe().unwrap();
    let (socket, gone) = UnixStream::pair().unwrap();
    drop(gone);
    let nonblocking = UnixStream::pair().unwrap();
    nonblocking.0.set_nonblocking(true).unwrap();
    let fds = [
        file.as_raw_fd(),
        read_only.as_raw_fd(),
        append.as_raw_fd(),
        directory.as_raw_fd(),
        pipe_in.as_raw_fd(),
        socket.as_raw_fd(),
        nonblocking.0.as_raw_fd(),
        -1,
        9999,
    ];
    let sources = [file.as_raw_fd(), append.as_raw_fd(), directory.as_raw_fd(), socket.as_raw_fd(), -1];
    type Call = fn(i32, i32) -> isize;
    // SAFETY: the offsets are in the calls' own frames, or the kernel refuses them.
    let calls: [Call; 8] = unsafe {
        [
            |out, from| libc::sendfile(out, from, &mut 5, 0),
            |out, from| libc::sendfile(out, from, &mut -5, 10),
            |out, from| libc::sendfile(out, from, &mut 99_995, 10),
            |out, from| libc::sendfile(out, from, std::ptr::dangling_mut(), 10),
            |out, from| libc::splice(from, null_mut(), out, null_mut(), 0, 0),
            |out, from| libc::splice(from, &mut -5, out, null_mut(), 10, 0),
            |out, from| libc::copy_file_range(from, &mut 0, out, &mut 200_000, 10, 0),
            |out, from| libc::copy_file_range(from, &mut 0, out, &mut 0, 10, 1),
        ]
    };
    for (n, call) in calls.into_iter().enumerate() {
        for out in fds {
            for from in sources {
                let outcome = move || {
                    let result = call(out, from);
                    (result, if result < 0 { errno() } else { 0 })
                };
                let here = spawn(outcome).join().unwrap();
                assert_eq!(here, unpatched(outcome), "call {n}, from {from} to {out}");
            }
        }
    }
    drop(pipe_out);
}

#[test]
fn copy_of_a_file_lets_others_run() {
    let _guard = setup();
    let bytes = random(2 * MIB, 13);
    let (from, to) = (Temp::with(&bytes), Temp::new());
    let (source, target) = (from.0.clone(), to.0.clone());
    lets_others_run_once(move || assert_eq!(std::fs::copy(&source, &target).unwrap(), 2 * MIB as u64));
    assert!(std::fs::read(&to.0).unwrap() == bytes);
}

#[test]
fn splice_cut_short_by_timeouts_loses_nothing() {
    let _guard = setup();
    const LEN: usize = MIB;
    let bytes = random(LEN, 11);
    let (from, into) = io::pipe().unwrap();
    feed(into, bytes.clone());
    let (here, there) = UnixStream::pair().unwrap();
    // The socket's buffer is smaller than a pipe. Therefore what was read from the pipe has to wait here.
    let room = 1;
    let len = size_of_val(&room) as libc::socklen_t;
    // SAFETY: the number is in this frame.
    let set = unsafe {
        let room = (&raw const room).cast();
        libc::setsockopt(here.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, room, len)
    };
    assert_eq!(set, 0);
    let copier = spawn(move || {
        let mut gone = 0;
        while gone < LEN {
            // The timeout has expired at once. A call that waits is cut short once, and the unwind starts at the next
            // call of greenline itself.
            let piece = greenline::timeout(std::time::Duration::ZERO, || {
                // SAFETY: no offsets.
                unsafe { libc::splice(from.as_raw_fd(), null_mut(), here.as_raw_fd(), null_mut(), LEN, 0) }
            });
            let interrupted = io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
            match piece.unwrap() {
                -1 => assert!(interrupted),
                0 => break,
                n => gone += n as usize,
            }
        }
        assert_eq!(gone, LEN);
    });
    assert!(drain(there).join().unwrap() == bytes);
    copier.join().unwrap();
}
