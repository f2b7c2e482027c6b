//! Pipes between processes, whole messages and the end of a pipe, patched and unpatched.

use crate::support::subprocess::Case;
use greenline::{sleep, spawn, thread, timeout, yield_now};
use greenline_process::{Connection, Process, one_way, pipe};
use std::cell::Cell;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

pub(crate) const ALONE: &[Case] = &[
    ("send_and_recv_go_both_ways", there_and_back),
    ("recv_in_the_parent_sees_the_childs_end", the_childs_end),
    ("recv_in_the_child_sees_the_parents_end", the_parents_end),
    ("recv_in_the_child_sees_the_parent_killed", the_parent_killed),
    ("recv_of_half_a_message_is_an_error", half_a_message),
    ("recv_sees_the_end_despite_unread_messages", unread),
    ("closing_closes_the_copy_of_a_third_process", a_third_process),
    ("recv_in_a_child_gives_up_the_other_end", the_other_end),
    ("recv_parks_only_the_caller", only_who_receives_waits),
    ("split_sends_large_messages_both_ways_at_once", large_both_ways),
    ("recv_timeout_and_poll_are_limited", limited),
    ("recv_and_send_go_on_after_a_timeout", cut_short),
    ("send_bytes_sends_bytes_unencoded", bytes),
    ("one_way_sends_in_one_direction", one_direction),
    ("recv_of_another_type_is_an_error", no_such_message),
    ("connection_may_move_to_another_os_thread", os_thread),
    ("pipe_works_within_one_process", one_process),
];

fn start(f: impl FnOnce() + 'static) -> greenline_process::Child {
    Process::new(f).start().unwrap()
}

fn there_and_back() {
    let (mut ours, mut theirs) = pipe::<(u32, String), Option<Vec<u32>>>().unwrap();
    let child = start(move || {
        while let Ok((number, text)) = theirs.recv() {
            let answer = (text == "count").then(|| (0..number).collect());
            theirs.send(&answer).unwrap();
        }
    });
    for n in 0..100 {
        ours.send(&(n, "count".into())).unwrap();
        assert_eq!(ours.recv().unwrap(), Some((0..n).collect()));
    }
    ours.send(&(1, "sing".into())).unwrap();
    assert_eq!(ours.recv().unwrap(), None);
    drop(ours);
    assert_eq!(child.join().unwrap(), 0);
}

fn the_childs_end() {
    let (mut ours, mut theirs) = pipe::<u32, u32>().unwrap();
    let child = start(move || theirs.send(&1).unwrap());
    assert_eq!(ours.recv().unwrap(), 1);
    // Before the child was joined, and after.
    for _ in 0..2 {
        let error = ours.recv().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(error.to_string(), "the other end of the pipe is closed");
        let error = ours.send(&2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(error.to_string(), "the other end of the pipe is closed");
        assert!(ours.poll(LONG).unwrap());
        child.join().unwrap();
    }
    let (mut ours, theirs) = pipe::<u32, u32>().unwrap();
    let child = start(move || {
        let _theirs = theirs;
        sleep(LONG);
    });
    child.kill().unwrap();
    assert_eq!(ours.recv().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    child.join().unwrap();
}

fn the_parents_end() {
    let (ours, mut theirs) = pipe::<u32, u32>().unwrap();
    let child = start(move || assert_eq!(theirs.recv().unwrap_err().kind(), ErrorKind::UnexpectedEof));
    drop(ours);
    assert_eq!(child.join().unwrap(), 0);
    // In the middle of a wait, and by a green thread.
    let (mut ours, mut theirs) = pipe::<u32, u32>().unwrap();
    let child = spawn(|| {
        start(move || {
            theirs.send(&1).unwrap();
            assert_eq!(theirs.recv().unwrap_err().kind(), ErrorKind::UnexpectedEof);
            assert_eq!(theirs.send(&1).unwrap_err().kind(), ErrorKind::BrokenPipe);
        })
    });
    let child = child.join().unwrap();
    ours.recv().unwrap();
    drop(ours);
    assert_eq!(child.join().unwrap(), 0);
}

fn the_parent_killed() {
    let (mut result, mut tell) = one_way_back::<String>();
    let middle = start(move || {
        let (ours, mut theirs) = pipe::<u32, u32>().unwrap();
        start(move || {
            let ended = theirs.recv().unwrap_err();
            tell.send(&ended.to_string()).unwrap();
        });
        let _ours = ours;
        sleep(LONG);
    });
    middle.kill().unwrap();
    assert_eq!(middle.join().unwrap(), -9);
    // The process may have been killed before it has started its child.
    match result.recv() {
        Ok(text) => assert_eq!(text, "the other end of the pipe is closed"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
    }
}

/// Returns the receiver and the sender.
fn one_way_back<T>() -> (greenline_process::Receiver<T>, greenline_process::Sender<T>) {
    let (sender, receiver) = one_way().unwrap();
    (receiver, sender)
}

/// Returns the socket behind an end, to send what is no message.
fn raw<S, R>(end: &Connection<S, R>) -> UnixStream {
    UnixStream::from(end.as_fd().try_clone_to_owned().unwrap())
}

fn half_a_message() {
    for half in [&[10, 0][..], &[10, 0, 0, 0, 1, 2]] {
        let (mut ours, theirs) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
        let child = start(move || raw(&theirs).write_all(half).unwrap());
        let error = ours.recv().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(error.to_string(), "the other end of the pipe was closed in the middle of a message");
        let mut left = ours.incoming();
        assert_eq!(left.next().unwrap().unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert!(left.next().is_none(), "that is all that was left");
        drop(left);
        child.join().unwrap();
    }
}

fn unread() {
    // Closing a socket with unread bytes resets it.
    let (mut ours, mut theirs) = pipe::<u32, u32>().unwrap();
    let (mut ready, mut tell) = one_way_back::<()>();
    let child = start(move || {
        theirs.send(&1).unwrap();
        ready.recv().unwrap();
    });
    ours.send(&7).unwrap();
    tell.send(&()).unwrap();
    child.join().unwrap();
    assert_eq!(ours.recv().unwrap(), 1);
    assert_eq!(ours.recv().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(ours.send(&1).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

fn a_third_process() {
    let (mut ours, mut theirs) = pipe::<u32, u32>().unwrap();
    let waits = start(move || {
        assert_eq!(theirs.recv().unwrap(), 1);
        assert_eq!(theirs.recv().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    });
    let sleeper = || {
        let (begun, mut tell) = one_way_back::<()>();
        let sleeps = move || {
            tell.send(&()).unwrap();
            sleep(LONG);
        };
        (begun, Process::new(sleeps))
    };
    let (mut begun, process) = sleeper();
    let closes = process.closing(&ours).start().unwrap();
    begun.recv().unwrap();
    let (mut begun, process) = sleeper();
    let keeps = process.start().unwrap();
    begun.recv().unwrap();
    // This process's copy works as before.
    ours.send(&1).unwrap();
    drop(ours);
    assert_eq!(waits.join_timeout(Duration::from_millis(50)).unwrap(), None, "somebody has a copy");
    keeps.kill().unwrap();
    assert_eq!(waits.join().unwrap(), 0);
    assert!(closes.is_alive());
    closes.kill().unwrap();
}

fn the_other_end() {
    let (one, other) = pipe::<u32, u32>().unwrap();
    let ends = Rc::new(Cell::new(Some((one, other))));
    let child = start({
        let ends = ends.clone();
        move || {
            let (mut one, mut other) = ends.take().unwrap();
            assert_eq!(one.recv_timeout(Duration::ZERO).unwrap_err().kind(), ErrorKind::UnexpectedEof);
            for error in
                [other.send(&1).unwrap_err(), other.recv().unwrap_err(), other.poll(LONG).unwrap_err()]
            {
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                assert!(error.to_string().contains("is closed in this process"), "{error}");
            }
            // The kernel does not reuse its number.
            let fd = other.as_fd().as_raw_fd();
            assert_eq!(
                std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap().to_str(),
                Some("/dev/null")
            );
        }
    });
    // The parent has made the pipe and keeps both ends.
    let (mut one, mut other) = ends.take().unwrap();
    one.send(&1).unwrap();
    assert_eq!(other.recv().unwrap(), 1);
    assert_eq!(child.join().unwrap(), 1, "it has had our message");

    let (one, other) = pipe::<u32, u32>().unwrap();
    let ends = Rc::new(Cell::new(Some((one, other))));
    let child = start(move || {
        let (mut one, mut other) = ends.take().unwrap();
        assert_eq!(one.recv_timeout(LONG).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let error = other.recv().unwrap_err();
        assert!(error.to_string().contains("is closed in this process"), "{error}");
    });
    assert_eq!(child.join().unwrap(), 0);
}

fn only_who_receives_waits() {
    let (mut ours, mut theirs) = pipe::<u32, u32>().unwrap();
    let child = start(move || {
        let number = theirs.recv().unwrap();
        theirs.send(&(number + 1)).unwrap();
    });
    let (mut sender, mut receiver) = {
        ours.poll(Duration::ZERO).unwrap();
        ours
    }
    .split();
    let turns = Rc::new(Cell::new(0));
    let others = spawn({
        let turns = turns.clone();
        move || {
            for _ in 0..1000 {
                turns.set(turns.get() + 1);
                yield_now();
            }
            sender.send(&41).unwrap();
        }
    });
    assert_eq!(receiver.recv().unwrap(), 42);
    assert_eq!(turns.get(), 1000);
    others.join().unwrap();
    assert_eq!(child.join().unwrap(), 0);
}

fn large_both_ways() {
    const SIZE: usize = 1 << 20;
    fn talk(end: Connection<Vec<u8>, Vec<u8>>, mine: u8, yours: u8) {
        let (mut sender, mut receiver) = end.split();
        let sends = spawn(move || (0..3).for_each(|n| sender.send(&vec![mine + n; SIZE]).unwrap()));
        for n in 0..3 {
            assert!(receiver.recv().unwrap() == vec![yours + n; SIZE]);
        }
        sends.join().unwrap();
    }
    let (ours, theirs) = pipe().unwrap();
    let child = start(move || talk(theirs, 100, 200));
    talk(ours, 200, 100);
    assert_eq!(child.join().unwrap(), 0);
}

fn limited() {
    let (mut ours, mut theirs) = pipe::<u32, u32>().unwrap();
    let child = start(move || {
        assert_eq!(theirs.recv().unwrap(), 1);
        theirs.send(&2).unwrap();
        assert!(theirs.recv().is_err());
    });
    assert_eq!(ours.recv_timeout(Duration::from_millis(2)).unwrap(), None);
    assert!(!ours.poll(Duration::ZERO).unwrap());
    assert!(!ours.poll(Duration::from_millis(2)).unwrap());
    assert!(timeout(Duration::from_millis(2), || ours.recv()).is_err());
    ours.send(&1).unwrap();
    assert!(ours.poll(LONG).unwrap());
    assert_eq!(ours.recv_timeout(Duration::MAX).unwrap(), Some(2));
    drop(ours);
    assert_eq!(child.join().unwrap(), 0);
}

fn cut_short() {
    let (ours, mut theirs) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
    let (mut may_go_on, mut tell) = one_way_back::<()>();
    let child = start(move || {
        // A message that is received in two parts.
        let mut stream = raw(&theirs);
        stream.write_all(&[3, 0]).unwrap();
        may_go_on.recv().unwrap();
        stream.write_all(&[0, 0, 2, 8]).unwrap();
        may_go_on.recv().unwrap();
        stream.write_all(&[9]).unwrap();
        // A message that is sent in two parts.
        may_go_on.recv().unwrap();
        assert!(theirs.recv().unwrap() == vec![1; 1 << 20]);
        assert_eq!(theirs.recv().unwrap(), [2]);
        assert!(theirs.recv().is_err());
    });
    let (mut sender, mut receiver) = ours.split();
    let some = Duration::from_millis(5);
    assert_eq!(receiver.recv_timeout(some).unwrap(), None);
    tell.send(&()).unwrap();
    assert!(timeout(some, || receiver.recv()).is_err());
    assert_eq!(receiver.recv_timeout(some).unwrap(), None);
    tell.send(&()).unwrap();
    assert_eq!(receiver.recv().unwrap(), [8, 9]);
    assert!(timeout(some, || sender.send(&vec![1; 1 << 20])).is_err());
    tell.send(&()).unwrap();
    sender.send(&vec![2]).unwrap();
    drop((sender, receiver));
    assert_eq!(child.join().unwrap(), 0);
}

fn bytes() {
    let (mut ours, mut theirs) = pipe::<(), ()>().unwrap();
    let child = start(move || {
        theirs.send_bytes(b"").unwrap();
        theirs.send_bytes(b"hello").unwrap();
        theirs.send_bytes(b"again").unwrap();
    });
    assert_eq!(ours.recv_bytes(0).unwrap(), b"");
    let error = ours.recv_bytes(4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(error.to_string(), "a message of 5 bytes is longer than 4");
    // The message can still be received.
    assert_eq!(ours.recv_bytes(5).unwrap(), b"hello");
    assert_eq!(ours.recv_bytes(usize::MAX).unwrap(), b"again");
    assert_eq!(ours.recv_bytes(9).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    child.join().unwrap();
}

fn one_direction() {
    let (mut sender, mut receiver) = one_way::<String>().unwrap();
    let child = start(move || {
        let got: Vec<_> = receiver.incoming().map(Result::unwrap).collect();
        assert_eq!(got, ["one", "two", "three"]);
    });
    for text in ["one", "two", "three"] {
        sender.send(&text.into()).unwrap();
    }
    drop(sender);
    assert_eq!(child.join().unwrap(), 0);
}

fn no_such_message() {
    let (mut ours, mut theirs) = pipe::<(), bool>().unwrap();
    let child = start(move || {
        theirs.send_bytes(&[7]).unwrap();
        theirs.send(&true).unwrap();
    });
    assert_eq!(ours.recv().unwrap_err().kind(), ErrorKind::InvalidData);
    assert!(ours.recv().unwrap());
    child.join().unwrap();
}

fn os_thread() {
    let (mut ours, mut theirs) = pipe::<u32, u32>().unwrap();
    let child = start(move || {
        let number = theirs.recv().unwrap();
        theirs.send(&(number * 2)).unwrap();
    });
    let asks = thread::Thread::new(move || {
        ours.send(&21).unwrap();
        ours.recv().unwrap()
    });
    assert_eq!(asks.start().unwrap().join().unwrap(), 42);
    assert_eq!(child.join().unwrap(), 0);
}

fn one_process() {
    let (mut one, mut other) = pipe::<u32, u32>().unwrap();
    let answers = spawn(move || {
        while let Ok(number) = other.recv() {
            other.send(&(number + 1)).unwrap();
        }
    });
    for n in 0..10 {
        one.send(&n).unwrap();
        assert_eq!(one.recv().unwrap(), n + 1);
    }
    drop(one);
    answers.join().unwrap();
}
