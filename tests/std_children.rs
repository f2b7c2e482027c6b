//! Waiting for children, for queues and semaphores between processes, and for the end: as on an OS thread that is not
//! patched. One test, for a child may be waited for by anybody in the process.

#![cfg(all(feature = "patch", target_env = "gnu", not(target_feature = "crt-static")))]
#![allow(clippy::zombie_processes)] // the calls that are tested wait for them

mod support;

use greenline::patch;
use std::ffi::CString;
use std::io::{Read, Write};
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use support::differential::{self, answer, ms, same, spawn_delayed, waits};

type Answer = Result<i64, i32>;

const CASE: &str = "GREENLINE_TEST_CASE";

fn child(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).spawn().unwrap()
}

/// What it says, whether that is the child, and how that ended.
fn waited(child: &Child, said: Answer, status: i32) -> (bool, Option<i32>) {
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    (said == Ok(i64::from(child.id())), code)
}

fn children() {
    let said = same(|| {
        let mut all = Vec::new();
        let mut status = 0;
        // SAFETY: rooms of ours.
        unsafe {
            let one = child("sleep 0.1; exit 3");
            let pid = one.id() as libc::pid_t;
            all.push(waited(&one, waits(ms(50), || answer(libc::waitpid(pid, &mut status, 0))), status));
            let one = child("sleep 0.1; exit 4");
            all.push(waited(&one, waits(ms(50), || answer(libc::waitpid(-1, &mut status, 0))), status));
            let one = child("sleep 0.1; exit 5");
            all.push(waited(&one, waits(ms(50), || answer(wait(&mut status))), status));
            let one = child("sleep 0.1; exit 6");
            let mut usage: libc::rusage = zeroed();
            all.push(waited(&one, waits(ms(50), || answer(wait3(&mut status, 0, &mut usage))), status));
            // One that stops, and goes on.
            let mut one = child("kill -STOP $$; exit 7");
            let pid = one.id() as libc::pid_t;
            let said = answer(libc::waitpid(pid, &mut status, libc::WUNTRACED));
            all.push((said == Ok(i64::from(pid)) && libc::WIFSTOPPED(status), None));
            libc::kill(pid, libc::SIGCONT);
            all.push((true, one.wait().unwrap().code()));
            // No child at all.
            all.push((answer(libc::waitpid(-1, &mut status, 0)) == Err(libc::ECHILD), None));
            all.push((answer(libc::waitpid(1, &mut status, 0)) == Err(libc::ECHILD), None));
        }
        all
    });
    assert!(said.iter().all(|one| one.0), "{said:?}");
    let codes: Vec<_> = said.iter().filter_map(|one| one.1).collect();
    assert_eq!(codes, [3, 4, 5, 6, 7]);
}

fn children_behind_a_stream() {
    let said = same(|| {
        let script = CString::new("sleep 0.1; exit 8").unwrap();
        // SAFETY: strings that end in 0; a stream that is closed once.
        unsafe {
            let stream = libc::popen(script.as_ptr(), c"r".as_ptr());
            assert!(!stream.is_null());
            libc::WEXITSTATUS(waits(ms(50), || libc::pclose(stream)))
        }
    });
    assert_eq!(said, 8);
}

fn commands() {
    let said = same(|| {
        // SAFETY: strings that end in 0, sets of ours.
        unsafe {
            let mut all = vec![waits(ms(50), || libc::system(c"sleep 0.1; exit 8".as_ptr()))];
            // What the caller has blocked is blocked, and nothing else.
            let (mut set, mut former): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
            libc::sigaddset(&mut set, libc::SIGUSR1);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut former);
            all.push(libc::system(c"kill -USR1 $$; exit 5".as_ptr()));
            all.push(libc::system(c"kill -TERM $$; exit 5".as_ptr()));
            libc::pthread_sigmask(libc::SIG_SETMASK, &former, null_mut());
            all.push(libc::system(c"/no/such/command 2> /dev/null".as_ptr()));
            all.push(libc::system(null()));
            all
        }
    });
    assert_eq!(said, [8 << 8, 5 << 8, libc::SIGTERM, 127 << 8, 1]);
}

unsafe extern "C" {
    fn vfork() -> libc::pid_t;
}

/// What a child closes before its `exec` its parent still waits for.
fn a_child_that_closes_what_its_parent_waits_for() {
    let said = same(|| {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let fd = here.as_raw_fd();
        let reader = thread::spawn(move || {
            let mut bytes = [0; 5];
            here.read_exact(&mut bytes).map(|()| bytes).map_err(|error| error.raw_os_error())
        });
        thread::sleep(ms(10));
        // SAFETY: the child makes system calls, and ends.
        let ended = unsafe {
            let child = vfork();
            if child == 0 {
                libc::close(fd);
                libc::_exit(9);
            }
            let mut status = 0;
            (answer(libc::waitpid(child, &mut status, 0)) == Ok(i64::from(child)), libc::WEXITSTATUS(status))
        };
        there.write_all(b"hello").unwrap();
        (reader.join().unwrap(), ended)
    });
    assert_eq!(said, (Ok(*b"hello"), (true, 9)));
}

/// In the child of a `forkpty`, who was a thread of the parent's does not go on.
fn a_child_at_a_terminal() {
    let said = same(|| {
        let (mut here, there) = UnixStream::pair().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let bystander = thread::spawn(move || {
            while !is_over.load(Relaxed) {
                (&there).write_all(&std::process::id().to_ne_bytes()).unwrap();
                thread::sleep(ms(1));
            }
        });
        // SAFETY: room for a number; the child sleeps, writes, and ends.
        let (ended, typed) = unsafe {
            let mut terminal = -1;
            let child = libc::forkpty(&raw mut terminal, null_mut(), null_mut(), null_mut());
            if child == 0 {
                thread::sleep(ms(30));
                libc::write(1, c"x".as_ptr().cast(), 1);
                libc::_exit(libc::isatty(0));
            }
            let (mut typed, mut status) = ([0u8], 0);
            libc::read(terminal, typed.as_mut_ptr().cast(), 1);
            let said = answer(libc::waitpid(child, &mut status, 0));
            libc::close(terminal);
            ((said == Ok(i64::from(child)), libc::WEXITSTATUS(status)), typed)
        };
        over.store(true, Relaxed);
        bystander.join().unwrap();
        let mut ids = Vec::new();
        here.read_to_end(&mut ids).unwrap();
        let is_ours = |id: &[u8]| id == std::process::id().to_ne_bytes();
        (ended, typed, ids.len() > 4 && ids.chunks(4).all(is_ours))
    });
    assert_eq!(said, ((true, 1), *b"x", true));
}

fn children_by_id() {
    let said = same(|| {
        let mut all = Vec::new();
        // SAFETY: rooms of ours; descriptors that are closed once.
        unsafe {
            for kind in [libc::P_PID, libc::P_ALL, libc::P_PGID, libc::P_PIDFD] {
                let one = child("sleep 0.1; exit 9");
                let pidfd = libc::syscall(libc::SYS_pidfd_open, one.id(), 0) as libc::id_t;
                let id = match kind {
                    libc::P_PID => one.id(),
                    libc::P_PGID => libc::getpgid(0) as libc::id_t,
                    libc::P_PIDFD => pidfd,
                    _ => 0,
                };
                let mut info: libc::siginfo_t = zeroed();
                // Left as it is at first.
                let options = libc::WEXITED | libc::WNOWAIT;
                let said = waits(ms(50), || answer(libc::waitid(kind, id, &mut info, options)));
                all.push((said, info.si_pid() == one.id() as i32, info.si_status()));
                // Nowhere to say more.
                all.push((answer(libc::waitid(kind, id, null_mut(), libc::WEXITED)), true, 0));
                all.push((answer(libc::waitid(kind, id, &mut info, libc::WEXITED)), true, 0));
                libc::close(pidfd as i32);
            }
            all.push((answer(libc::waitid(libc::P_ALL, 0, null_mut(), 0)), true, 0));
        }
        all
    });
    let (ended, gone) = ((Ok(0), true, 9), (Err(libc::ECHILD), true, 0));
    for one in said.chunks(3).take(4) {
        assert_eq!(one, [ended, (Ok(0), true, 0), gone]);
    }
    assert_eq!(said[12].0, Err(libc::EINVAL));
}

unsafe extern "C" {
    fn wait(status: *mut i32) -> libc::pid_t;
    fn wait3(status: *mut i32, options: i32, usage: *mut libc::rusage) -> libc::pid_t;
}

fn message_queues() {
    let said = same(|| {
        let name = CString::new(format!("/greenline-{}", std::process::id())).unwrap();
        let mut all: Vec<Answer> = Vec::new();
        // SAFETY: a name, rooms and times of ours.
        unsafe {
            let mut attributes: libc::mq_attr = zeroed();
            (attributes.mq_maxmsg, attributes.mq_msgsize) = (2, 8);
            let queue = libc::mq_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600, &mut attributes);
            assert!(queue >= 0, "{}", std::io::Error::last_os_error());
            libc::mq_unlink(name.as_ptr());
            let soon = || {
                let mut now: libc::timespec = zeroed();
                libc::clock_gettime(libc::CLOCK_REALTIME, &mut now);
                now.tv_nsec += 30_000_000;
                if now.tv_nsec >= 1_000_000_000 {
                    (now.tv_sec, now.tv_nsec) = (now.tv_sec + 1, now.tv_nsec - 1_000_000_000);
                }
                now
            };
            let mut bytes = [0u8; 8];
            let room = bytes.as_mut_ptr().cast();
            let timed = || answer(libc::mq_timedreceive(queue, room, 8, null_mut(), &soon()));
            all.push(waits(ms(20), timed));
            let sender = spawn_delayed(move || answer(libc::mq_send(queue, c"hello".as_ptr(), 5, 1)));
            all.push(waits(ms(10), || answer(libc::mq_receive(queue, room, 8, null_mut()))));
            all.push(sender.join().unwrap());
            all.push(answer(libc::mq_send(queue, c"1".as_ptr(), 1, 1)));
            all.push(answer(libc::mq_send(queue, c"2".as_ptr(), 1, 1)));
            all.push(waits(ms(20), || answer(libc::mq_timedsend(queue, c"3".as_ptr(), 1, 1, &soon()))));
            let receiver = spawn_delayed(move || {
                let mut bytes = [0u8; 8];
                answer(libc::mq_receive(queue, bytes.as_mut_ptr().cast(), 8, null_mut()))
            });
            all.push(waits(ms(10), || answer(libc::mq_send(queue, c"3".as_ptr(), 1, 1))));
            all.push(receiver.join().unwrap());
            // Too long, or too little room.
            all.push(answer(libc::mq_send(queue, c"much too long".as_ptr(), 13, 1)));
            all.push(answer(libc::mq_receive(queue, room, 4, null_mut())));
            // The program has made it non-blocking.
            attributes.mq_flags = libc::O_NONBLOCK as _;
            libc::mq_setattr(queue, &attributes, null_mut());
            libc::fcntl(queue, libc::F_SETFL, libc::O_NONBLOCK);
            all.push(answer(libc::mq_send(queue, c"4".as_ptr(), 1, 1)));
            libc::mq_close(queue);
            all.push(answer(libc::mq_receive(queue, room, 8, null_mut())));
        }
        all
    });
    use libc::{EAGAIN, EBADF, EMSGSIZE, ETIMEDOUT};
    let expected = [
        Err(ETIMEDOUT),
        Ok(5),
        Ok(0),
        Ok(0),
        Ok(0),
        Err(ETIMEDOUT),
        Ok(0),
        Ok(1),
        Err(EMSGSIZE),
        Err(EMSGSIZE),
        Err(EAGAIN),
        Err(EBADF),
    ];
    assert_eq!(said, expected);
}

fn system_v() {
    #[repr(C)]
    struct Message {
        kind: libc::c_long,
        bytes: [u8; 4],
    }
    let said = same(|| {
        let mut all: Vec<Answer> = Vec::new();
        // SAFETY: a queue and a set of ours, removed again; rooms of ours.
        unsafe {
            let queue = libc::msgget(libc::IPC_PRIVATE, 0o600);
            let mut message = Message { kind: 1, bytes: [1, 2, 3, 4] };
            let at = (&raw mut message).cast();
            all.push(answer(libc::msgrcv(queue, at, 4, 0, libc::IPC_NOWAIT)));
            let sender = spawn_delayed(move || {
                let message = Message { kind: 2, bytes: [5, 6, 7, 8] };
                answer(libc::msgsnd(queue, (&raw const message).cast(), 4, 0))
            });
            all.push(waits(ms(10), || answer(libc::msgrcv(queue, at, 4, 2, 0))));
            all.push(sender.join().unwrap());
            // Full: who sends waits.
            let mut sent = 0;
            while libc::msgsnd(queue, at, 4, libc::IPC_NOWAIT) == 0 {
                sent += 1;
            }
            all.push(Ok(i64::from(sent > 10)));
            let receiver = spawn_delayed(move || {
                let mut message = Message { kind: 0, bytes: [0; 4] };
                answer(libc::msgrcv(queue, (&raw mut message).cast(), 4, 0, 0))
            });
            all.push(waits(ms(10), || answer(libc::msgsnd(queue, at, 4, 0))));
            all.push(receiver.join().unwrap());
            libc::msgctl(queue, libc::IPC_RMID, null_mut());
            all.push(answer(libc::msgrcv(queue, at, 4, 0, 0)));

            let set = libc::semget(libc::IPC_PRIVATE, 1, 0o600);
            let down = |flags: i32| libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: flags as _ };
            all.push(answer(libc::semop(set, &mut down(libc::IPC_NOWAIT), 1)));
            let soon = libc::timespec { tv_sec: 0, tv_nsec: 30_000_000 };
            all.push(waits(ms(30), || answer(semtimedop(set, &mut down(0), 1, &soon))));
            all.push(answer(semtimedop(set, &mut down(0), 1, &libc::timespec { tv_sec: 0, tv_nsec: -1 })));
            let poster = spawn_delayed(move || {
                let mut up = libc::sembuf { sem_num: 0, sem_op: 1, sem_flg: 0 };
                answer(libc::semop(set, &mut up, 1))
            });
            all.push(waits(ms(10), || answer(libc::semop(set, &mut down(0), 1))));
            all.push(poster.join().unwrap());
            let remover = spawn_delayed(move || answer(libc::semctl(set, 0, libc::IPC_RMID)));
            all.push(waits(ms(10), || answer(semtimedop(set, &mut down(0), 1, null()))));
            all.push(remover.join().unwrap());
        }
        all
    });
    use libc::{EAGAIN, EIDRM, EINVAL, ENOMSG};
    assert_eq!(said[..7], [Err(ENOMSG), Ok(4), Ok(0), Ok(1), Ok(0), Ok(4), Err(EINVAL)]);
    let (again, invalid) = (Err(EAGAIN), Err(EINVAL));
    assert_eq!(said[7..12], [again, again, invalid, Ok(0), Ok(0)]);
    assert_eq!(said[12..], [Err(EIDRM), Ok(0)]);
}

unsafe extern "C" {
    fn semtimedop(
        set: i32,
        operations: *mut libc::sembuf,
        count: usize,
        timeout: *const libc::timespec,
    ) -> i32;
}

/// Two threads exit at once: the second waits in `pause`, by std, while the first runs what was to be run at the end.
fn exit_twice() {
    extern "C" fn at_exit() {
        for _ in 0..5 {
            thread::sleep(ms(10));
        }
        println!("ran to its end");
    }
    patch::all();
    // SAFETY: a function without arguments.
    unsafe { libc::atexit(at_exit) };
    let first = thread::spawn(|| std::process::exit(5));
    let second = thread::spawn(|| {
        thread::sleep(ms(10));
        std::process::exit(6)
    });
    let _: (Result<(), _>, Result<(), _>) = (first.join(), second.join());
}

#[test]
fn children_queues_and_the_end() {
    if std::env::var_os(CASE).is_some() {
        return exit_twice();
    }
    differential::setup();
    children();
    children_behind_a_stream();
    commands();
    a_child_that_closes_what_its_parent_waits_for();
    a_child_at_a_terminal();
    children_by_id();
    message_queues();
    system_v();

    let mut me = Command::new(std::env::current_exe().unwrap());
    me.args(["--exact", "children_queues_and_the_end", "--nocapture"]).env(CASE, "exit");
    let (said, count) = differential::count_while(|| me.output().unwrap());
    assert_eq!(said.status.code(), Some(5), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stdout).contains("ran to its end"), "{said:?}");
    assert!(count > 0);
}
