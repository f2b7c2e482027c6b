//! POSIX message queues, and System V message queues and semaphores: as on an OS thread that is not patched.

use crate::support::differential::{answer, exclusive, ms, same, spawn_delayed, waits};
use std::ffi::CString;
use std::mem::zeroed;
use std::ptr::{null, null_mut};

type Answer = Result<i64, i32>;

#[test]
fn mq_send_and_mq_receive_wait_and_return_what_c_returns() {
    let _exclusive = exclusive();
    let results = same(|| {
        let name = CString::new(format!("/greenline-{}", std::process::id())).unwrap();
        let mut all: Vec<Answer> = Vec::new();
        // SAFETY: the name ends in 0; the messages, attributes and times are in this frame.
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
            let buffer = bytes.as_mut_ptr().cast();
            let timed = || answer(libc::mq_timedreceive(queue, buffer, 8, null_mut(), &soon()));
            all.push(waits(ms(20), timed));
            let sender = spawn_delayed(move || answer(libc::mq_send(queue, c"hello".as_ptr(), 5, 1)));
            all.push(waits(ms(10), || answer(libc::mq_receive(queue, buffer, 8, null_mut()))));
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
            // The message is too long, or the buffer too short.
            all.push(answer(libc::mq_send(queue, c"much too long".as_ptr(), 13, 1)));
            all.push(answer(libc::mq_receive(queue, buffer, 4, null_mut())));
            // The program makes the queue non-blocking.
            attributes.mq_flags = libc::O_NONBLOCK as _;
            libc::mq_setattr(queue, &attributes, null_mut());
            libc::fcntl(queue, libc::F_SETFL, libc::O_NONBLOCK);
            all.push(answer(libc::mq_send(queue, c"4".as_ptr(), 1, 1)));
            libc::mq_close(queue);
            all.push(answer(libc::mq_receive(queue, buffer, 8, null_mut())));
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
    assert_eq!(results, expected);
}

#[test]
fn msgrcv_msgsnd_semop_wait_and_return_what_c_returns() {
    let _exclusive = exclusive();
    #[repr(C)]
    struct Message {
        kind: libc::c_long,
        bytes: [u8; 4],
    }
    let results = same(|| {
        let mut all: Vec<Answer> = Vec::new();
        // SAFETY: the queue and the set are made and removed here; the messages are in this frame.
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
            // The queue is full. The next sender waits.
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
    assert_eq!(results[..7], [Err(ENOMSG), Ok(4), Ok(0), Ok(1), Ok(0), Ok(4), Err(EINVAL)]);
    let (again, invalid) = (Err(EAGAIN), Err(EINVAL));
    assert_eq!(results[7..12], [again, again, invalid, Ok(0), Ok(0)]);
    assert_eq!(results[12..], [Err(EIDRM), Ok(0)]);
}

unsafe extern "C" {
    fn semtimedop(
        set: i32,
        operations: *mut libc::sembuf,
        count: usize,
        timeout: *const libc::timespec,
    ) -> i32;
}
